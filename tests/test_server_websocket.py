"""WebSockets against a real server, over both protocols: the handshake, foreign clients, floods, and every end.

What single frames must be answered with is in `test_server_conformance`. Beside whoever misbehaves here is a sibling,
over HTTP/2 on the same connection, which goes on.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any, cast

import pytest
import websockets
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Event, Ping, Pong, Request, TextMessage
from wsproto.extensions import PerMessageDeflate

from changes import settled
from framing import (
    BINARY,
    CLOSE,
    CONTINUATION,
    HANDSHAKE,
    HTTP1,
    HTTP2,
    PING,
    PONG,
    TEXT,
    Echo,
    Frame,
    Http2Peer,
    close,
    frame,
    head,
    peers,
)
from serving import Receive, Send, Serving, Wired, fail_after_accept, hello, others, serving
from tailrace.encoding import Framing
from tailrace.errors import TooManyFrames
from tailrace.server.inbox import Inbox
from tailrace.server.settings import FRAMES_AT_ONCE, MAX_MESSAGE_BYTES
from tailrace.server.websocket import WebSocketStream
from tailrace.server.wires import DirectWire
from tailrace.wire import EXTENSION
from test_server_wires import Carrier

both = pytest.mark.parametrize("protocol", [HTTP1, HTTP2])


# The handshake.


async def refused(here: Serving, request: bytes) -> tuple[int, dict[str, str], str]:
    """Ask over HTTP/1.1; give status, headers and the sentence of an answer after which the connection ends."""
    answer, _, body = (await here.ask(request)).decode().partition("\r\n\r\n")
    status, *lines = answer.split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in lines)
    return int(status.split()[1]), headers, json.loads(body)["detail"]


@pytest.mark.parametrize(
    "request_, status",
    [
        (HANDSHAKE.replace(b": 13", b": 12"), 426),
        (HANDSHAKE.replace(b"Sec-WebSocket-Version: 13\r\n", b""), 426),
        (HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
        (HANDSHAKE.replace(b"dGhl", b""), 400),
        (HANDSHAKE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"), 400),
        (HANDSHAKE + frame(PING), 400),
        (HANDSHAKE + b"\xff" * 100, 400),
    ],
    ids=["version 12", "no version", "no key", "short key", "body", "frame too early", "nonsense too early"],
)
async def test_a_bad_handshake_is_told_what_is_wrong(request_: bytes, status: int) -> None:
    """In one sentence, and no application goes on; frames before the answer are no client's (RFC 6455 section 4.1)."""

    async def slow(_scope: Any, receive: Receive, _send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "websocket.disconnect"

    async with serving(slow) as here:
        before = asyncio.all_tasks()
        answered, headers, detail = await refused(here, request_)
        await settled(lambda: others(before) == 0)
    assert (status, "close", True) == (answered, headers["connection"].split(", ")[-1], bool(detail))


async def test_another_version_is_told_ours() -> None:
    """With what RFC 6455 section 4.4 and RFC 9110 section 15.5.22 ask for."""
    async with serving(Wired()) as here:
        answer = await here.ask(HANDSHAKE.replace(b": 13", b": 8"))
    assert b"sec-websocket-version: 13\r\nupgrade: websocket\r\n" in answer.lower()


@pytest.mark.parametrize(
    "instead",
    [b"connection: keep-alive, UPGRADE", b"Connection: Upgrade\r\nConnection: keep-alive", b"CONNECTION: upgrade"],
)
async def test_words_of_lists_count_in_any_case_and_on_any_line(instead: bytes) -> None:
    """As proxies write them."""
    async with serving(Wired()) as here:
        reader, writer = await here.open(HANDSHAKE.replace(b"Connection: Upgrade", instead))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        writer.transport.abort()


@pytest.mark.parametrize(
    "request_",
    [
        HANDSHAKE.replace(b"GET", b"POST").replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n"),
        HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"),
        HANDSHAKE.replace(b"Upgrade: websocket\r\n", b""),
        HANDSHAKE.replace(b"Connection: Upgrade\r\n", b""),
    ],
    ids=["POST", "HTTP/1.0", "no Upgrade", "no Connection"],
)
async def test_a_request_that_asks_for_no_websocket_is_a_request(request_: bytes) -> None:
    """It is answered as such; the service says there how to ask."""
    async with serving(hello) as here:
        reader, writer = await here.open(request_)
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200 ")
        writer.transport.abort()


@pytest.mark.parametrize(
    "more, end, status",
    [
        ([("sec-websocket-version", "12")], False, 400),
        ([], False, 400),
        ([("sec-websocket-version", "13")], True, 400),
    ],
    ids=["version 12", "no version", "ended with its head"],
)
async def test_a_bad_handshake_over_http2_costs_its_own_stream(
    more: list[tuple[str, str]], end: bool, status: int
) -> None:
    """The sentence is there as well, the stream ends, and the sibling goes on."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        if scope["path"] == "/ws":
            await receive()
            await receive()
        else:
            await Echo()(scope, receive, send)

    async with serving(app) as here, peers(here, HTTP2, "/echo") as (sibling,):
        client = cast("Http2Peer", sibling).stream.client
        pseudo = [(":method", "CONNECT"), (":scheme", "http"), (":authority", "a"), (":path", "/ws")]
        stream = client.raw_request([*pseudo, (":protocol", "websocket"), *more], end=end)
        assert json.loads(await stream.read())["detail"] != ""
        assert (status, True) == (stream.status, stream.ended)
        await sibling.echo(b"still here")


@pytest.mark.parametrize("data", [frame(TEXT, b"early"), b""], ids=["frame", "end"])
async def test_what_comes_before_the_answer_over_http2_is_refused(data: bytes) -> None:
    """A frame, or the end of the stream; there is no application yet, or it hears that the client has gone."""
    heard: list[str] = []

    async def slow(scope: Any, receive: Receive, send: Send) -> None:
        if scope["path"] != "/slow":
            await Echo()(scope, receive, send)
            return
        heard.extend([(await receive())["type"], (await receive())["type"]])

    async with serving(slow) as here, peers(here, HTTP2, "/echo") as (sibling,):
        client = cast("Http2Peer", sibling).stream.client
        pseudo = [(":method", "CONNECT"), (":scheme", "http"), (":authority", "a"), (":path", "/slow")]
        more = [(":protocol", "websocket"), ("sec-websocket-version", "13")]
        stream = client.raw_request([*pseudo, *more], end=False)
        stream.send(data, end=not data)
        await stream.read()
        assert (400, []) == (stream.status, heard)
        await sibling.echo(b"still here")


@both
async def test_offers_that_are_not_ascii_kill_nobody(protocol: str) -> None:
    """They are nobody's subprotocol (Hypercorn loses the connection)."""
    app = Wired()
    async with serving(app) as here:
        if protocol == HTTP1:
            reader, writer = await here.open(HANDSHAKE[:-2] + b"Sec-WebSocket-Protocol: \xe9, b\r\n\r\n")
            assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
            writer.transport.abort()
        else:
            async with await here.h2() as client:
                socket = await client.websocket("/ws", [("sec-websocket-protocol", "\xe9, b")])
                assert socket.stream.status == 200
        assert "b" in app.scopes[0]["subprotocols"]


async def test_subprotocol_is_chosen_by_the_application() -> None:
    """The client's offers are in the scope, the application's choice in the answer."""
    app = Wired()

    async def choose(scope: Any, receive: Receive, send: Send) -> None:
        async def chosen(message: Any) -> None:
            await send({**message, "subprotocol": "b"} if message["type"] == "websocket.accept" else message)

        await app(scope, receive, chosen)

    async with serving(choose) as here, await here.h2() as client:
        socket = await client.websocket("/ws", subprotocols=["a", "b"])
        assert (app.scopes[0]["subprotocols"], socket.stream.headers["sec-websocket-protocol"]) == (["a", "b"], "b")


async def test_accept_that_cannot_be_is_500(caplog: pytest.LogCaptureFixture) -> None:
    """A subprotocol that the client did not offer is the application's failure: the handshake is answered 500."""

    async def app(_scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept", "subprotocol": "other"})

    async with serving(app) as here, await here.h2() as client:
        socket = await client.websocket("/ws")
        assert (socket.stream.status, "an application failed" in caplog.text) == (500, True)


async def test_denied_socket_is_answered() -> None:
    """A close before accept is 403, and the stream ends."""

    async def deny(_scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close", "code": 4403})

    async with serving(deny) as here, await here.h2() as client:
        socket = await client.websocket("/ws")
        await socket.stream.read()
        assert (socket.stream.status, socket.stream.ended) == (403, True)


async def test_wire_of_a_socket_is_refused_before_accept() -> None:
    """No frame may go before the handshake's answer."""
    caught: list[str] = []

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        try:
            scope["extensions"][EXTENSION]()
        except RuntimeError as error:
            caught.append(str(error))
        await send({"type": "websocket.close"})

    async with serving(app) as here, await here.h2() as client:
        await (await client.websocket("/ws")).stream.read()
    assert caught == ["there is a wire only between websocket.accept and the close"]


async def test_client_that_left_before_the_answer_leaves_a_dead_wire() -> None:
    """An application that accepts too late gets a wire that takes nothing, and `serve` returns."""
    heard: list[Any] = []
    done = asyncio.Event()

    async def late(scope: Any, receive: Receive, send: Send) -> None:
        heard.append((await receive())["type"])
        await receive()  # the client leaves
        await send({"type": "websocket.accept"})
        wire = scope["extensions"][EXTENSION]()
        await wire.serve(receive, heard.append)
        heard.append(wire.writable)
        done.set()

    async with serving(late) as here:
        _, writer = await here.open(HANDSHAKE)
        await settled(lambda: bool(heard))
        writer.transport.abort()
        await done.wait()
    assert heard == ["websocket.connect", False]


# Foreign clients.


def dial(here: Serving, **options: Any) -> Any:
    """Connect with the client that the world uses."""
    return websockets.connect(f"ws://{here.host}:{here.port}/ws", proxy=None, **options)


async def test_websockets_the_library() -> None:
    """Texts, bytes, fragments, the largest message, pings; compression is offered and declined."""
    app = Echo()
    async with serving(app) as here:
        async with dial(here, compression="deflate") as client:
            assert "Sec-WebSocket-Extensions" not in client.response.headers
            for message in ("κόσμε", b"\0\xff", "x" * MAX_MESSAGE_BYTES):
                await client.send(message)
                assert message == await client.recv()
            await client.send(["o", "n", "e"])
            assert await client.recv() == "one"
            await (await client.ping(b"there?"))
            await client.close(4000, "enough")
            assert client.close_code == 4000
        assert await app.ended() == (4000, "enough")


async def test_wsproto_as_a_client() -> None:
    """By its own handshake, compression offered."""
    client = WSConnection(ConnectionType.CLIENT)
    async with serving(Echo()) as here:
        asked = Request(host="here", target="/ws", subprotocols=["a"], extensions=[PerMessageDeflate()])
        reader, writer = await here.open(client.send(asked))
        heard: list[Event] = []
        while not any(isinstance(event, CloseConnection) for event in heard):
            client.receive_data(await reader.read(65536) or None)
            for event in client.events():
                heard.append(event)
                if isinstance(event, AcceptConnection):
                    for said in (Ping(b"there?"), TextMessage("on", message_finished=False), TextMessage("e")):
                        writer.write(client.send(said))
                elif isinstance(event, TextMessage):
                    writer.write(client.send(CloseConnection(4001, "enough")))
        assert await reader.read() == b""
        writer.close()
    kinds = {type(event): event for event in heard}
    assert (TextMessage("one"), CloseConnection(4001, "enough")) == (kinds[TextMessage], kinds[CloseConnection])
    accepted: Any = kinds[AcceptConnection]
    assert ([], None, Pong(b"there?")) == (accepted.extensions, accepted.subprotocol, kinds[Pong])


# Frames.


@both
async def test_frames_go_straight_and_messages_come_back(protocol: str) -> None:
    """A wire's frames are messages to the client, and its messages reach `serve`."""
    app = Wired()
    async with serving(app) as here, peers(here, protocol, "/ws") as (peer,):
        wire = await app.wire()
        wire.write(b"\x81\x05hello")
        await peer.until(lambda: peer.frames == [Frame(TEXT, b"hello")])
        await peer.send(frame(TEXT, b"back"))
        await app.until(lambda: bool(app.messages))
        assert (wire.framing, app.messages[0]["text"]) == (Framing.FRAMES, "back")


@both
@pytest.mark.parametrize("sign", [frame(PONG), frame(TEXT, b"x"), frame(TEXT, b"x")[:1]], ids=["pong", "text", "byte"])
async def test_whatever_a_client_sends_shows_that_it_is_there(protocol: str, sign: bytes) -> None:
    """Once, to whoever asks its wire."""
    app = Wired()
    async with serving(app) as here, peers(here, protocol, "/ws") as (peer,):
        wire: Any = await app.wire()
        assert not wire.was_heard()
        await peer.send(sign)
        await settled(lambda: wire.heard)
        assert [True, False] == [wire.was_heard(), wire.was_heard()]


FLOODS = {
    "pings": frame(PING),
    "pings with bytes": frame(PING, b"x" * 125),
    "pongs": frame(PONG),
    "empty texts": frame(TEXT),
    "binaries": frame(BINARY, b"x" * 100),
    "empty fragments": frame(CONTINUATION, fin=False),
}


@both
@pytest.mark.parametrize("kind", FLOODS)
async def test_a_flood_of_frames_ends_its_socket(protocol: str, kind: str) -> None:
    """With 1008 and the reason, and no more pongs than frames that it may send; the sibling goes on."""
    app, one = Echo(), FLOODS[kind]
    first = frame(TEXT, fin=False) if kind == "empty fragments" else one
    async with serving(app) as here, peers(here, protocol, "/send", "/send") as (peer, sibling):
        await peer.send(first + one * 5000)
        *_, last = await peer.rest()
        assert (CLOSE, 1008, b"too many frames") == (last.opcode, last.code, last.payload[2:])
        assert sum(each.opcode == PONG for each in peer.frames) <= FRAMES_AT_ONCE
        assert await app.ended() == (1008, "too many frames")
        await sibling.echo(b"still here")


@both
async def test_a_message_too_big_ends_its_socket(protocol: str) -> None:
    """With 1009 and the reason, when nothing but its head has come."""
    app = Echo()
    async with serving(app) as here, peers(here, protocol, "/wire", "/wire") as (peer, sibling):
        await peer.send(head(BINARY, MAX_MESSAGE_BYTES + 1))
        [last] = await peer.rest()
        assert (1009, b"message too big") == (last.code, last.payload[2:])
        assert await app.ended() == (1009, "message too big")
        await sibling.echo(b"still here")


@both
async def test_a_client_that_sends_and_never_reads_fills_nothing_but_its_own(protocol: str) -> None:
    """Its echoes wait at the wire's mark and its messages at their sender; when it goes, all of it is forgotten."""
    app = Echo()
    async with serving(app) as here:
        before = asyncio.all_tasks()
        async with peers(here, protocol, "/send", "/send", window=False) as (peer, sibling):
            peer.stop_reading()
            sending = asyncio.create_task(peer.send(frame(BINARY, b"x" * 60_000) * 100))
            await settled(lambda: not app.wires[0].writable)
            await sibling.echo(b"still here")
            sending.cancel()
            peer.vanish()
            assert await app.ended() == (1006, "")
        await settled(lambda: others(before) == 0)


async def test_unread_messages_have_a_bound() -> None:
    """Over HTTP/2 nobody waits for the application, so there it is a number; with it the socket ends."""
    inbox, sent = Inbox(lambda: None), []
    carrier: Any = Carrier()
    wire = DirectWire(inbox, Framing.FRAMES, carrier)

    async def send(event: Any) -> None:
        sent.append(event)

    config: Any = type("Config", (), {"websocket_max_message_size": MAX_MESSAGE_BYTES, "root_path": ""})
    stream: Any = WebSocketStream(carrier, inbox, wire, None, config, None, None, False, None, None, send, 1)
    stream.scope = {"headers": [], "http_version": "2"}
    await stream._accept({})
    for _ in range(FRAMES_AT_ONCE):
        await inbox.put({"type": "websocket.receive"})
    await stream._receive(frame(TEXT, b"one more"))
    assert (True, TooManyFrames.close_code) == (inbox.closed, int.from_bytes(carrier.written[0][2:4], "big"))
    assert carrier.limits == ["too_many_frames"]


# The end.


@both
async def test_close_of_the_server(protocol: str) -> None:
    """After `finish` the application's close reaches the client, the server ends its side first, nothing follows."""
    app = Wired()
    async with serving(app) as here, peers(here, protocol, "/ws") as (peer,):
        wire = await app.wire()
        wire.finish()
        assert await peer.rest() == [Frame(CLOSE, b"\x03\xe8")]
        wire.write(b"\x81\x04late")
        await peer.send(close(1000))
        assert not wire.writable


@both
async def test_close_of_the_client_is_told(protocol: str) -> None:
    """The application learns the client's own code and reason; the sibling goes on."""
    app = Echo()
    async with serving(app) as here, peers(here, protocol, "/send", "/send") as (peer, sibling):
        await peer.send(close(4000, b"enough"))
        assert await app.ended() == (4000, "enough")
        await sibling.echo(b"still here")


@both
@pytest.mark.parametrize("said", [b"", frame(TEXT, b"x")[:3], frame(TEXT, b"x", fin=False)])
async def test_an_end_without_a_close_is_1006(protocol: str, said: bytes) -> None:
    """FIN and END_STREAM, also in the middle of something: the server ends its side; the sibling goes on."""
    app = Echo()
    async with serving(app) as here, peers(here, protocol, "/send", "/send") as (peer, sibling):
        await peer.send(said)
        peer.end()
        assert (await peer.rest(), await app.ended()) == ([], (1006, ""))
        await sibling.echo(b"still here")


@both
@pytest.mark.parametrize("said", [b"", frame(TEXT, b"x")[:3]])
async def test_a_client_that_vanishes_is_1006(protocol: str, said: bytes) -> None:
    """RST of TCP and of HTTP/2; nothing of it is left, and the sibling goes on."""
    app = Echo()
    async with serving(app) as here, peers(here, protocol, "/send", "/send") as (peer, sibling):
        await peer.send(said)
        before = asyncio.all_tasks()
        peer.vanish()
        assert await app.ended() == (1006, "")
        await settled(lambda: len(before - asyncio.all_tasks()) >= 1)
        await sibling.echo(b"still here")


@both
async def test_an_end_right_after_the_close_is_none_of_its_own(protocol: str) -> None:
    """Close frame and FIN in one breath: the code is the client's."""
    app = Echo()
    async with serving(app) as here, peers(here, protocol, "/send") as (peer,):
        await peer.send(close(3001))
        peer.end()
        [last] = await peer.rest()
        assert ((3001, ""), 3001) == (await app.ended(), last.code)


@both
async def test_a_failing_application_closes_with_1011(protocol: str) -> None:
    """It leaves a close frame, not a cut, and disturbs no sibling."""

    async def app(scope: Any, receive: Receive, send: Send) -> None:
        await (fail_after_accept if scope["path"] == "/fail" else Echo())(scope, receive, send)

    async with serving(app) as here, peers(here, protocol, "/fail", "/send") as (peer, sibling):
        assert [1011] == [each.code for each in await peer.rest()]
        await sibling.echo(b"still here")


@both
async def test_clients_that_do_not_answer_our_close_are_cut(protocol: str) -> None:
    """After a moment: one that is silent, one that goes on talking. Over HTTP/2 it is the stream that is cut."""
    app = Wired()
    async with serving(app) as here:
        before = asyncio.all_tasks()
        async with peers(here, protocol, "/ws", "/ws") as (silent, talking):
            for number in range(2):
                (await app.wire(number)).finish()
            await silent.rest()
            await talking.rest()
            await talking.send(frame(TEXT, b"and another thing"))
            for peer in (silent, talking):
                if isinstance(peer, Http2Peer):
                    await peer.until(lambda peer=peer: peer.stream.reset is not None)  # type: ignore[misc]
            if protocol == HTTP1:
                await settled(lambda: others(before) == 0)


@both
async def test_an_application_that_stays_after_its_close_hears_of_the_answer(protocol: str) -> None:
    """The client's close, which wants none in turn, ends it; for the application all went well."""
    heard: list[int] = []

    async def stay(_scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.close", "code": 4000})
        heard.append((await receive())["code"])

    async with serving(stay) as here, peers(here, protocol, "/ws") as (peer,):
        await peer.until(lambda: bool(peer.frames))
        await peer.send(close(4000))
        assert [4000] == [each.code for each in await peer.rest()]
        await settled(lambda: bool(heard))
    assert heard == [1000]


async def test_a_refused_client_may_end_its_stream_while_the_application_stays() -> None:
    """The answer was complete; there is nothing more to say."""
    stays = asyncio.Event()

    async def deny(_scope: Any, receive: Receive, send: Send) -> None:
        await receive()
        await send({"type": "websocket.close"})
        await stays.wait()

    async with serving(deny) as here, await here.h2() as client:
        socket = await client.websocket("/ws")
        socket.stream.send(b"", end=True)
        await client.until(lambda: socket.stream.ended)
        stays.set()
        assert socket.stream.status == 403


async def test_a_close_at_a_shut_window_is_given_up() -> None:
    """A client that lets nothing out of its stream keeps neither bytes nor stream; the connection goes on."""
    app = Wired()

    async def both_kinds(scope: Any, receive: Receive, send: Send) -> None:
        await (app if scope["type"] == "websocket" else hello)(scope, receive, send)

    async with serving(both_kinds) as here, await here.h2(window=False) as client:
        client.connection.increment_flow_control_window(1 << 20)
        socket = await client.websocket("/ws")
        wire = await app.wire()
        while wire.writable:
            wire.write(b"x" * 16384)
            await asyncio.sleep(0)
        socket.send(CloseConnection(1000))
        await client.until(lambda: socket.stream.reset is not None)
        assert (await client.request("GET", "/").head())[":status"] == "200"


async def test_answer_to_our_close_disturbs_nobody() -> None:
    """The client's close frame, which comes when the stream is gone here, is dropped; siblings live."""
    app = Wired()
    async with serving(app) as here, peers(here, HTTP2, "/ws", "/ws") as (peer, sibling):
        (await app.wire()).finish()
        await peer.rest()
        await peer.send(close(1000))
        (await app.wire(1)).write(b"\x81\x02hi")
        await sibling.until(lambda: sibling.frames == [Frame(TEXT, b"hi")])
