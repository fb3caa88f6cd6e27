"""A subscription over WebSocket, over nothing but ASGI's ``receive`` and ``send``."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest

from asgi import LEFT, Exchange, Front, bearer, scope, token
from builders import FakeRecord, append
from leaping import leaping
from tailrace.errors import GoingAway
from tailrace.first_message import MAX_OWING, TOKEN_SECONDS
from tailrace.websocket import SUBPROTOCOL, WebSocketEndpoint

CONNECT = {"type": "websocket.connect"}


def says(text: str) -> dict[str, Any]:
    """Make a text frame of the client."""
    return {"type": "websocket.receive", "text": text}


def first(text: str) -> dict[str, Any]:
    """Make a first message with a token."""
    return says(json.dumps({"token": text}))


def endpoint(front: Front) -> WebSocketEndpoint:
    return WebSocketEndpoint(front.admission.admit, front.admission.check_origin, front.admission.note)


async def talk(
    *messages: dict[str, Any],
    serve: WebSocketEndpoint | None = None,
    hears: int = 0,
    front: Front | None = None,
    **about: Any,
) -> Exchange:
    """Let a client connect, say ``messages`` and, if it is to hear so many frames, leave then; give what it heard."""
    exchange = Exchange(CONNECT, *messages)
    serve = serve or endpoint(front or Front())
    serving = asyncio.create_task(serve(scope(kind="websocket", **about), exchange.receive, exchange.send))
    if hears:
        await exchange.until(lambda: len(exchange.texts) >= hears)
        exchange.say(LEFT)
    await serving
    return exchange


def controls(exchange: Exchange) -> list[str]:
    """Give what came: control events by name, messages by their data."""
    frames = [json.loads(text) for text in exchange.texts]
    return [each.get("control", "").removeprefix("tailrace.") or each["data"] for each in frames]


def last_words(exchange: Exchange) -> tuple[int, str, bool, int]:
    """Give code, reason and reconnect of `tailrace.disconnect`, and the code that the socket was closed with."""
    said = json.loads(exchange.texts[-1])
    assert "tailrace.disconnect" == said["control"]
    assert ["accept", "send", "close"] == exchange.kinds[:1] + exchange.kinds[-2:]
    return said["code"], said["reason"], said["reconnect"], exchange.sent[-1]["code"]


# Served ------------------------------------------------------------------------------------------------------------


async def test_a_subscriber_hears_ready_and_events_until_it_leaves() -> None:
    """One JSON text frame each; then nothing of it is left."""
    before = asyncio.all_tasks()
    front, exchange = Front(), Exchange(CONNECT)
    given = scope(kind="websocket", headers=bearer())
    serving = asyncio.create_task(endpoint(front)(given, exchange.receive, exchange.send))
    await exchange.until(lambda: exchange.texts)
    append(front.tail, FakeRecord(0, value=b"v"))
    for _ in front.tail.wake():
        pass
    await exchange.until(lambda: len(exchange.texts) == 2)
    exchange.say(LEFT)
    await serving
    assert (["ready", "v"], ["accept", "send", "send"]) == (controls(exchange), exchange.kinds)
    assert (0, before) == (len(front.subscriptions), asyncio.all_tasks())


@pytest.mark.parametrize(
    "offered, answered",
    [("tailrace.v1, other", SUBPROTOCOL), ("other", None), ("", None)],
    ids=["ours", "other", "none"],
)
async def test_our_subprotocol_is_answered_where_it_is_offered(offered: str, answered: str | None) -> None:
    """A browser fails a socket whose server names none of those that it offered, so no other is named."""
    headers = {**bearer(), **({"sec-websocket-protocol": offered} if offered else {})}
    exchange = await talk(LEFT, headers=headers)
    assert answered == exchange.sent[0]["subprotocol"]


async def test_a_token_among_the_subprotocols_admits_and_is_never_echoed() -> None:
    """What is answered is written to logs."""
    offered = f"tailrace.v1, tailrace.bearer.{token()}"
    exchange = await talk(hears=1, headers={"sec-websocket-protocol": offered})
    assert (SUBPROTOCOL, ["ready"]) == (exchange.sent[0]["subprotocol"], controls(exchange))


async def test_a_stream_that_was_ended_is_closed_with_its_code() -> None:
    """The farewell first, then the close."""
    front, exchange = Front(), Exchange(CONNECT)
    given = scope(kind="websocket", headers=bearer())
    serving = asyncio.create_task(endpoint(front)(given, exchange.receive, exchange.send))
    await exchange.until(lambda: exchange.texts)
    (subscription,) = front.subscriptions._all
    subscription.end(GoingAway())
    await serving
    assert (1001, "going away", True, 1001) == last_words(exchange)


async def test_a_session_that_has_ended_is_closed_as_ended() -> None:
    """The client knows it already, and should stay away: nothing is said."""
    front = Front()
    append(front.tail, FakeRecord(0, value=None))
    exchange = await talk(front=front, query="last_event_id=v1.9f3a2c1d.1.end", headers=bearer())
    assert (["accept", "close"], 1000, 0) == (exchange.kinds, exchange.sent[-1]["code"], len(front.subscriptions))


async def test_one_whose_session_went_on_is_served() -> None:
    """Something has come since the end that it was told of."""
    front = Front()
    append(front.tail, FakeRecord(0, value=None), FakeRecord(1, value=b"again"))
    exchange = await talk(hears=3, front=front, query="last_event_id=v1.9f3a2c1d.1.end", headers=bearer())
    assert ["ready", "again", "live"] == controls(exchange)


@pytest.mark.parametrize(
    "message", [says("hello"), {"type": "websocket.receive", "bytes": b"\0"}], ids=["text", "bytes"]
)
async def test_a_client_that_talks_is_told_that_it_must_not(message: dict[str, Any]) -> None:
    """After its token there is nothing that it may say."""
    front, exchange = Front(), Exchange(CONNECT)
    given = scope(kind="websocket", headers=bearer())
    serving = asyncio.create_task(endpoint(front)(given, exchange.receive, exchange.send))
    await exchange.until(lambda: exchange.texts)
    exchange.say(message)
    await serving
    assert (4400, "bad message", False, 4400) == last_words(exchange)


async def test_a_message_that_is_too_big_is_told_as_the_end() -> None:
    """The server closes such a socket by itself: there is nothing to say, but the metrics know why it ended."""
    front, exchange = Front(), Exchange(CONNECT)
    given = scope(kind="websocket", headers=bearer())
    serving = asyncio.create_task(endpoint(front)(given, exchange.receive, exchange.send))
    await exchange.until(lambda: exchange.texts)
    exchange.say({**LEFT, "code": 1009})
    await serving
    ended = 'tailrace_connections_ended_total{reason="message_too_big"} 1.0'
    assert ended in front.subscriptions.metrics.render()[0].decode()
    assert ["accept", "send"] == exchange.kinds


async def test_a_token_from_a_client_that_was_admitted_changes_nothing() -> None:
    """A page that always sends its token first need not know whether the cookie was there."""
    front, exchange = Front(), Exchange(CONNECT)
    given = scope(kind="websocket", headers=bearer())
    serving = asyncio.create_task(endpoint(front)(given, exchange.receive, exchange.send))
    await exchange.until(lambda: exchange.texts)
    exchange.say(first(token()))
    exchange.say(says("hello"))
    await serving
    assert (4400, "bad message", False, 4400) == last_words(exchange)
    assert 2 == len(exchange.texts)


# Refused -----------------------------------------------------------------------------------------------------------


async def test_a_foreign_page_is_refused_before_accept() -> None:
    """With 403, and nothing that its script could read."""
    exchange = await talk(headers={**bearer(), "origin": "https://evil.test"})
    assert ["websocket.http.response.start", "websocket.http.response.body"] == [each["type"] for each in exchange.sent]
    assert (403, "foreign_origin") == (exchange.sent[0]["status"], json.loads(exchange.body)["error"])


@pytest.mark.parametrize(
    "about, code, reconnect",
    [
        (lambda: {"headers": {"authorization": "Bearer a.b.c"}}, 4401, False),
        (lambda: {"headers": bearer("other")}, 4403, False),
        (lambda: {"headers": bearer(), "query": "from=x"}, 4400, False),
        (lambda: {"headers": bearer(), "session": ""}, 4400, False),
    ],
    ids=["bad token", "not theirs", "bad query", "no session"],
)
async def test_a_refusal_is_accepted_said_and_closed(
    about: Callable[[], dict[str, Any]], code: int, reconnect: bool
) -> None:
    """A page sees nothing but 1006 of a socket that was refused before."""
    said, _, again, closed = last_words(await talk(**about()))
    assert (code, reconnect, code) == (said, again, closed)


async def test_one_who_should_come_back_is_told_when() -> None:
    """The service is not ready, and will be."""
    front = Front()
    front.waiting = ["Kafka has not answered yet"]
    exchange = await talk(front=front, headers=bearer())
    assert (1013, "the service is not ready yet", True, 1013) == last_words(exchange)
    assert 1000 <= json.loads(exchange.texts[-1])["retry_after_ms"] <= 3000


async def test_while_it_drains_the_code_says_going_away() -> None:
    """As for those who were there before."""
    front = Front()
    front.subscriptions.draining = True
    assert 1001 == last_words(await talk(front=front, headers=bearer()))[0]


async def test_too_many_connections_have_a_code_of_their_own() -> None:
    """A page may tell its user."""
    assert 4429 == last_words(await talk(front=Front(max_connections=0), headers=bearer()))[0]


# The first message -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["text", "bytes"])
async def test_the_token_may_come_in_the_first_message(kind: str) -> None:
    """A browser's WebSocket can send no header."""
    message = {"type": "websocket.receive", "text": None, "bytes": None}
    content = json.dumps({"token": token("s")})
    message[kind] = content if kind == "text" else content.encode()  # type: ignore[assignment]
    assert ["ready"] == controls(await talk(message, hears=1))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"token": 7}', "null"])
async def test_a_first_message_without_a_token_is_a_bad_request(text: str) -> None:
    """The sentence says what it should have been."""
    expected = (4400, 'the first message must be {"token": "<jwt>"}', False, 4400)
    assert expected == last_words(await talk(says(text)))


async def test_a_first_message_with_a_bad_token_is_refused_as_that() -> None:
    """It has one try."""
    assert (4401, "the token is not a well-formed JWT") == last_words(await talk(first("a.b.c")))[:2]


async def test_a_bad_token_in_the_request_is_not_mended_by_a_message() -> None:
    """Never fall back from one token to another."""
    exchange = await talk(first(token()), headers={"authorization": "Bearer a.b.c"})
    assert 4401 == last_words(exchange)[0]


async def test_a_malformed_request_is_refused_once_the_token_has_come() -> None:
    """Of a stranger's query nothing is read; but a token in it is none to wait for."""
    with leaping():
        assert 4408 == last_words(await talk(query="from=x"))[0]
    assert 4400 == last_words(await talk(first(token()), query="from=x"))[0]
    assert 4400 == last_words(await talk(query=f"token={token()}"))[0]


async def test_a_client_that_leaves_before_its_token_is_let_go() -> None:
    """Nobody is there to be told."""
    assert ["accept"] == (await talk(LEFT)).kinds


async def test_a_token_that_does_not_come_in_time_is_not_waited_for() -> None:
    """Strangers hold no socket."""
    with leaping() as loop:
        begin = loop.time()
        exchange = await talk()
        assert TOKEN_SECONDS == pytest.approx(loop.time() - begin)
    assert (4408, "no token came within 10 seconds", False, 4408) == last_words(exchange)


async def test_only_so_many_sockets_may_wait_for_a_token() -> None:
    """One more takes the place of the one that has waited for longest, which is told to come back."""
    front = Front(max_connections_per_subject=1000)
    serve = endpoint(front)
    waiting = [Exchange(CONNECT) for _ in range(MAX_OWING)]
    async with asyncio.TaskGroup() as tasks:
        for each in waiting:
            tasks.create_task(serve(scope(kind="websocket"), each.receive, each.send))
        for each in waiting:
            await each.until(lambda each=each: each.sent)  # type: ignore[misc]
        assert ["ready"] == controls(await talk(first(token()), serve=serve, hears=1))
        await waiting[0].until(lambda: waiting[0].sent[-1]["type"] == "websocket.close")
        assert (4429, "too many sockets have yet to send their token", True, 4429) == last_words(waiting[0])
        for each in waiting[1:]:
            each.say(LEFT)


# Counted -----------------------------------------------------------------------------------------------------------


def refusals(front: Front) -> dict[str, float]:
    """Give how often clients were refused, by reason."""
    lines = front.subscriptions.metrics.render()[0].decode().splitlines()
    told = [line.removeprefix("tailrace_refusals_total") for line in lines if line.startswith("tailrace_refusals")]
    counts = {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in told}
    return {reason: count for reason, count in counts.items() if count}


async def test_waiting_for_a_token_is_no_refusal() -> None:
    """A client whose token comes in its first message has done nothing wrong."""
    front = Front()
    await talk(first(token("s")), hears=1, front=front)
    assert {} == refusals(front)


async def test_every_refusal_is_counted_once() -> None:
    """Before accept, after it, and after the first message."""
    front = Front()
    await talk(front=front, headers={"origin": "https://elsewhere.test"})
    await talk(front=front, query="from=x", headers=bearer())
    await talk(first("a.b.c"), front=front)
    assert {"foreign_origin": 1, "invalid_request": 1, "invalid_token": 1} == refusals(front)
