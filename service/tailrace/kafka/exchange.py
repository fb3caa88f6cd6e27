"""Questions and answers over a connection that aiokafka has opened: one at a time, and without its streams.

aiokafka connects, speaks TLS and SASL, and learns which versions the broker knows. Then this takes the socket over: for
each answer aiokafka's own reading wakes a task twice and sets two timers, and a fetch is asked for hundreds of times a
second. `connection` opens and closes; knows nothing of what is asked.
"""
# ruff: noqa: SLF001  it takes aiokafka's connection apart; tests hold what it relies upon

from __future__ import annotations

import asyncio
from io import BytesIO
from struct import Struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiokafka.conn import AIOKafkaConnection

MAX_ANSWER_BYTES = 256 * 1024 * 1024
"""A fetch may bring a single batch that is larger than was asked for; nobody's is as large as this."""

_SIZE = Struct(">i")


class Exchange(asyncio.Protocol):
    """One connection, from the moment it may be asked until it has gone."""

    def __init__(self, opened: AIOKafkaConnection) -> None:
        self._opened = opened
        self._transport = opened._writer.transport
        self._incoming = bytearray()
        self._answer: asyncio.Future[bytes] | None = None
        self._asked = 0
        self._loop = asyncio.get_running_loop()
        self._due = 0.0
        self._timer: asyncio.TimerHandle | None = None
        opened._read_task.cancel()
        self._transport.set_protocol(self)

    @property
    def connected(self) -> bool:
        """Whether it may be asked."""
        return not self._transport.is_closing()

    async def ask(self, request: Any, seconds: float) -> Any:
        """Send ``request`` and give its answer. Whoever does not get it has to close the connection.

        Raises `TimeoutError` after ``seconds``, `ConnectionResetError` when the broker goes, and aiokafka's errors for
        a request that it does not know.
        """
        prepared = request.prepare(self._opened._versions)
        self._asked += 1
        header = prepared.build_request_header(correlation_id=self._asked, client_id=self._opened._client_id)
        message = header.encode() + prepared.encode()
        self._transport.write(_SIZE.pack(len(message)) + message)
        self._answer = self._loop.create_future()
        self._arm(seconds)
        data = BytesIO(await self._answer)
        if prepared.parse_response_header(data).correlation_id != self._asked:
            raise ConnectionResetError("it answered another question")
        return prepared.RESPONSE_TYPE.decode(data)

    def close(self) -> None:
        """Close the socket, and aiokafka's connection with it."""
        self._opened.close()

    # What the transport says.

    def data_received(self, data: bytes) -> None:
        self._incoming += data
        arrived = len(self._incoming) - _SIZE.size
        if arrived < 0:
            return
        (size,) = _SIZE.unpack_from(self._incoming)
        if arrived == size:
            answer = bytes(memoryview(self._incoming)[_SIZE.size :])
            self._incoming.clear()
            self._give(answer)
        elif not arrived < size <= MAX_ANSWER_BYTES:
            self._fail(ConnectionResetError("it sends what is no answer"))
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._fail(exc or ConnectionResetError("it ended the connection"))
        self._opened._protocol.connection_lost(exc)

    def _give(self, answer: bytes) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(answer)

    def _fail(self, error: Exception) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    # One timer, set again only when it has run out: setting one for each answer costs more than asking.

    def _arm(self, seconds: float) -> None:
        self._due = self._loop.time() + seconds
        if self._timer is None:
            self._timer = self._loop.call_at(self._due, self._look)

    def _look(self) -> None:
        self._timer = None
        if self._answer is not None and not self._answer.done():
            if self._loop.time() < self._due:
                self._timer = self._loop.call_at(self._due, self._look)
            else:
                self._answer.set_exception(TimeoutError())
