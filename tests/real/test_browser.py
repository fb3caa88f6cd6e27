"""A real Chromium: what a page with nothing but `EventSource` and `WebSocket` gets, over restarts of the service."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from confluent_kafka import Producer
from playwright.async_api import async_playwright, expect

from real.service import COMMAND, ServiceProcess, environment
from tailrace.dev import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from playwright.async_api import Browser, BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
PATIENCE_MS = 60_000
MANY = 50
STREAMS = 32
"""As many as one subject may have."""
TOPIC, SESSION = "t", "chat/ada"

OPEN_MANY = """
async ([count, token]) => {
  await fetch("/v1/cookie", { method: "POST", headers: { authorization: `Bearer ${token}` } });
  const sources = Array.from({ length: count }, (_, n) => new EventSource(`/v1/sessions/chat%2F${n}/events`));
  const ready = (source) => new Promise((done, failed) => {
    source.addEventListener("tailrace.ready", done);
    source.onerror = failed;
  });
  return (await Promise.all(sources.map(ready))).length;
}
"""

SCRIPT = """
const seen = { eventSource: [], webSocket: [] };
const told = { eventSource: [], webSocket: [] };

async function read(session, token) {
  await fetch("/v1/cookie", { method: "POST", headers: { authorization: `Bearer ${token}` } });
  const address = `/v1/sessions/${encodeURIComponent(session)}`;
  const source = new EventSource(`${address}/events`);
  source.onmessage = (event) => seen.eventSource.push([event.data, event.lastEventId]);
  for (const name of ["ready", "reset", "disconnect"])
    source.addEventListener(`tailrace.${name}`, () => told.eventSource.push(name));
  let lastId = "";
  (function open() {
    const query = lastId && `?last_event_id=${lastId}`;
    const socket = new WebSocket(`${location.origin.replace("http", "ws")}${address}/ws${query}`, ["tailrace.v1"]);
    socket.onmessage = ({ data }) => {
      const { id, control, data: text } = JSON.parse(data);
      lastId = id ?? lastId;
      if (control) told.webSocket.push(control.replace("tailrace.", ""));
      else seen.webSocket.push([text, id]);
    };
    socket.onclose = () => setTimeout(open, 50);
  })();
}
"""


def chromium_path() -> str:
    """Find the system's Chromium, or fail with what to do."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("no Chromium here: apt-get install chromium", pytrace=False)
    return path


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for this file; each test has a context of its own."""
    path = chromium_path()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """A broker with the topic, in three partitions."""
    with EmbeddedBroker() as embedded:
        embedded.create_topic(TOPIC, 3)
        yield embedded


@asynccontextmanager
async def page_in(context: BrowserContext) -> AsyncIterator[Page]:
    """Give a page whose waits are patient."""
    context.set_default_timeout(PATIENCE_MS)
    page = await context.new_page()
    try:
        yield page
    finally:
        await context.close()


class TestPage:
    @pytest.mark.parametrize("tls", [False, True], ids=["HTTP/1.1", "HTTP/2 over TLS"])
    @pytest.mark.parametrize("crash", [False, True], ids=["SIGTERM", "SIGKILL"])
    async def test_restarts_are_not_noticed(
        self, chromium: Browser, broker: EmbeddedBroker, tls: bool, crash: bool
    ) -> None:
        """A page that listens by a native EventSource and a WebSocket goes on by itself, without loss or repetition."""
        session = f"{SESSION}/{tls}/{crash}"
        with ServiceProcess(broker.bootstrap, TOPIC, tls=tls) as service:
            async with page_in(await chromium.new_context(ignore_https_errors=True)) as page:
                handshakes = await handshake_statuses(page)
                await open_page(page, service, session)
                for part in range(1, 4):
                    saying = asyncio.create_task(say(broker, session, (part - 1) * MANY, part * MANY))
                    if part > 1:
                        await asyncio.to_thread(service.restart, crash=crash)
                    await saying
                    await until_seen(page, part * MANY)
                seen, told = await page.evaluate("[seen, told]")
        expected = [str(number) for number in range(3 * MANY)]
        assert [expected] * 2 == [[data for data, _ in seen[name]] for name in ("eventSource", "webSocket")]
        assert [(3, 0)] * 2 == [(each.count("ready"), each.count("reset")) for each in told.values()]
        assert handshakes[0] == (200 if tls else 101)  # later it depends on which of the two is back first

    async def test_many_streams_begin_at_once(self, chromium: Browser, broker: EmbeddedBroker) -> None:
        """A page may open as many streams as its owner has, on an HTTP/2 connection that has none yet: each begins."""
        with ServiceProcess(broker.bootstrap, TOPIC, tls=True) as service:
            async with page_in(await chromium.new_context(ignore_https_errors=True)) as page:
                await page.goto(f"{service.url}/v1/nothing")
                ready = await page.evaluate(OPEN_MANY, [STREAMS, service.token("chat/*")])
        assert ready == STREAMS

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "app.localhost"])
    async def test_cookie_is_kept_on_loopback(self, chromium: Browser, broker: EmbeddedBroker, host: str) -> None:
        """Over plain HTTP too it is Secure and bound to its host: who develops a page needs no setting."""
        with ServiceProcess(broker.bootstrap, TOPIC) as service:
            async with page_in(await chromium.new_context()) as page:
                await open_page(page, service, SESSION, host)
                [kept] = await page.context.cookies()
        assert (kept["name"], kept["secure"], kept["domain"]) == ("__Host-tailrace", True, host)

    async def test_cookie_is_out_of_reach(self, chromium: Browser, broker: EmbeddedBroker) -> None:
        """No script reads the cookie, and without it the EventSource is refused for good."""
        with ServiceProcess(broker.bootstrap, TOPIC) as service:
            async with page_in(await chromium.new_context()) as page:
                await open_page(page, service, SESSION)
                assert "" == await page.evaluate("document.cookie")
                state = await page.evaluate(
                    """async () => {
                        await fetch("/v1/cookie", { method: "DELETE" });
                        const source = new EventSource("/v1/sessions/chat%2Fada/events");
                        await new Promise((done) => (source.onerror = done));
                        return source.readyState;
                    }"""
                )
        assert state == 2


async def open_page(page: Page, service: ServiceProcess, session: str, host: str = "127.0.0.1") -> None:
    """Let a page of the service's own origin, at this name of it, listen to a session by both transports."""
    await page.goto(
        f"{service.url.replace('127.0.0.1', host)}/v1/nothing"
    )  # a 404 of the service is a page of its origin too
    await page.add_script_tag(content=SCRIPT)
    await page.evaluate("([session, token]) => read(session, token)", [session, service.token(session)])
    await page.wait_for_function("told.eventSource.includes('ready') && told.webSocket.includes('ready')")


async def until_seen(page: Page, count: int) -> None:
    """Wait until both transports have brought so many events, or more."""
    await page.wait_for_function(
        "(count) => seen.eventSource.length >= count && seen.webSocket.length >= count", arg=count
    )


async def handshake_statuses(page: Page) -> list[int]:
    """Collect how WebSockets are answered: 101 over HTTP/1.1, 200 over HTTP/2 (RFC 8441)."""
    statuses: list[int] = []

    def note(event: dict[str, Any]) -> None:
        statuses.append(event["response"]["status"])

    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Network.enable")
    devtools.on("Network.webSocketHandshakeResponseReceived", note)
    return statuses


async def say(broker: EmbeddedBroker, session: str, first: int, after: int) -> None:
    """Produce these numbers to a session, spread over a moment, so that a restart falls among them."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
    for number in range(first, after):
        producer.produce(TOPIC, str(number), key=session)
        producer.poll(0)
        await asyncio.sleep(0.01)
    assert await asyncio.to_thread(producer.flush, 30) == 0


@contextlib.contextmanager
def demo_broker() -> Iterator[str]:
    """Run ``tailrace dev --broker-only``; gives its address."""
    command = [*COMMAND, "dev", "--broker-only"]
    with subprocess.Popen(command, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = next(line for line in process.stdout if "--kafka" in line)
            yield line.split()[-1]
        finally:
            process.terminate()


class TestConsole:
    async def test_six_streams_live(self, chromium: Browser, tmp_path: Path) -> None:
        """The console shows six live streams whose text grows, logs no error, and survives a crash of the service."""
        wrong: list[str] = []
        with demo_broker() as bootstrap, ServiceProcess.of_dev(bootstrap) as service:
            async with page_in(await chromium.new_context(color_scheme="light")) as page:
                await page.set_viewport_size({"width": 1440, "height": 1000})
                page.on("pageerror", lambda error: wrong.append(str(error)))
                page.on("console", lambda message: wrong.append(message.text))
                await page.goto(f"{service.url}/")
                await live_and_growing(page)
                assert wrong == []
                await asyncio.to_thread(service.restart, crash=True)
                await live_and_growing(page)
                await page.wait_for_function("Number(document.querySelector('#all-resumed').textContent) > 0")
                await expect(page.locator("#all-verdict")).to_have_text("nothing lost, nothing repeated")
                await page.screenshot(path=tmp_path / "light.png", animations="disabled")
                await page.get_by_label("Use the dark theme").click()
                await page.screenshot(path=tmp_path / "dark.png", animations="disabled")


async def live_and_growing(page: Page) -> None:
    """Wait until all six streams are live and each has more text than now."""
    await expect(page.locator("#all-live")).to_have_text("6 of 6", timeout=PATIENCE_MS)
    before = await page.locator(".log").all_text_contents()
    grown = "(before) => [...document.querySelectorAll('.log')].every((log, i) => log.textContent.length > before[i])"
    await page.wait_for_function(grown, arg=[len(text) for text in before])
