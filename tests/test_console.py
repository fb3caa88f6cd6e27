"""The live page: nothing but itself may run in it, and its own check of continuity can be trusted."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from contextlib import asynccontextmanager
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio
from playwright.async_api import async_playwright, expect

from tailrace import console

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, Page, Route, WebSocketRoute

CHROMIUM = shutil.which("chromium")
ORIGIN = "http://tailrace.test"
PLACE = "v1.9f3a2c1d.4.-8"  # partition 1, offset 7
READY, RESUMED = (json.dumps({"id": PLACE, "session": "chat/ada", "resumed": resumed}) for resumed in (False, True))
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]

one_loop = pytest.mark.asyncio(loop_scope="module")  # the loop that Chromium was started on


class Inline(HTMLParser):
    """Collects what a policy has to know of a page: its inline text by tag, and every attribute."""

    def __init__(self) -> None:
        super().__init__()
        self.text: dict[str, list[str]] = {"script": [], "style": []}
        self.attributes: list[tuple[str, str]] = []
        self._tag = ""
        self.feed(console.page().decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._tag = tag
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the base class names it
        self._tag = ""

    def handle_data(self, data: str) -> None:
        if self._tag in self.text:
            self.text[self._tag].append(data)


def policy() -> dict[str, str]:
    directives = (directive.partition(" ") for directive in console.CONTENT_SECURITY_POLICY.split("; "))
    return {name: sources for name, _, sources in directives}


def record(kind: str, number: int, offset: int, **data: Any) -> tuple[str, str, str]:
    """One demo event of partition 1, as type, data and id."""
    return kind, json.dumps({"n": number, "t": 0, **data}), f"v1.9f3a2c1d.4.-{offset + 1}"


def block(kind: str, data: str, place: str) -> str:
    return f"id: {place}\nevent: {kind}\ndata: {data}\n\n"


def frame(kind: str, data: str, place: str) -> str:
    return json.dumps({"id": place, "event": kind, "data": data})


def control(name: str, body: str) -> str:
    return json.dumps({"control": f"tailrace.{name}", **json.loads(body)})


class Service:
    """What the page speaks to, without a server: Chromium's own requests, answered one by one."""

    def __init__(self) -> None:
        self.answers: list[Any] = []
        """What the EventSource is answered, in turn: a body, or a status; then nothing more."""
        self.asked: list[str] = []
        """By the EventSource; ``dialled`` by the WebSocket: who comes first is chance."""
        self.dialled: list[str] = []
        self.tokens = 0
        self.frames: list[str] = []

    async def answer(self, route: Route) -> None:
        path = route.request.url.removeprefix(ORIGIN)
        if path == "/":
            headers = {"content-security-policy": console.CONTENT_SECURITY_POLICY}
            await route.fulfill(body=console.page(), content_type="text/html", headers=headers)
        elif path == "/console/token":
            self.tokens += 1
            await route.fulfill(json={"token": "a.b.c", "sessions": ["chat/ada"], "expires_in_seconds": 600})
        elif path == "/v1/cookie":
            await route.fulfill(status=204)
        else:
            await self._stream(route, path)

    async def _stream(self, route: Route, path: str) -> None:
        self.asked.append(path)
        answer = self.answers.pop(0) if self.answers else 204
        if isinstance(answer, int):
            await route.fulfill(status=answer)
        else:
            await route.fulfill(body=f"retry: 600000\n\n{answer}", content_type="text/event-stream")

    def connect(self, socket: WebSocketRoute) -> None:
        self.dialled.append(socket.url.replace("ws://tailrace.test", ""))
        for frame in self.frames:
            socket.send(frame)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def chromium() -> AsyncIterator[Browser]:
    """One browser for this file; each test has a context of its own."""
    async with async_playwright() as playwright:
        if CHROMIUM is None:
            pytest.fail("no Chromium here: apt-get install chromium", pytrace=False)
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
def service() -> Service:
    return Service()


@asynccontextmanager
async def opened(chromium: Browser, service: Service) -> AsyncIterator[Page]:
    """The page in a real browser; leaving it fails when the page logged an error or a policy violation."""
    async with await chromium.new_context() as context:
        page = await context.new_page()
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        await page.route("**/*", service.answer)
        await page.route_web_socket("**/ws*", service.connect)
        await page.goto(f"{ORIGIN}/")
        yield page
        assert [text for text in wrong if "Failed to load resource" not in text] == []


class TestPolicy:
    def test_page_is_html(self) -> None:
        """The page is one UTF-8 HTML document."""
        assert console.page().decode().startswith("<!doctype html>\n")

    @pytest.mark.parametrize("tag", ["script", "style"])
    def test_hashes(self, tag: str) -> None:
        """The policy lets exactly the inline scripts and styles of the page run, by their hashes."""
        digests = [hashlib.sha256(text.encode()).digest() for text in Inline().text[tag]]
        expected = [f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests]
        assert expected == policy()[f"{tag}-src"].split()

    def test_closed_by_default(self) -> None:
        """What the policy does not name is forbidden; the page may speak to its own origin only."""
        closed = {name: policy()[name] for name in ("default-src", "connect-src", "base-uri", "frame-ancestors")}
        expected = {"default-src": "'none'", "connect-src": "'self'", "base-uri": "'none'", "frame-ancestors": "'none'"}
        assert expected == closed

    def test_nothing_from_elsewhere(self) -> None:
        """No attribute of the page loads anything or runs a script; the icon stands in the page."""
        loading = {"src", "href", "srcset", "action", "style"}
        found = [value for name, value in Inline().attributes if name in loading or name.startswith("on")]
        assert [value.startswith("data:image/svg+xml,") for value in found] == [True]


@pytest.mark.browser
@one_loop
class TestContinuity:
    @pytest.mark.parametrize(
        "steps, expected",
        [
            ("take(at(7), 1); take(at(9), 2)", ["good", "#1 to #2: 0 lost, 0 repeated"]),
            ("take(at(7), 1); take(at(9), 4)", ["bad", "#1 to #4: 2 lost, 0 repeated"]),
            ("take(at(7), 1); take(at(7), 1)", ["bad", "#1 to #1: 0 lost, 1 repeated"]),
            ("take(at(7), 5); take(at(9), 3)", ["bad", "#5 to #5: 0 lost, 1 repeated"]),
            ("take(at(7), 5); take(at(6), 6)", ["bad", "#5 to #6: 0 lost, 1 repeated"]),
            ("take(at(7)); take(at(7))", ["bad", "offsets only: 1 repeated"]),
            ("take(at(7), 1); skip(at(8)); take(at(9), 3)", ["good", "#1 to #3: 0 lost, 0 repeated"]),
            ("take(at(7), 5); take(at(9), 0)", ["good", "#0 to #0: 0 lost, 0 repeated"]),
            (
                "take(at(7), 1); resetTo('retention'); take(at(90), 6)",
                ["told", "#6 to #6: 4 missing as told, 0 lost, 0 repeated"],
            ),
            ("take(at(7), 9); resetTo('epoch'); take(at(2), 3)", ["told", "#3 to #3: 0 lost, 0 repeated"]),
        ],
    )
    async def test_verdict(self, chromium: Browser, service: Service, steps: str, expected: list[str]) -> None:
        """A gap is a loss and an old offset or number a repetition, unless the service has said so before."""
        at = "const at = (offset) => ({ log: '9f3a2c1d/1', partition: 1, offset });"
        calls = "".join(f"c.{step};" for step in steps.split("; "))
        async with opened(chromium, service) as page:
            found = await page.evaluate(
                f"() => {{ {at} const c = new Continuity(); {calls} return [c.tone, c.counts] }}"
            )
        assert expected == found

    @pytest.mark.parametrize(
        "place, expected",
        [
            ("v1.9f3a2c1d.1843.-1790.2011", {"log": "9f3a2c1d/1", "partition": 1, "offset": 1789}),
            ("v1.9f3a2c1d.5~0b1c2d3e.6.-7", {"log": "0b1c2d3e/1", "partition": 1, "offset": 6}),
            ("v1.9f3a2c1d.1843.1790", None),
            ("another", None),
            ("", None),
        ],
    )
    async def test_record_of(
        self, chromium: Browser, service: Service, place: str, expected: dict[str, Any] | None
    ) -> None:
        """An event's id names its partition and offset; a mere position names no record."""
        async with opened(chromium, service) as page:
            assert expected == await page.evaluate("(id) => recordOf(id)", place)


@pytest.mark.browser
@one_loop
class TestPage:
    async def test_both_transports(self, chromium: Browser, service: Service) -> None:
        """The same session grows in both columns, each with its partition, offset and verdict."""
        events = [record("message", 1, 6, text="Hello"), record("message", 2, 7, text=" there")]
        service.answers = [block("tailrace.ready", READY, PLACE) + "".join(block(*event) for event in events)]
        service.frames = [frame(*event) for event in events]
        async with opened(chromium, service) as page:
            await expect(page.locator(".log")).to_have_text(["Hello there"] * 2)
            await expect(page.locator("[data-figure=offset]")).to_have_text(["7", "7"])
            await expect(page.locator(".proof .verdict")).to_have_text(["continuous"] * 2)
            await expect(page.locator("#all-verdict")).to_have_text("nothing lost, nothing repeated")

    async def test_markup_stays_text(self, chromium: Browser, service: Service) -> None:
        """Data that is no demo event is shown as the text it is, markup included."""
        service.frames = [json.dumps({"id": PLACE, "data": "<b onclick=alert(1)>bold</b>"})]
        async with opened(chromium, service) as page:
            await expect(page.locator(".log").nth(1)).to_have_text("<b onclick=alert(1)>bold</b>")

    async def test_event_source_resumes(self, chromium: Browser, service: Service) -> None:
        """An EventSource that is opened again goes on from the last id it saw; what it had missed is tinted."""
        first, second = record("message", 1, 7, text="Hello"), record("message", 2, 9, text=" again")
        live = block("tailrace.live", "{}", second[2])
        service.answers = [block("tailrace.ready", READY, PLACE) + block(*first)]
        async with opened(chromium, service) as page:
            await expect(page.locator(".log").first).to_have_text("Hello")
            service.answers = [block("tailrace.ready", RESUMED, first[2]) + block(*second) + live]
            await page.locator(".cut").first.click()
            await expect(page.locator(".mark").first).to_have_text("resumed after offset 7")
            await expect(page.locator(".resumed").first).to_have_text(" again")
        assert service.asked[-1] == f"/v1/sessions/chat/ada/events?last_event_id={first[2]}"

    async def test_web_socket_cut(self, chromium: Browser, service: Service) -> None:
        """A WebSocket that was cut comes back with the last id it saw, and says what it had missed."""
        first, second = record("message", 1, 7, text="Hello"), record("message", 2, 9, text=" again")
        service.frames = [control("ready", READY), frame(*first)]
        async with opened(chromium, service) as page:
            await expect(page.locator(".badge").nth(1)).to_have_text("live")
            service.frames = [control("ready", RESUMED), frame(*second), control("live", "{}")]
            await page.locator(".cut").nth(1).click()
            await page.get_by_role("button", name="Reconnect now").nth(1).click()
            report = "Cut after offset 7 (#1), resumed at offset 9 (#2): 1 event while away."
            await expect(page.locator(".report").nth(1)).to_have_text(report)
        assert service.dialled[-1] == f"/v1/sessions/chat/ada/ws?last_event_id={first[2]}"

    async def test_refused_event_source(self, chromium: Browser, service: Service) -> None:
        """An EventSource that the service refused gets a new cookie and goes on from its last id."""
        service.answers = [401, block("tailrace.ready", READY, PLACE)]
        async with opened(chromium, service) as page:
            await expect(page.locator(".id").first).to_have_text(PLACE)
        assert service.tokens == 2

    async def test_reset(self, chromium: Browser, service: Service) -> None:
        """A reset is shown with its reason, not as a loss."""
        service.frames = [json.dumps({"control": "tailrace.reset", "id": PLACE, "reason": "retention"})]
        service.frames += [json.dumps({"id": PLACE, "data": '{"n":1,"t":0,"text":"x"}'})]
        async with opened(chromium, service) as page:
            await expect(page.locator(".proof .verdict").nth(1)).to_have_text("reset: retention")

    async def test_end(self, chromium: Browser, service: Service) -> None:
        """A session that ended is not asked for again unless the reader wants it."""
        service.frames = [json.dumps({"control": "tailrace.end", "id": f"{PLACE}.end"})]
        async with opened(chromium, service) as page:
            await expect(page.locator(".badge").nth(1)).to_have_text("ended: session ended")
            await expect(page.locator(".cut").nth(1)).to_have_text("Open again")

    async def test_themes(self, chromium: Browser, service: Service) -> None:
        """The button turns light into dark, and says what it would do next."""
        async with opened(chromium, service) as page:
            await page.get_by_label("Use the dark theme").click()
            await expect(page.locator("html")).to_have_attribute("data-theme", "dark")
            await expect(page.get_by_label("Use the light theme")).to_be_visible()
