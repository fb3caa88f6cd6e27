"""Hypercorn, hardened: the one place that knows it, its edges, and the libraries under it.

From the bottom up::

    settings     every bound with its reason; which Hypercorn this is written for
    waiters      those who wait for one thing to change
    inbox        what an application will receive
    sendbuffer   what one HTTP/2 stream has yet to send
    progress     how much a peer has taken, and the end of one that takes too little
    wires        how a subscriber's bytes reach the connection
    sending      the HTTP/2 streams' way out
    streams      a request or a WebSocket: the scope with its wire, the application's one task
    http1 http2  the two protocols
    connection   one peer: bytes in, bytes out, the end
    listener     one site and its connections
    ending       signals, and an end in any case
    run          the server's life, the drain

Nothing of Hypercorn is patched: its `Config`, protocols and streams are subclassed and named here. There is no ASGI
lifespan: applications are handed live objects, and ``scope["state"]`` is empty. One test per defect holds ours without
it, and tells when a new Hypercorn no longer has it.
"""

from tailrace.server.ending import leave_within
from tailrace.server.listener import Site
from tailrace.server.run import Server, run
from tailrace.server.settings import EXIT_SECONDS, STALL_SECONDS

__all__ = ["EXIT_SECONDS", "STALL_SECONDS", "Server", "Site", "leave_within", "run"]
