"""Who stands around the service in `bench.stalled`, each in a process of its own: who stalls, who reads, who produces.

A role says one line when it is ready, and tells what it has seen, as JSON in a second line: `stall` when everybody was
cut, `read` when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import select
import socket
import ssl
import sys
import time

import uvloop
from confluent_kafka import Producer

RECEIVE_BUFFER_BYTES = 4096
"""``SO_RCVBUF`` of who stalls: what is not read shall stay with the service."""
EVENT_BYTES, FLOOD_EVENT_BYTES = 250, 4000
TIME_MARK, TIME_DIGITS = b"~T", 17


def request(transport: str, session: str, token: str) -> bytes:
    """Write the request that subscribes to ``session`` over HTTP/1.1."""
    head = f"Host: bench\r\nAuthorization: Bearer {token}\r\n"
    if transport == "sse":
        return f"GET /v1/sessions/{session}/events HTTP/1.1\r\n{head}\r\n".encode()
    upgrade = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    return f"GET /v1/sessions/{session}/ws HTTP/1.1\r\n{head}{upgrade}{key}\r\n".encode()


def context(cert_file: str) -> ssl.SSLContext | None:
    """Trust this certificate; no TLS without one."""
    return ssl.create_default_context(cafile=cert_file) if cert_file else None


def say(word: object) -> None:
    """Tell the command."""
    print(json.dumps(word), flush=True)


def stall(port: int, cert_file: str, transport: str, token: str, prefix: str, sessions: int, clients: int) -> None:
    """Subscribe, read the hello, and nothing more; tell the seconds after which each was cut."""
    began: dict[int, tuple[socket.socket, float]] = {}
    for number in range(clients):
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER_BYTES)
        sock.connect(("127.0.0.1", port))
        if tls := context(cert_file):
            sock = tls.wrap_socket(sock, server_hostname="localhost")
        sock.sendall(request(transport, f"{prefix}{number % sessions}", token))
        heard = b""
        while b"tailrace.ready" not in heard:
            heard += sock.recv(512)
        began[sock.fileno()] = (sock, time.monotonic())
    say("stalled")
    say(cuts(began))


def cuts(began: dict[int, tuple[socket.socket, float]]) -> list[float]:
    """Wait until each is cut, which shows without reading."""
    poll, seconds = select.poll(), []
    for descriptor in began:
        poll.register(descriptor, 0)  # errors and hang-ups are told in any case
    while began:
        for descriptor, _ in poll.poll():
            poll.unregister(descriptor)
            sock, at = began.pop(descriptor)
            seconds.append(time.monotonic() - at)
            sock.close()
    return seconds


class Healthy(asyncio.Protocol):
    """A client that reads; notes when events came, and how old they were."""

    def __init__(self, asked: bytes, seen: list[tuple[float, float]]) -> None:
        self._asked = asked
        self._seen = seen

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.write(self._asked)  # type: ignore[attr-defined]  # uvloop's are no subclasses of asyncio's

    def data_received(self, data: bytes) -> None:
        if (at := data.rfind(TIME_MARK)) >= 0 and len(data) >= at + len(TIME_MARK) + TIME_DIGITS:
            now, at = time.time(), at + len(TIME_MARK)
            self._seen.append((now, now - float(data[at : at + TIME_DIGITS])))


async def read(port: int, cert_file: str, transport: str, token: str, prefix: str, sessions: int) -> None:
    """Subscribe to each session and read; tell when events came, and how old they were."""
    loop, seen = asyncio.get_running_loop(), list[tuple[float, float]]()
    tls = context(cert_file)
    for number in range(sessions):
        asked = request(transport, f"{prefix}{number}", token)
        name = "localhost" if tls else None
        await loop.create_connection(
            lambda asked=asked: Healthy(asked, seen),
            "127.0.0.1",
            port,
            ssl=tls,
            server_hostname=name,
        )
    say("reading")
    await loop.run_in_executor(None, sys.stdin.read)
    say(seen)


def produce(bootstrap: str, topic: str, prefix: str, sessions: int, rate: int) -> None:
    """Produce ``rate`` events a second to the sessions in turn, until killed."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 1, "queue.buffering.max.messages": 1_000_000})
    say("producing")
    start, number = time.time(), 0
    while True:
        while number < (time.time() - start) * rate:
            value = b"~T%.6f~" % time.time() + b"x" * EVENT_BYTES
            producer.produce(topic, value[:EVENT_BYTES], key=f"{prefix}{number % sessions}".encode())
            number += 1
        producer.poll(0)
        time.sleep(0.0005)


def flood(bootstrap: str, topic: str, prefix: str, sessions: int, size: int) -> None:
    """Produce so many bytes to each session, large events in turn, and end."""
    producer = Producer({"bootstrap.servers": bootstrap, "queue.buffering.max.kbytes": 1_000_000})
    say("flooding")
    for _ in range(size // FLOOD_EVENT_BYTES):
        for session in range(sessions):
            producer.produce(topic, b"x" * FLOOD_EVENT_BYTES, key=f"{prefix}{session}".encode())
            producer.poll(0)
    producer.flush()
    say("flooded")


if __name__ == "__main__":
    role, *given = sys.argv[1:]
    arguments = [int(each) if each.isdigit() else each for each in given]
    if role == "read":
        uvloop.run(read(*arguments))  # type: ignore[arg-type]  # as the command gives them
    else:
        {"stall": stall, "produce": produce, "flood": flood}[role](*arguments)  # type: ignore[operator]  # same
