"""The guide's own lines, run in a real Chromium: what client authors copy must keep what the guide promises."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from pathlib import Path

import pytest
from confluent_kafka import Producer
from playwright.async_api import async_playwright

from real.service import ServiceProcess
from tailrace.dev import EmbeddedBroker

GUIDE = (Path(__file__).parents[2] / "openapi" / "README.md").read_text()
EVENT_SOURCE, COOKIE, WEB_SOCKET = re.findall(r"```js\n(.*?)```", GUIDE, re.DOTALL)
PATIENCE_MS = 60_000
PAGE = """
async (given) => {
    const token = () => given;
    window.texts = { eventSource: [], webSocket: [] };
    { const token = given; %s }
    { const show = (text) => texts.eventSource.push(text); %s; window.source = events; }
    { const show = (text) => texts.webSocket.push(text); %s }
}
"""


def say(bootstrap: str, *values: str | None) -> None:
    """Produce to the guide's session; None ends it."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0})
    for value in values:
        producer.produce("answers", value, key="chat/ada")
    assert producer.flush(30) == 0


@pytest.mark.browser
async def test_the_guides_clients_resume() -> None:
    """Three lines of EventSource and fifteen of WebSocket get every event once over a crash, and stop at the end."""
    async with contextlib.AsyncExitStack() as stack:
        broker = stack.enter_context(EmbeddedBroker())
        broker.create_topic("answers", 3)
        service = stack.enter_context(ServiceProcess(broker.bootstrap, "answers"))
        playwright = await stack.enter_async_context(async_playwright())
        chromium = shutil.which("chromium")
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        stack.push_async_callback(browser.close)
        page = await browser.new_page()
        page.set_default_timeout(PATIENCE_MS)
        await page.goto(f"{service.url}/nothing-here")
        heard = asyncio.Event()
        page.on("websocket", lambda socket: socket.on("framereceived", lambda _: heard.set()))
        await page.evaluate(PAGE % (COOKIE, EVENT_SOURCE, WEB_SOCKET), service.token("chat/ada"))
        await heard.wait()
        await page.wait_for_function("source.readyState === 1")
        say(broker.bootstrap, "a", "b")
        await page.wait_for_function("texts.eventSource.length >= 2 && texts.webSocket.length >= 2")
        service.kill()
        say(broker.bootstrap, "c")
        service.start()
        say(broker.bootstrap, "d", None)
        await page.wait_for_function("source.readyState === 2 && texts.webSocket.length >= 4")
        texts = await page.evaluate("texts")
    assert texts == {"eventSource": ["a", "b", "c", "d"], "webSocket": ["a", "b", "c", "d"]}
