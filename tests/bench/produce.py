"""The producer: events of 250 bytes at a steady rate, whatever comes of them. Run by `bench`, beside the crowd."""

from __future__ import annotations

import sys
import time

from confluent_kafka import Producer

PADDING = "x" * 210


def main(bootstrap: str, topic: str, sessions: int, rate: int, burst: int, seconds: float) -> int:
    """Produce ``rate`` events a second for ``seconds``, ``burst`` at a time to one session; give how many."""
    producer = Producer({"bootstrap.servers": bootstrap, "linger.ms": 0, "queue.buffering.max.messages": 1_000_000})
    start, number = time.time(), 0
    while (elapsed := time.time() - start) < seconds:
        while number < elapsed * rate:
            value = f"~X~T{time.time():.6f}~{PADDING}"
            producer.produce(topic, value.encode(), key=b"s%d" % (number // burst % sessions))
            number += 1
        producer.poll(0)
        time.sleep(0.0005)
    producer.flush()
    return number


if __name__ == "__main__":
    bootstrap, topic, sessions, rate, burst, seconds = sys.argv[1:]
    made = main(bootstrap, topic, int(sessions), int(rate), int(burst), float(seconds))
    sys.stdout.write(f"{made}\n")
