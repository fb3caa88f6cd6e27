"""A whole service that no Kafka stands behind: its consumer never runs, its tail is filled by hand."""

from __future__ import annotations

import time

from tailrace import auth
from tailrace.admission import Admission
from tailrace.config import load
from tailrace.consumer import Consumer
from tailrace.event import Decoder
from tailrace.kafka import Kafka
from tailrace.metrics import Metrics
from tailrace.replay import Bounds, Replay, Scanner
from tailrace.service import Service, connection_of, verifier_of
from tailrace.subscription import Subscriptions, Terms
from tailrace.tail import Tail
from tailrace.timers import Wheel

SECRET = "a secret of at least thirty-two bytes"


async def _no_news() -> bool:
    return True


def idle_service(*, draining: bool = False, **variables: str) -> Service:
    """Make a service of one topic ``t`` with one partition, warm; ``variables`` are settings without their prefix."""
    given = {"KAFKA_TOPICS": "t", "JWT_SECRET": SECRET, **variables}
    settings = load({f"TAILRACE_{name}": value for name, value in given.items()})
    tail = Tail(["t"], settings.tail_max_bytes)
    tail.learn(0, "9f3a2c1d", 1)
    kafka = Kafka(connection_of(settings), tail.topics, isolation_level=settings.kafka_isolation_level)
    decoder = Decoder(session_header=None, encoding="text", max_event_bytes=settings.max_event_bytes)
    consumer = Consumer(kafka, tail, decoder, warmup_seconds=0)
    scanner = Scanner(kafka, tail, refreshed=consumer.refreshed, metrics=Metrics())
    replay = Replay(scanner, tail, decoder, Bounds())
    subscriptions = Subscriptions(tail, Wheel(), Terms(), list, replays=replay)
    subscriptions.draining = draining
    return Service(
        settings,
        tail,
        consumer,
        replay,
        subscriptions,
        Admission(
            subscriptions,
            verifier_of(settings),
            allowed_origins=(),
            refreshed=_no_news,
            asking=consumer.asking,
        ),
        subscriptions.metrics,
    )


def token(session: str = "*") -> str:
    """Sign a token that the idle service takes."""
    return auth.issue(
        SECRET,
        sessions=[session],
        subject="tester",
        ttl_seconds=600,
        audience="tailrace",
        issuer=None,
        now=time.time(),
    )
