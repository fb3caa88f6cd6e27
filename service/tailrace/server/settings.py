"""What is set in Hypercorn and on sockets, each bound with its reason; and which Hypercorn this package knows.

Plain values and two small builders; knows no connection. `listener` hands the results to everything above, so that
every bound of the server has its name here.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.metadata import version

from hypercorn.config import Config

from tailrace.errors import ConfigurationError
from tailrace.wire import HIGH_WATER_BYTES

HYPERCORN = "0.18."
"""The subclasses here lean on the insides of exactly this line of versions."""

BACKLOG = 4096
"""Connections the kernel holds for us: a restart brings every client back at once. Linux caps it at ``somaxconn``."""

MAX_SOCKETS = 256
"""Connections of a site that says nothing else: an operator's own, probes and scrapes."""

SPARE_SOCKETS = 1000
"""Connections of the clients' site beyond its subscribers: who is on the way in, and who has to be told to come back.
At 2000 a second, as many as one process admits, that is half a second for each."""

SPARE_FILES = 100
"""Descriptors for all that is no connection of a client: Kafka, the log, traces, the loop."""

ACCEPTS_PER_TURN = 100
"""Connections taken in one turn of the loop, some milliseconds of it: a storm of them holds up nobody who is served."""

ACCEPTS_PER_TURN_OF_MANY = 4
"""The same while others wait for their turn: a new connection would only wait behind them, and each costs 0.2 ms."""

HANDSHAKES_PER_TURN = 1
"""The same over TLS, where each costs a millisecond of arithmetic."""

ADMISSION_SHARE = 0.2
"""Of the loop's time, for those who are not admitted, while admitted streams need the rest. A fifth of a core admits
400 clients a second where one takes 0.47 ms; an idle core admits as many as it can."""

LEAST_SECONDS = 0.001
"""What those who are not admitted may take of each iteration of the loop, however short that is: two admissions. A
record passes through some three iterations on its way to its clients; strangers can delay each of them by so much."""

MOST_SECONDS = 0.01
"""The most that they may take, however long the iteration before was: the processor may have been busy elsewhere."""

PIECE_SECONDS = 0.0005
"""How long the input of one connection is worked on before others have their turn: half of `LEAST_SECONDS`."""

ACCEPT_PAUSE_SECONDS = 0.1
"""How long to leave a listening socket alone when the process has no descriptor left: it would stay ready all along."""

SEND_BUFFER_BYTES = 64 * 1024
"""``SO_SNDBUF`` of every connection. Left alone, the kernel holds 4 MB for a client that has stopped reading."""

LAYER_BYTES = 2 * HIGH_WATER_BYTES
"""Most that one layer holds of what is on its way to a client: its mark, and the write that went over it, which is a
flush of the reader's (one event more where events are large). TLS has marks of its own, above the transport's."""

STALLED_CLIENT_BYTES = 3 * LAYER_BYTES + 2 * SEND_BUFFER_BYTES
"""What a client that has stopped reading costs at most until it is cut: over HTTP/2 and TLS three layers, a stream's,
TLS's and the transport's; and in the kernel twice its send buffer, which Linux doubles to pay for its own books. Linux
may overstep that by the last packet."""

STALL_SECONDS = 30.0
"""How long a peer may take nothing of what it is owed, whoever waits for it: the last resort, for the application's own
time-out is shorter. Also ``TCP_USER_TIMEOUT`` (RFC 5482), by which Linux gives up a peer that acknowledges nothing, or
leaves its window shut."""

READ_AT_ONCE_BYTES = 16 * 1024
"""Most that is read of one connection at once: a request with everything in it. Left alone, a loop reads 256 KiB, which
thousands of strangers could have us keep until their turn comes."""

READ_BYTES = 64 * 1024
"""A connection that holds more unread input than this stops reading from its socket."""

HTTP1_SLICE_BYTES = 512
HTTP2_SLICE_BYTES = 128
"""How much input is worked on before the clock is looked at. A connection of HTTP/1.1 answers one request at a time,
and looks for the end of a head in all that came of it; over HTTP/2 the smallest requests have 14 bytes, and 9 of them
take 1 ms."""

KEEP_ALIVE_SECONDS = 30.0
"""How long a connection may be without a request; it also bounds how long a request's head may take to arrive."""

ANSWER_SECONDS = 5.0
"""How long a peer may take nothing of an answer that is no stream. It asked for it just now, so it should be quick."""

MAX_UNTAKEN_ANSWERS = 16
MAX_UNTAKEN_BYTES = 64 * 1024
"""Answers of one HTTP/2 connection that are no streams and that its peer has not taken: more requests are refused
(REFUSED_STREAM). Enough for a browser's page, whatever its round trip; each costs us 14 kB beside its bytes."""

MAX_ALL_UNTAKEN_BYTES = 32 * 1024 * 1024
"""The same of all connections together, an answer counting `UNTAKEN_ANSWER_BYTES` beside its own."""
UNTAKEN_ANSWER_BYTES = 16 * 1024

REQUEST_SECONDS = 30.0
"""How long the body of a request may take to arrive while its answer has not begun. The same as for a head."""

LINGER_SECONDS = 1.0
"""How long a closing connection still reads, lest a reset overtake our last words (RFC 9112 section 9.6)."""

CLOSE_SECONDS = 1.0
"""How long a connection that is left politely may take to hand on its last bytes; then it is cut."""

HEARING_SECONDS = 1.0
"""How long an application may take to hear that its client has been cut; then it is cancelled."""

GRACE_SECONDS = 5.0
"""What connections of all sites together may take after the drain: for last words that are still on their way. With the
drain's ten, and `HEARING_SECONDS` twice a site at worst, it leaves room in the 30 s that Kubernetes gives a pod."""

EXIT_SECONDS = 5.0
"""What all else may take to end when nobody is served any more. Spans that are still to be sent have 2 s of it; a
thread that resolves a broker's name, from servers which do not answer, would take a minute."""

TLS_HANDSHAKE_SECONDS = 10.0
"""How long a peer may take for it: some round trips, and a phone that wakes up."""

TLS_SHUTDOWN_SECONDS = 1.0
"""How long to wait for a peer's close_notify; asyncio's 30 s would hold the exit."""

INBOX_MESSAGES = 10
"""Messages that an application may leave unread before an HTTP/1.1 connection stops reading."""

MAX_UNREAD_MESSAGES = 1000
"""The same over HTTP/2, where the stream is reset above it: a window of 64 KiB, filled byte by byte, would be 65 535
messages of 400 bytes each. An application that reads never has more than one turn's input before it."""

MAX_STREAMS = 900
"""Streams a client may have open on one HTTP/2 connection. 100, Hypercorn's default, hangs a page's 101st EventSource
without a word; each open stream may hold one receive window of 64 KiB that its application has not read."""

MAX_MESSAGE_BYTES = 64 * 1024
"""The largest WebSocket message: a client sends tokens and acknowledgements. Hypercorn's 16 MiB is an invitation."""

FRAMES_AT_ONCE = 128
FRAMES_PER_SECOND = 16.0
"""WebSocket frames that a client may send: so many at once, which take us a millisecond, and then so many a second. It
has a token to say, answers a ping now and then, and may cut a message of 64 KiB into pieces of 512 bytes. As many whole
messages may lie unread over HTTP/2."""

MAX_HEAD_BYTES = 32 * 1024
"""The largest request head: a token, cookies and an id that names some hundred partitions. Over HTTP/2 up to twice as
much is still understood, to be answered 431; beyond that the connection ends (RFC 9113 section 10.5.1)."""

MAX_HEADER_TABLE_BYTES = 4096
"""What the compression of our response heads may remember, whatever the peer allows (RFC 7541 section 4.2): a peer that
allows 4 GB would have us keep every head ever sent, and search all of them for the next."""

SMALL_BYTES = 64
"""DATA below this costs more than it brings. Pongs are smaller, and the last bytes of a body, but those come once."""

HEAD_FRAME_BYTES = 1024
"""What a frame of a head counts at least, so that many small ones are as bad as a large one."""

SENT_BYTES_PER_UPDATE = 16
"""A client may open windows once for so many bytes that it was sent. The smallest event has three times as many, and a
careful client opens two windows for it, its stream's and the connection's; one that goes byte by byte, thirty-two."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """How much of something is no flood: ``burst`` at once, then ``per_second``.

    ``saved`` is how much more may be saved up, where a peer can earn it.
    """

    burst: int
    per_second: float
    saved: int = 0


_BY_STREAM = Allowance(4 * MAX_STREAMS, 200)
"""For what an honest client says for each of its streams: for all of them at once, and more than once; later 200 a
second, which take half a percent of a core."""

ALLOWANCES = {
    # Every stream opened and closed at once, twice: a page with 900 EventSources that is reloaded. What was answered
    # before it was closed does not count, so a proxy whose clients come and go is never meant.
    "rapid_reset": Allowance(2 * MAX_STREAMS, 100),
    # RST_STREAM without a stream: each may be reset once.
    "reset_flood": Allowance(MAX_STREAMS, 100, saved=2 * MAX_STREAMS),
    # gRPC pings each second, and some libraries ten times while they measure the bandwidth.
    "ping_flood": Allowance(100, 20),
    # One or two begin a connection; some widen their windows step by step. Each walks over all streams.
    "settings_flood": Allowance(100, 1),
    # Browsers give a priority to each stream, and change it (RFC 9218); unknown types count here, too.
    "priority_flood": _BY_STREAM,
    "window_update_flood": _BY_STREAM,
    # The pongs of 900 WebSockets after one heartbeat.
    "empty_frame_flood": _BY_STREAM,
}
"""What is counted, by the name it has in the metrics, and how much of it there may be on one connection."""

REFUSALS = Allowance(64, 1)
"""Requests of one connection that may be refused while none of its streams is admitted: so many at once, and then one a
second, which is more than a page with an expired token repeats. One more is answered 429, and the connection ends."""

SLOWED_AFTER_REFUSALS = 16
REFUSED_PAUSE_SECONDS = 0.5
"""Beyond so many refusals a connection waits before each request, longer and longer, up to such a pause. Each request
still adds more than is forgiven while it waits, so a connection that goes on is ended after some twenty seconds."""

RETRY_AFTER_REFUSALS_SECONDS = 10
"""What such a client is told to wait before it comes back."""

NEVER = 10**9


@dataclass(frozen=True, slots=True)
class Patience:
    """How long the server waits for peers that are slow, or say nothing."""

    keep_alive_seconds: float = KEEP_ALIVE_SECONDS
    request_seconds: float = REQUEST_SECONDS
    tls_handshake_seconds: float = TLS_HANDSHAKE_SECONDS
    stall_seconds: float = STALL_SECONDS
    answer_seconds: float = ANSWER_SECONDS
    refused_pause_seconds: float = REFUSED_PAUSE_SECONDS
    hearing_seconds: float = HEARING_SECONDS


class _Config(Config):
    """Hypercorn's settings, and beside its own headers those that all answers of a listener have.

    They are here and not in an application, so that what the server refuses by itself has them too, and no stream
    holds anything for them.
    """

    def __init__(self, hsts_seconds: int | None) -> None:
        super().__init__()
        self._more = [(b"x-content-type-options", b"nosniff")]
        if hsts_seconds is not None:
            self._more.append((b"strict-transport-security", b"max-age=%d" % hsts_seconds))

    def response_headers(self, protocol: str) -> list[tuple[bytes, bytes]]:
        return [*super().response_headers(protocol), *self._more]


def hypercorn_config(hsts_seconds: int | None = None) -> Config:
    """Make the `Config` that Hypercorn's protocol classes read; what only its own runner reads is left alone.

    With ``hsts_seconds`` every answer asks browsers to come by TLS alone for so long (RFC 6797); other hosts of the
    domain are not ours to speak for, so neither ``includeSubDomains`` nor ``preload`` is said.
    """
    config = _Config(hsts_seconds)
    # Query strings may carry positions, and careless clients put tokens there: Hypercorn logs nothing, we do.
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    # At the limit it freezes the live streams of an HTTP/2 connection.
    config.keep_alive_max_requests = NEVER
    config.h2_max_concurrent_streams = MAX_STREAMS
    config.h2_max_header_list_size = MAX_HEAD_BYTES
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.websocket_max_message_size = MAX_MESSAGE_BYTES
    # Pings are the subscription's business; Hypercorn's need a task each and never look for the pong.
    config.websocket_ping_interval = None
    return config


def check_hypercorn(installed: str | None = None) -> None:
    """Raise `ConfigurationError` unless the installed Hypercorn is of the line this package was written against."""
    installed = installed or version("hypercorn")
    if not installed.startswith(HYPERCORN):
        raise ConfigurationError([f"Hypercorn {installed} is installed, but tailrace works with {HYPERCORN}* only"])
