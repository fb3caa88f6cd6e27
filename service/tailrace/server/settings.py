"""What is set in Hypercorn, in TLS and on sockets, each with its reason; and which Hypercorn this package knows.

Plain values and two small builders; knows no connection. `listener` hands the results to everything above, so that
every bound of the server has its name here.
"""

from __future__ import annotations

import ssl
from importlib.metadata import version
from pathlib import Path

from hypercorn.config import Config

from tailrace.errors import ConfigurationError
from tailrace.wire import HIGH_WATER_BYTES

HYPERCORN = "0.18."
"""The subclasses here lean on the insides of exactly this line of versions."""

BACKLOG = 4096
"""Connections the kernel holds for us: a restart brings every client back at once. Linux caps it at ``somaxconn``."""

SEND_BUFFER_BYTES = 64 * 1024
"""``SO_SNDBUF`` of every connection. Left alone, the kernel holds 4 MB for a client that has stopped reading."""

LAYER_BYTES = 2 * HIGH_WATER_BYTES
"""Most that one layer holds of what is on its way to a client: its mark, and the write that went over it, which is a
flush of the reader's (one event more where events are large). TLS has marks of its own, above the transport's."""

STALLED_CLIENT_BYTES = 3 * LAYER_BYTES + 2 * SEND_BUFFER_BYTES
"""What a client that has stopped reading costs at most until it is cut: over HTTP/2 and TLS three layers, a stream's,
TLS's and the transport's; and in the kernel twice its send buffer, which Linux doubles to pay for its own books."""

STALL_SECONDS = 30.0
"""How long a peer may take nothing of what it is owed, whoever waits for it: the last resort, for the application's own
time-out is shorter. Also ``TCP_USER_TIMEOUT`` (RFC 5482), by which Linux gives up a peer that acknowledges nothing, or
leaves its window shut."""

READ_BYTES = 64 * 1024
"""A connection that holds more unread input than this stops reading from its socket."""

KEEP_ALIVE_SECONDS = 30.0
"""How long a connection may be without a request; it also bounds how long a request's head may take to arrive."""

LINGER_SECONDS = 1.0
"""How long a closing connection still reads, lest a reset overtake our last words (RFC 9112 section 9.6)."""

CLOSE_SECONDS = 1.0
"""How long a connection that is left politely may take to hand on its last bytes; then it is cut."""

GRACE_SECONDS = 5.0
"""What connections of all sites together may take after the drain: for last words that are still on their way. With the
drain's ten, and `CLOSE_SECONDS` twice a site at worst, it leaves room in the 30 s that Kubernetes gives a pod."""

EXIT_SECONDS = 5.0
"""What all else may take to end when nobody is served any more. Spans that are still to be sent have 2 s of it; a
thread that resolves a broker's name, from servers which do not answer, would take a minute."""

TLS_HANDSHAKE_SECONDS = 10.0

TLS_SHUTDOWN_SECONDS = 1.0
"""How long to wait for a peer's close_notify; asyncio's 30 s would hold the exit."""

INBOX_MESSAGES = 10
"""Messages that an application may leave unread before an HTTP/1.1 connection stops reading."""

MAX_STREAMS = 900
"""Streams a client may have open on one HTTP/2 connection. 100, Hypercorn's default, hangs a page's 101st EventSource
without a word; each open stream may hold one receive window of 64 KiB that its application has not read."""

MAX_MESSAGE_BYTES = 64 * 1024
"""The largest WebSocket message: a client sends tokens and acknowledgements. Hypercorn's 16 MiB is an invitation."""

MAX_HEAD_BYTES = 32 * 1024
"""The largest request head: a token, cookies and an id that names some hundred partitions."""

NEVER = 10**9


def hypercorn_config() -> Config:
    """Make the `Config` that Hypercorn's protocol classes read; what only its own runner reads is left alone."""
    config = Config()
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


def tls_context(cert_file: Path, key_file: Path) -> ssl.SSLContext:
    """Make the server's TLS context: 1.2 or later, HTTP/2 preferred (RFC 9113 section 9.2, RFC 7301).

    Raises `ConfigurationError` naming the file that cannot be read or used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
    context.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
    context.set_alpn_protocols(["h2", "http/1.1"])
    problems = [problem for file in (cert_file, key_file) if (problem := _unreadable(file))]
    if problems:
        raise ConfigurationError(problems)
    try:
        context.load_cert_chain(cert_file, key_file, password=_no_password)
    except (ssl.SSLError, ValueError) as error:
        raise ConfigurationError([f"{cert_file} and {key_file} are no certificate and its key: {error}"]) from error
    return context


def _unreadable(file: Path) -> str | None:
    try:
        file.read_bytes()
    except OSError as error:
        return f"cannot read {file}: {error.strerror or error}"
    return None


def _no_password() -> str:
    """Refuse, where OpenSSL would ask at the terminal and hang a container."""
    raise ValueError("the key is encrypted; give it without a passphrase")
