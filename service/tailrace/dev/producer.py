"""The demo producer: an assistant's answers, token by token, to a few sessions at once and for ever.

What it says is in ``answers.toml``. `beats` makes one session's records, pure and the same for the same seed;
`stream` sends all sessions' at their pace. `demo` runs it beside the embedded broker.
"""

from __future__ import annotations

import heapq
import json
import random
import re
import time
import tomllib
from importlib import resources
from itertools import count
from typing import TYPE_CHECKING, Any, NamedTuple

from tailrace.dev.broker import confluent

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

SESSIONS = ("chat/ada", "chat/grace", "chat/linus")
FLUSH_SECONDS = 2.0

_TOKENS_PER_SECOND = (20.0, 40.0)
_PROGRESS_PAUSE_SECONDS = (0.3, 0.9)
_FIRST_PAUSE_SECONDS = 0.1
_ANSWER_PAUSE_SECONDS = (1.5, 4.0)


class Beat(NamedTuple):
    """One record of a session: after ``pause_seconds``, of the type ``event`` (None: a token), with these fields."""

    pause_seconds: float
    event: str | None
    fields: dict[str, Any]


def beats(chance: random.Random) -> Iterator[Beat]:
    """Stream answers for ever: `answer` (the question), `progress`, `tool`, then the tokens."""
    answers = tomllib.loads(resources.files("tailrace.dev").joinpath("answers.toml").read_text("utf-8"))["answers"]
    pause_seconds = _FIRST_PAUSE_SECONDS
    while True:
        for answer in chance.sample(answers, len(answers)):
            yield Beat(pause_seconds, "answer", {"question": answer["question"]})
            pause_seconds = chance.uniform(*_ANSWER_PAUSE_SECONDS)
            steps = answer["progress"]
            for number, step in enumerate(steps, 1):
                progress = {"step": step, "percent": 100 * number // len(steps)}
                yield Beat(chance.uniform(*_PROGRESS_PAUSE_SECONDS), "progress", progress)
            yield Beat(chance.uniform(*_PROGRESS_PAUSE_SECONDS), "tool", answer["tool"])
            rate = chance.uniform(*_TOKENS_PER_SECOND)
            for token in re.findall(r"\s*\S+", answer["text"].strip()):
                yield Beat(chance.expovariate(rate) / 2 + 0.5 / rate, None, {"text": token})


def stream(bootstrap: str, topic: str, stop: threading.Event) -> None:
    """Produce all sessions' beats at their pace until ``stop`` is set; blocks.

    Each record's value is JSON: the beat's fields, its number ``n`` in the session, by which a page can prove that
    nothing was lost or repeated, and ``t``, the Unix time in milliseconds, by which it tells the record's age.
    """
    # Java's partitioner, so that a session's records are in one partition whatever else produces to the topic.
    producer = confluent().Producer(
        {"bootstrap.servers": bootstrap, "partitioner": "murmur2_random", "linger.ms": 1, "log_level": 2}
    )
    scripts = [beats(random.Random(session)) for session in SESSIONS]  # noqa: S311 - a demo, the same each time
    numbers = [count() for _ in SESSIONS]
    now = time.monotonic()
    due = [(now + beat.pause_seconds, number, beat) for number, beat in enumerate(map(next, scripts))]
    heapq.heapify(due)
    while not stop.wait(max(0.0, due[0][0] - time.monotonic())):
        moment, number, beat = due[0]
        headers = [("event", beat.event.encode())] if beat.event else []
        value = json.dumps({"n": next(numbers[number]), "t": time.time_ns() // 1_000_000, **beat.fields})
        producer.produce(topic, value.encode(), key=SESSIONS[number].encode(), headers=headers)
        producer.poll(0)
        following = next(scripts[number])
        heapq.heapreplace(due, (moment + following.pause_seconds, number, following))
    producer.flush(FLUSH_SECONDS)
