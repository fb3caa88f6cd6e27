"""The producer: events of 250 bytes, at a steady rate whatever comes of them, or as many as are taken.

Run by the bench beside the crowd. Each event carries the time at which it *should* have been produced, so that a
producer that was held up makes events late, not fewer (no coordinated omission). At rate 0 it is a closed loop: it has
some events on their way to the crowd, which counts on the board. Prints how many it has produced.
"""

from __future__ import annotations

import mmap
import sys
import time
from pathlib import Path

from confluent_kafka import Producer

EVENT_BYTES = 250
AHEAD_OF_ONE, AHEAD_OF_MANY = 20_000, 2_000
"""Records on their way in a closed loop: where a session has one reader, and where it has many."""
TURN_SECONDS = 0.0005
AT_ONCE = 500


class Sessions:
    """Produces to one session after the other, ``burst`` events at a time; numbers what each session gets, from 0."""

    def __init__(
        self,
        bootstrap: str,
        topic: str,
        sessions: int,
        burst: int,
        *,
        linger_ms: int,
        name: str = "s",
        codec: str = "none",
    ) -> None:
        limits = {"linger.ms": linger_ms, "queue.buffering.max.messages": 1_000_000}
        self._producer = Producer({"bootstrap.servers": bootstrap, "compression.type": codec, **limits})
        self._topic = topic
        self._keys = [f"{name}{number}".encode() for number in range(sessions)]
        self._burst = burst
        self.produced = 0

    def produce(self, due: float) -> None:
        """Produce one event, due at a Unix time."""
        turn, each = divmod(self.produced, self._burst)
        number = turn // len(self._keys) * self._burst + each
        key = self._keys[turn % len(self._keys)]
        value = f"~X~T{due:017.6f}~{number}~".encode().ljust(EVENT_BYTES, b"x")
        while True:
            try:
                self._producer.produce(self._topic, value, key=key)
            except BufferError:
                self._producer.poll(0.01)
            else:
                break
        self.produced += 1

    def turn(self) -> None:
        self._producer.poll(0)

    def flush(self) -> None:
        self._producer.flush()


def steadily(to: Sessions, rate: float, seconds: float) -> None:
    """Produce ``rate`` events a second."""
    start = time.time()
    while (elapsed := time.time() - start) < seconds:
        while to.produced < elapsed * rate:
            to.produce(start + to.produced / rate)
        to.turn()
        time.sleep(TURN_SECONDS)


def as_taken(to: Sessions, board: Path, clients: int, seconds: float) -> None:
    """Keep as many events on their way as `AHEAD_OF_ONE` and its like say."""
    ahead = AHEAD_OF_ONE if clients == 1 else AHEAD_OF_MANY
    with board.open("r+b") as file, mmap.mmap(file.fileno(), 64) as memory, memoryview(memory) as whole:
        numbers = whole.cast("Q")
        end = time.time() + seconds
        while (now := time.time()) < end:
            missing = ahead - (to.produced - numbers[1] // clients)
            for _ in range(min(missing, AT_ONCE)):
                to.produce(now)
            to.turn()
            if missing <= 0:
                time.sleep(TURN_SECONDS)
        numbers.release()


def main(
    bootstrap: str,
    topic: str,
    sessions: int,
    clients: int,
    rate: float,
    burst: int,
    seconds: float,
    board: Path,
    name: str,
) -> int:
    """Produce for ``seconds``; give how many."""
    to = Sessions(bootstrap, topic, sessions, burst, linger_ms=1 if rate else 5, name=name)
    if rate:
        steadily(to, rate, seconds)
    else:
        as_taken(to, board, clients, seconds)
    to.flush()
    return to.produced


if __name__ == "__main__":
    bootstrap, topic, sessions, clients, rate, burst, seconds, board, name = sys.argv[1:]
    shape = (int(sessions), int(clients), float(rate), int(burst), float(seconds))
    made = main(bootstrap, topic, *shape, Path(board), name)
    sys.stdout.write(f"{made}\n")
