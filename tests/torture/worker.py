"""A producer that chooses partitions as Java's does, and batches and retries in its own way: aiokafka, in a process."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections import deque
from pathlib import Path

from crowd.history import History, Kind

TESTS = Path(__file__).parent.parent


class Worker:
    """Says things to sessions of one topic, whose epoch is known. A `torture.voices.Voice`; idempotent."""

    def __init__(self, history: History, bootstrap: str, topic: str, epoch: str, compression: str) -> None:
        self._history = history
        self._epoch = epoch
        self._command = (sys.executable, "-m", "torture.saying", bootstrap, topic, compression)
        self._to_say: deque[tuple[str, int, int]] = deque()
        self._unheard: set[tuple[str, int]] = set()
        """What the process was told to say, and has not answered."""
        self._something = asyncio.Event()
        self._quiet = asyncio.Event()
        self._quiet.set()
        self.max_event_bytes = 2**20
        self.said = 0
        self.failed = 0

    def say(self, session: str, size: int = 0) -> None:
        """Say the session's next number, in ``size`` more bytes."""
        self._to_say.append((session, self._history.sending(session), size))
        self._something.set()
        self._quiet.clear()
        self.said += 1

    @property
    def under_way(self) -> int:
        """Of how much it is not known yet what became of it."""
        return len(self._to_say) + len(self._unheard)

    async def run(self) -> None:
        """Let a process do it, and another when that ends, until cancelled."""
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
        while True:
            process = await asyncio.create_subprocess_exec(*self._command, stdin=PIPE, stdout=PIPE, env=environment)
            telling = asyncio.create_task(self._tell(process))
            try:
                await self._hear(process)
            finally:
                telling.cancel()
                if process.returncode is None:
                    process.kill()
                await process.wait()
            self._doubt_what_is_unheard()

    async def settled(self) -> None:
        """Wait until it is known of everything what became of it."""
        await self._quiet.wait()

    async def close(self) -> None:
        """Speak no more: the process has ended with `run`."""

    async def _tell(self, process: Process) -> None:
        assert process.stdin is not None
        while True:
            await self._something.wait()
            self._something.clear()
            while self._to_say:
                session, number, size = self._to_say.popleft()
                self._unheard.add((session, number))
                process.stdin.write(f"{json.dumps([session, number, size])}\n".encode())

    async def _hear(self, process: Process) -> None:
        """Write down what the process answers, until it ends."""
        assert process.stdout is not None
        async for line in process.stdout:
            session, number, size, place = json.loads(line)
            self._unheard.discard((session, number))
            if place is None:
                self._doubt(session, number)
            else:
                partition, offset, at_ms = place
                kind = Kind.EVENT if size <= self.max_event_bytes else Kind.SKIPPED
                self._history.acknowledged((self._epoch, partition), offset, session, number, kind, at_ms)
            self._look_if_quiet()

    def _doubt_what_is_unheard(self) -> None:
        unheard, self._unheard = self._unheard, set()
        for session, number in unheard:
            self._doubt(session, number)
        self._something.set()  # what is still to be said is for the next process
        self._look_if_quiet()

    def _doubt(self, session: str, number: int) -> None:
        self.failed += 1
        self._history.doubtful(session, number)

    def _look_if_quiet(self) -> None:
        if not self.under_way:
            self._quiet.set()
