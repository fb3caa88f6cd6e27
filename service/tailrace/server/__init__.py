"""Hypercorn, hardened: the one place that knows it, its edges, and the libraries under it.

From the bottom up::

    settings     every bound with its reason; which Hypercorn this is written for
    tls          versions, ciphers, the certificate
    context      what Hypercorn's protocols share: next to nothing
    descriptors  how many files may be open
    waiters      those who wait for one thing to change
    timed        a coroutine whose steps are timed
    turnstile    whose input is worked on in this iteration of the loop, and how much of it
    level        how much of something there was of late
    refusals     how often one connection was refused
    untaken      answers that nobody takes, of all connections
    standing     what a connection is: a stranger's, or one with an admitted stream
    applications the tasks of one connection's applications
    incoming     what a peer has sent, slice by slice
    inbox        what an application will receive
    sendbuffer   what one HTTP/2 stream has yet to send
    progress     how much a peer has taken, and the end of one that takes too little
    wires        how a subscriber's bytes reach the connection
    sending      the HTTP/2 streams' way out
    parting      closed WebSockets over HTTP/2 whose peer is late
    windows      the peer's way in, over HTTP/2
    streams      a request: the scope with its wire, the application's one task
    answer       an error in place of an application's answer
    handshake    a request that asks for a WebSocket, and its answer
    frames       what a WebSocket client may send
    websocket    a WebSocket: as a request, and the client's frames
    heads        which requests no application sees
    guard        what makes a peer's frames a flood
    http1 http2  the two protocols
    protocols    which of them a connection speaks
    idle         how long a connection may be without a request
    keeper       the listener, as its connections see it
    connection   one peer: bytes in, bytes out, the end
    door         accepting
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
from tailrace.server.settings import EXIT_SECONDS, SPARE_SOCKETS, STALL_SECONDS, Patience

__all__ = ["EXIT_SECONDS", "SPARE_SOCKETS", "STALL_SECONDS", "Patience", "Server", "Site", "leave_within", "run"]
