"""A subscription as an event stream, over nothing but ASGI's ``receive`` and ``send``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from asgi import Exchange, Front, bearer, scope
from builders import Block, FakeRecord, ListWire, append
from tailrace.errors import ComeBack, GoingAway, TooManyConnections
from tailrace.sse import ComeBackStream, EventStream
from tailrace.subscription import Subscription
from tailrace.wire import EXTENSION

LEFT = {"type": "http.disconnect"}
END = {"type": "http.response.body", "body": b"", "more_body": False}


async def admitted(front: Front) -> Subscription:
    return await front.admission.admit(scope(headers=bearer()))


def head(exchange: Exchange) -> dict[str, str]:
    """Give the response's headers."""
    assert ("http.response.start", 200) == (exchange.sent[0]["type"], exchange.sent[0]["status"])
    return {name.decode(): value.decode() for name, value in exchange.sent[0]["headers"]}


def names(exchange: Exchange) -> list[str]:
    return [block.event or block.data for block in Block.all(exchange.body)]


async def test_the_head_is_an_event_streams() -> None:
    """Nobody may store it, and no proxy may hold it back."""
    front, exchange = Front(), Exchange(LEFT)
    await EventStream(await admitted(front))(scope(), exchange.receive, exchange.send)
    found = head(exchange)
    assert found["content-type"].startswith("text/event-stream")
    assert ("no-store", "no") == (found["cache-control"], found["x-accel-buffering"])


async def test_it_streams_until_the_client_leaves() -> None:
    """Then nothing of it is left: no subscription and no task."""
    before = asyncio.all_tasks()
    front, exchange = Front(), Exchange()
    stream = asyncio.create_task(EventStream(await admitted(front))(scope(), exchange.receive, exchange.send))
    await exchange.until(lambda: "ready" in exchange.body)
    append(front.tail, FakeRecord(0, value=b"v"))
    for _ in front.tail.wake():
        pass
    await exchange.until(lambda: "data: v" in exchange.body)
    exchange.say(LEFT)
    await stream
    assert ["tailrace.ready", "v"] == names(exchange)
    assert (0, before) == (len(front.subscriptions), asyncio.all_tasks())


async def test_a_stream_that_was_ended_ends_the_response() -> None:
    """The farewell is the last thing, then the body is over, while the client is still there."""
    front, exchange = Front(), Exchange()
    subscription = await admitted(front)
    subscription.end(GoingAway())
    await EventStream(subscription)(scope(), exchange.receive, exchange.send)
    assert ["tailrace.ready", "tailrace.disconnect"] == names(exchange)
    assert (END, 0) == (exchange.sent[-1], len(front.subscriptions))


async def test_a_request_body_is_taken_no_notice_of() -> None:
    """Nothing is expected of it."""
    front, exchange = Front(), Exchange({"type": "http.request", "body": b"x", "more_body": False}, LEFT)
    await EventStream(await admitted(front))(scope(), exchange.receive, exchange.send)
    assert END == exchange.sent[-1]


async def test_head_gets_the_head_alone() -> None:
    """And holds no place."""
    front, exchange = Front(), Exchange()
    await EventStream(await admitted(front))(scope(method="HEAD"), exchange.receive, exchange.send)
    assert (["start", "body"], "", 0) == (exchange.kinds, exchange.body, len(front.subscriptions))
    assert head(exchange)["content-type"].startswith("text/event-stream")


async def test_the_servers_own_wire_is_used_where_there_is_one() -> None:
    """The bytes go to it, none through ``send``."""
    front, exchange, wire = Front(), Exchange(LEFT), ListWire()
    given = {**scope(), "extensions": {EXTENSION: lambda: wire}}
    await EventStream(await admitted(front))(given, exchange.receive, exchange.send)
    assert ("", True) == (exchange.body, "tailrace.ready" in wire.text)


async def test_a_send_that_fails_leaves_no_subscription_behind() -> None:
    """A foreign server may raise on a dead client."""

    async def fail(_message: Any) -> None:
        raise ConnectionResetError

    front = Front()
    with pytest.raises(ConnectionResetError):
        await EventStream(await admitted(front))(scope(), Exchange().receive, fail)
    assert (0, 0) == (len(front.subscriptions), front.tail.sessions)


async def test_what_should_be_tried_again_is_a_stream_that_says_so() -> None:
    """EventSource gives up for good on anything but 200; without an id, or it would wipe out the client's own."""
    exchange = Exchange()
    await ComeBackStream(ComeBack("not ready"))(scope(), exchange.receive, exchange.send)
    (block,) = Block.all(exchange.body)
    assert (None, "tailrace.disconnect") == (block.id, block.event)
    assert head(exchange)["content-type"].startswith("text/event-stream")
    assert '{"code":1013,"reason":"not ready","reconnect":true,"retry_after_ms":' in exchange.body
    assert not exchange.sent[-1]["more_body"]


async def test_when_to_come_back_is_spread_around_what_was_asked() -> None:
    """The browser's own waiting time is set to the very same."""
    exchange = Exchange()
    why = TooManyConnections("full", retry_after_seconds=100)
    await ComeBackStream(why)(scope(), exchange.receive, exchange.send)
    retry = int(exchange.body.split("\n")[0].removeprefix("retry: "))
    assert 50_000 <= retry <= 150_000
    assert f'"retry_after_ms":{retry}' in exchange.body


async def test_come_back_to_head_has_no_body() -> None:
    """As for any HEAD."""
    exchange = Exchange()
    await ComeBackStream(ComeBack())(scope(method="HEAD"), exchange.receive, exchange.send)
    assert "" == exchange.body
