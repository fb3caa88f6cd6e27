"""Every attack: what it is, what the service is told beside its defaults, and its bounds where they differ.

Sizes are those at which the attacks were first seen to hurt; ``--times`` multiplies the connections, for records the
batches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from attack import holders, places, producers, strangers, untaken
from attack.measuring import Bounds
from attack.wires import Scene
from kafka_cluster import KafkaCluster

DEFAULT = Bounds()
FEW_PLACES = {"max_connections": 200}
"""With the 1000 that come on top of it there are 1200 places: few enough to be filled from one machine."""
SHORT_MEMORY = {"warmup_seconds": 0, "tail_max_bytes": 2**20}
"""What was said before the start is not in memory: who wants it has it read again."""
BOMBED = Bounds(grown_mib=256.0, victim_p99_ms=300.0, victim_resets=None)
"""A batch may unpack to 64 MiB, and lies there twice meanwhile, as bytes and as records. Readers of its partition, of
whom the victim is one, wait until that is seen, and are told of what is passed over; nobody else's time is taken."""


@dataclass(frozen=True, slots=True)
class Attack:
    """One row. ``newcomer`` is the way in which honest clients come meanwhile; ``past`` is done before the service is
    started, and returns the Unix milliseconds from which those resume who do."""

    title: str
    run: Callable[[Scene], Awaitable[None]]
    bounds: Bounds = DEFAULT
    service: Mapping[str, Any] = field(default_factory=dict)
    tls: bool = False
    newcomer: str = "now"
    past: Callable[[KafkaCluster, str], int] | None = None


def records(title: str, made: producers.Made, bounds: Bounds = DEFAULT) -> Attack:
    """Return an attack that sends batches of records. The tail is small, so that what is kept elsewhere shows."""
    return Attack(title, partial(producers.send, made=made), bounds, {"tail_max_bytes": 2**20})


async def nothing(scene: Scene) -> None:
    """Let the time pass: what the machine does by itself."""
    scene.start()
    await scene.pause(scene.seconds)


ATTACKS: Mapping[str, Attack] = {
    "nothing": Attack("nobody attacks", nothing),
    # Outsiders.
    "strangers-600": Attack(
        "30 HTTP/2 connections without a token, 20 requests a second each, with a long Last-Event-ID",
        partial(strangers.steady, connections=30, rate=20, last_id=strangers.LONGEST_ID),
    ),
    "strangers-1200": Attack(
        "the same, 40 a second each",
        partial(strangers.steady, connections=30, rate=40, last_id=strangers.LONGEST_ID),
    ),
    "strangers-3900": Attack(
        "200 HTTP/2 connections without a token, 3900 requests a second in all",
        partial(strangers.steady, connections=200, rate=19.5),
    ),
    "burst": Attack(
        "40 HTTP/2 connections, 890 requests at once on each, of what is not there",
        partial(strangers.burst, connections=40, requests=890, path="/nope"),
    ),
    "keep-alive": Attack(
        "30 HTTP/1.1 connections without a token, each asks again when it was answered, 40 times a second at most",
        partial(strangers.http1, connections=30, rate=40, at_once=1),
    ),
    "pipelined": Attack(
        "30 HTTP/1.1 connections without a token, 20 requests at once, again and again",
        partial(strangers.http1, connections=30, rate=200, at_once=20),
    ),
    "id-by-reference": Attack(
        "4 HTTP/2 connections, 500 requests a second each, 14 bytes that stand for 3.9 kB of Last-Event-ID",
        partial(strangers.steady, connections=4, rate=500, last_id=strangers.LONGEST_ID),
    ),
    "untaken-contract": Attack(
        "40 HTTP/2 connections ask for /openapi.yaml 890 times each, and take nothing of it",
        partial(untaken.http2, connections=40, requests=890, path="/openapi.yaml"),
    ),
    "untaken-404": Attack(
        "the same of what is not there",
        partial(untaken.http2, connections=40, requests=890, path="/nope"),
    ),
    "untaken-http1": Attack(
        "40 HTTP/1.1 connections ask for /openapi.yaml 890 times each, and read nothing",
        partial(untaken.http1, connections=40, requests=890, path="/openapi.yaml"),
    ),
    "silent": Attack(
        "1250 connections that say nothing where TLS is expected, and 200 more a second",
        partial(places.sit, kind=places.Silent, count=1250, more_per_second=200),
        Bounds(kept_mib=96),  # 1200 places, of 60 kB each until OpenSSL has shaken hands
        service=FEW_PLACES,
        tls=True,
    ),
    "places-404": Attack(
        "1200 HTTP/2 connections that do not take a 404, each opened again when it was cut",
        partial(places.keep, kind=places.Untaken, count=1200, comebacks_per_second=200),
        service=FEW_PLACES,
    ),
    "owing": Attack(
        "400 WebSockets that owe their token, each opened again when it was cut, while honest ones send theirs",
        partial(places.keep, kind=places.Owing, count=400, comebacks_per_second=100),
        newcomer="first message",
    ),
    "handshakes": Attack(
        "TLS handshakes without end, 16 at once, 1000 a second at most",
        partial(places.handshakes, at_once=16, per_second=1000),
        tls=True,
    ),
    # Producers.
    "bomb-gzip": records("261 kB of gzip that unpack to 256 MiB", producers.gzip_bomb, BOMBED),
    "bomb-zstd": records("32 kB of zstd that unpack to 1000 MiB", producers.zstd_bomb, BOMBED),
    "bomb-headers": records("4 kB that hold 20 records with a million headers each", producers.header_bomb, BOMBED),
    "bombs-again": Attack(
        "all three in the log, and four streams of one token that begin at the earliest, again and again",
        partial(holders.earliest, streams=4),
        BOMBED,
        service=SHORT_MEMORY,
        past=producers.past_of_bombs,
    ),
    "header-keys": records("header keys that are not UTF-8", producers.strange_header_keys),
    "large-types": records("200 events whose types have 4 MiB, all different", producers.large_types, BOMBED),
    "many-keys": records("66 000 sessions whose names have a kilobyte each", producers.many_keys),
    "times": records(
        "time stamps of 1970, of none and of next year",
        producers.strange_times,
        Bounds(counted={"tailrace_delivery_latency_seconds_sum{sse}": 3600.0}),
    ),
    # Holders of a good token.
    "invented-ids": Attack(
        "32 streams whose ids name 4000 partitions too many, while 200 records a second go on",
        partial(holders.invented_ids, streams=32, per_second=200),
        Bounds(cpu_percent=30.0),
    ),
    "since": Attack(
        "3 HTTP/2 connections of one subject, each with 400 questions for a time, again and again, while another asks",
        partial(holders.since, connections=3, requests=400),
        newcomer="since",
    ),
    "earliest": Attack(
        "32 streams of one subject that begin at the earliest, again and again, while another resumes",
        partial(holders.earliest, streams=32),
        Bounds(newcomers_slowdown=2.0),
        service=SHORT_MEMORY,
        newcomer="resume",
        past=producers.past_of_events,
    ),
    "beside-a-stream": Attack(
        "32 HTTP/2 connections of one subject, each with a stream, and beside it refused requests at full speed",
        partial(holders.refused_beside_a_stream, connections=32),
    ),
}
