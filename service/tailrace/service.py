"""The composition root: what lives as long as the service, made in order and handed down.

What lies below gets plain arguments in place of `Settings`. Opens no socket for
clients: `app` and `server` do, over what is made here.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tailrace import auth
from tailrace.admission import Admission
from tailrace.auth import Verifier
from tailrace.config import Settings
from tailrace.consumer import IDLE_WAIT_MS, Consumer
from tailrace.event import Decoder
from tailrace.kafka import GroupCommits, Kafka, KafkaConnection, Limits, Unpacking
from tailrace.metrics import Metrics, Reading, believed_age, measure_loop_lag
from tailrace.replay import Bounds, Replay, Scanner
from tailrace.subscription import Subscriptions, Terms
from tailrace.tail import Tail
from tailrace.timers import Wheel
from tailrace.tracing import Tracing, parse_traceparent, tracing_from_environment


@dataclass(frozen=True, slots=True)
class Service:
    """What lives as long as the service."""

    settings: Settings
    tail: Tail
    consumer: Consumer
    replay: Replay
    subscriptions: Subscriptions
    admission: Admission
    metrics: Metrics

    async def drain(self) -> None:
        """End every stream politely, and whoever would become one."""
        self.admission.drain()
        await self.subscriptions.drain(self.settings.drain_seconds)


@asynccontextmanager
async def running(settings: Settings, *, idle_wait_ms: int = IDLE_WAIT_MS) -> AsyncIterator[Service]:
    """Run all that needs no socket of ours; a task that dies ends the block.

    ``idle_wait_ms`` is how long a fetch may wait at a quiet broker; the embedded one always waits to the end.
    Raises `ConfigurationError` for keys and files that cannot be used.
    """
    tracing = tracing_from_environment(os.environ)
    try:
        wheel = Wheel()
        service = made(settings, wheel, tracing, idle_wait_ms)
        jobs = [service.consumer.run(), service.replay.run(), wheel.run(), measure_loop_lag(service.metrics)]
        if settings.kafka_group_id is not None:
            positions = service.consumer.positions
            jobs.append(GroupCommits(connection_of(settings), settings.kafka_group_id, positions).run())
        async with asyncio.TaskGroup() as tasks:
            started = [tasks.create_task(job) for job in jobs]
            try:
                yield service
            finally:
                for task in started:
                    task.cancel()
    finally:
        await asyncio.to_thread(tracing.shutdown)


def made(settings: Settings, wheel: Wheel, tracing: Tracing, idle_wait_ms: int) -> Service:
    """Make everything, in order; nothing runs yet."""
    verifier = verifier_of(settings)
    tail = Tail(sorted(settings.kafka_topics), settings.tail_max_bytes)
    metrics = Metrics(gauges(lambda: service))
    decoder = _decoder(settings, tracing)
    unpacking = Unpacking(Limits(settings.batch_bytes, settings.max_event_bytes))
    consumer = Consumer(
        _kafka(settings, tail, unpacking),
        tail,
        decoder,
        warmup_seconds=settings.warmup_seconds,
        idle_wait_ms=idle_wait_ms,
        on_sampled=tracing.consumed,
        metrics=metrics,
    )
    scanner = Scanner(_kafka(settings, tail, unpacking), tail, refreshed=consumer.refreshed, metrics=metrics)
    replay = Replay(scanner, tail, decoder, _bounds(settings))
    subscriptions = Subscriptions(
        tail,
        wheel,
        _terms(settings),
        lambda: consumer.waiting,
        replays=replay,
        continuity=lambda: consumer.continuity,
        metrics=metrics,
        tracing=tracing,
    )
    admission = Admission(
        subscriptions,
        verifier,
        allowed_origins=settings.allowed_origins,
        cookie_name=auth.cookie_name(secure=settings.cookie_secure),
        refreshed=consumer.refreshed,
        asking=consumer.asking,
    )
    service = Service(settings, tail, consumer, replay, subscriptions, admission, metrics)
    return service


def _kafka(settings: Settings, tail: Tail, unpacking: Unpacking) -> Kafka:
    """Make a client; live reading and replay have one each, so that neither waits for the other's answers."""
    isolation_level = settings.kafka_isolation_level
    return Kafka(connection_of(settings), tail.topics, isolation_level=isolation_level, unpacking=unpacking)


def gauges(of: Callable[[], Service]) -> Mapping[str, Callable[[], Reading]]:
    """Say where the metrics that nobody counts are read, by name; ``of`` gives the service they are read from."""
    return {
        "tailrace_ready": lambda: not (of().consumer.waiting or of().subscriptions.draining),
        "tailrace_draining": lambda: of().subscriptions.draining,
        "tailrace_connections": lambda: of().subscriptions.by_transport,
        "tailrace_readers_catching_up": lambda: of().subscriptions.catching_up,
        "tailrace_tail_bytes": lambda: of().tail.bytes,
        "tailrace_tail_max_bytes": lambda: of().tail.max_bytes,
        "tailrace_tail_events": lambda: of().tail.events,
        "tailrace_tail_sessions": lambda: of().tail.sessions,
        "tailrace_tail_oldest_event_age_seconds": lambda: _oldest_age(of().tail),
        "tailrace_tail_appended_events_total": lambda: of().tail.arrived,
        "tailrace_replay_readers": lambda: of().replay.waiting,
        "tailrace_replay_passes": lambda: of().replay.at_work,
        "tailrace_replay_resting_passes": lambda: of().replay.resting,
        "tailrace_kafka_healthy": lambda: not of().consumer.degraded,
        "tailrace_kafka_lag_records": lambda: of().consumer.intake.lag.records(),  # noqa: PLW0108  not before it is made
        "tailrace_kafka_lag_seconds": lambda: of().consumer.intake.lag.seconds(),  # noqa: PLW0108
    }


def _oldest_age(tail: Tail) -> float:
    """Return the age of the oldest event by its own timestamp; since it came, where that one is not to be believed."""
    if (oldest := tail.oldest) is None:
        return 0.0
    now = time.time()
    return believed_age(now, oldest.timestamp_ms, now - oldest.arrival.at_ns / 1e9)


def _decoder(settings: Settings, tracing: Tracing) -> Decoder:
    return Decoder(
        session_header=settings.session_header,
        encoding=settings.value,
        max_event_bytes=settings.max_event_bytes,
        trace_of=parse_traceparent if tracing.enabled else None,
    )


def verifier_of(settings: Settings) -> Verifier:
    """Make the verifier of the configured key."""
    secret, file = settings.jwt_secret, settings.jwt_public_key_file
    algorithms, audience, issuer = settings.jwt_algorithms, settings.jwt_audience, settings.jwt_issuer
    if secret is not None:
        key = secret.get_secret_value()
        return Verifier.from_secret(key, algorithms=algorithms, audience=audience, issuer=issuer)
    assert file is not None  # noqa: S101  `config` asks for exactly one
    return Verifier.from_public_key_file(file, algorithms=algorithms, audience=audience, issuer=issuer)


def connection_of(settings: Settings) -> KafkaConnection:
    """Say how to reach Kafka."""
    password = settings.kafka_sasl_password
    return KafkaConnection(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=None if password is None else password.get_secret_value(),
        ssl_ca_file=_text(settings.kafka_ssl_ca_file),
        ssl_cert_file=_text(settings.kafka_ssl_cert_file),
        ssl_key_file=_text(settings.kafka_ssl_key_file),
    )


def _text(file: Path | None) -> str | None:
    return None if file is None else str(file)


def _bounds(settings: Settings) -> Bounds:
    return Bounds(
        passes=settings.replay_max_passes,
        readers=settings.replay_max_readers,
        bytes=settings.replay_max_bytes,
        records=settings.replay_max_records,
        records_per_subject=settings.replay_max_records_per_subject,
    )


def _terms(settings: Settings) -> Terms:
    return Terms(
        heartbeat_seconds=settings.heartbeat_seconds,
        send_timeout_seconds=settings.send_timeout_seconds,
        max_connections=settings.max_connections,
        max_connections_per_subject=settings.max_connections_per_subject,
        encoding=settings.value,
    )
