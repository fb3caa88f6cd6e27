"""`tailrace.kafka.exchange`: bytes in, answers out, and every way in which a broker does not answer."""

from __future__ import annotations

import asyncio
import struct
from typing import Any

import pytest
from aiokafka.protocol.metadata import MetadataResponse_v5

from leaping import leaping, until
from tailrace.kafka.exchange import MAX_ANSWER_BYTES, Exchange
from tailrace.kafka.metadata import Metadata

BODY = MetadataResponse_v5(0, [], "it", 1, []).encode()


class Opened:
    """What aiokafka has opened: its connection, writer, transport, protocol and reading task in one."""

    def __init__(self) -> None:
        self._client_id = "tailrace"
        self._versions = {3: (0, 5)}
        self._writer = self._read_task = self._protocol = self.transport = self
        self.done: list[str] = []
        self.written: list[bytes] = []

    def set_protocol(self, protocol: Any) -> None:
        self.done.append(type(protocol).__name__)

    def cancel(self) -> None:
        self.done.append("cancelled")

    def write(self, data: bytes) -> None:
        self.written.append(data)

    def is_closing(self) -> bool:
        return "aborted" in self.done

    def abort(self) -> None:
        self.done.append("aborted")

    def close(self) -> None:
        self.done.append("closed")

    def connection_lost(self, exc: Exception | None) -> None:
        self.done.append(f"lost: {exc}")


def answer(number: int, body: bytes = BODY) -> bytes:
    """Frame an answer to the question of that number."""
    return struct.pack(">ii", 4 + len(body), number) + body


async def asking(exchange: Exchange, seconds: float = 60.0) -> asyncio.Task[Any]:
    """Ask, and go on when that is on its way."""
    task = asyncio.create_task(exchange.ask(Metadata([]), seconds))
    await asyncio.sleep(0)
    return task


async def test_the_socket_is_taken_over() -> None:
    """aiokafka stops reading, and everything that arrives is ours."""
    opened = Opened()
    Exchange(opened)
    assert opened.done == ["cancelled", "Exchange"]


@pytest.mark.parametrize("cut", [1, 3, 4, 8, len(answer(1)) - 1])
async def test_an_answer_may_come_in_pieces(cut: int) -> None:
    """Wherever it is cut."""
    exchange = Exchange(Opened())
    task = await asking(exchange)
    exchange.data_received(answer(1)[:cut])
    exchange.data_received(answer(1)[cut:])
    assert (await task).cluster_id == "it"


async def test_questions_are_numbered() -> None:
    """One answer after the other, each to its own question."""
    opened = Opened()
    exchange = Exchange(opened)
    for number in (1, 2):
        task = await asking(exchange)
        exchange.data_received(answer(number))
        await task
    assert [struct.unpack_from(">hhi", data, 4)[2] for data in opened.written] == [1, 2]


async def test_an_answer_to_another_question_is_trouble() -> None:
    """Nothing that follows could be believed."""
    exchange = Exchange(Opened())
    task = await asking(exchange)
    exchange.data_received(answer(7))
    with pytest.raises(ConnectionResetError, match="another question"):
        await task


@pytest.mark.parametrize("data", [answer(1) + b"x", struct.pack(">i", -1), struct.pack(">i", MAX_ANSWER_BYTES + 1)])
async def test_what_is_no_answer_ends_the_connection(data: bytes) -> None:
    """More than was asked for, or a length that cannot be: whoever asked is told, and the socket is cut."""
    opened = Opened()
    exchange = Exchange(opened)
    task = await asking(exchange)
    exchange.data_received(data)
    with pytest.raises(ConnectionResetError, match="no answer"):
        await task
    assert (exchange.connected, opened.done[-1]) == (False, "aborted")


async def test_whoever_waits_hears_that_the_broker_has_gone() -> None:
    """And so does aiokafka, which tells when the socket is closed."""
    opened = Opened()
    exchange = Exchange(opened)
    task = await asking(exchange)
    exchange.connection_lost(None)
    with pytest.raises(ConnectionResetError, match="ended the connection"):
        await task
    assert opened.done[-1] == "lost: None"


async def test_a_late_answer_is_nobodys() -> None:
    """Whoever gave up is not disturbed by it."""
    exchange = Exchange(Opened())
    task = await asking(exchange)
    task.cancel()
    await asyncio.wait({task})
    exchange.data_received(answer(1))
    exchange.connection_lost(None)
    assert task.cancelled()


async def test_silence_is_bounded() -> None:
    """One timer serves every question, and still each has its own time, from when it was asked."""
    with leaping() as loop:
        exchange, start = Exchange(Opened()), loop.time()
        first = await asking(exchange, 10)
        await until(lambda: loop.time() > start + 7)
        exchange.data_received(answer(1))
        await first
        asked = loop.time()
        with pytest.raises(TimeoutError):
            await exchange.ask(Metadata([]), 10)
        assert round(loop.time() - asked, 3) == 10
        exchange.connection_lost(None)


async def test_closing_is_aiokafkas() -> None:
    """It closes the socket and tells when that is done."""
    opened = Opened()
    Exchange(opened).close()
    assert opened.done[-1] == "closed"
