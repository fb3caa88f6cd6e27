"""Batches written by hand, given to a real broker as they are."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from aiokafka.conn import create_conn
from aiokafka.protocol.produce import ProduceRequest

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

ANSWER_MS = 60_000
"""The broker unpacks, too, to look at what it takes."""


@asynccontextmanager
async def appending(
    bootstrap: str, topic: str, partition: int = 0
) -> AsyncIterator[Callable[[bytes], Awaitable[tuple[int, int]]]]:
    """Connect to the leader; gives what has it append a batch, and gives its error code, 0 for none, and the offset at
    which the batch begins."""
    host, _, port = bootstrap.split(",", maxsplit=1)[0].rpartition(":")
    connection = await create_conn(host, int(port), request_timeout_ms=ANSWER_MS)

    async def append(batch: bytes) -> tuple[int, int]:
        answer = await connection.send(ProduceRequest(None, -1, ANSWER_MS, [(topic, [(partition, batch)])]))
        [(_, [(_, code, offset, *_)])] = answer.topics
        return code, offset

    try:
        yield append
    finally:
        await connection.close()


async def produced(bootstrap: str, topic: str, *batches: bytes, partition: int = 0) -> list[int]:
    """Have the leader append each batch; gives the offset at which each begins. Raises `RuntimeError` where one is
    refused."""
    offsets = []
    async with appending(bootstrap, topic, partition) as append:
        for batch in batches:
            code, offset = await append(batch)
            if code:
                raise RuntimeError(f"the broker refuses the batch with error {code}")
            offsets.append(offset)
    return offsets
