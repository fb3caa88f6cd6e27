"""Where a client asks to begin: an id, a time, a word, and which of them counts where it names several."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING

import pytest

from kafka_cluster import KafkaCluster, produce
from real.clients import Client
from real.past import push_out, reasons, replayed, resumed, service_of, until_live
from real.producing import ask, fresh
from real.transports import Ask, sse, websocket

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from real.service import ServiceProcess
    from real.transports import Transport

pytestmark = pytest.mark.kafka

LOST = ("one", "two", "three")
"""Words that memory has lost, a minute apart; ``four``, in the same partition, it holds."""
MINUTE_MS = 60_000
FILE_BYTES = 400_000
"""Of a word: two fit into one of Kafka's files."""
EAST = timezone(timedelta(hours=5, minutes=30))


@dataclass(frozen=True)
class Told:
    """What was said to ``session``; ``words`` is how tests write ids and times of the words."""

    service: ServiceProcess
    topic: str
    session: str
    words: Mapping[str, str]


@pytest.fixture(scope="module")
def told(kafka: KafkaCluster) -> Iterator[Told]:
    """A history, and a service that remembers its end."""
    topic, session = fresh("wishes"), fresh("chat/ada")
    kafka.create_topic(topic, 2)
    first_ms = int(time.time() * 1000) - 10 * MINUTE_MS
    times = {word: first_ms + number * MINUTE_MS for number, word in enumerate(LOST)}
    for word, ms in times.items():
        produce(kafka.producer(), topic, 0, [word.encode()], key=session, timestamp=ms)
    with service_of(kafka, topic) as service:
        ids = asyncio.run(remembered(kafka, service, topic, session))
        yield Told(service, topic, session, {**ids, **dict(names_of(times))})


async def remembered(kafka: KafkaCluster, service: ServiceProcess, topic: str, session: str) -> dict[str, str]:
    """Have the service forget all but ``four``; give the ids of all words, by their names in `WISHES`."""
    await push_out(kafka.producer(), service, topic, 1)
    produce(kafka.producer(), topic, 0, [b"four"], key=session)
    async with Client([service], [sse], ask(service, session, **{"from": "earliest"})) as client:
        await client.until_events(len(LOST) + 1)
    return {f"id_{event.data}": event.id for event in client.events}


def names_of(times: Mapping[str, int]) -> Iterator[tuple[str, str]]:
    """Write the times of the words as a client may, by their names in `WISHES`."""
    for word, ms in times.items():
        at = datetime.fromtimestamp(ms / 1000, UTC)
        yield f"ms_{word}", str(ms)
        yield f"behind_{word}", str(ms + 1)
        yield f"utc_{word}", at.isoformat().replace("+00:00", "Z")
        yield f"east_{word}", at.astimezone(EAST).isoformat()


WISHES: Mapping[str, tuple[str, dict[str, str], str]] = {
    "earliest": ("", {"from": "earliest"}, "one two three four"),
    "tail": ("", {"from": "tail"}, "four"),
    "since": ("", {"since": "{ms_two}"}, "two three four"),
    "since, a millisecond later": ("", {"since": "{behind_two}"}, "three four"),
    "since, RFC 3339": ("", {"since": "{utc_two}"}, "two three four"),
    "since, elsewhere": ("", {"since": "{east_three}"}, "three four"),
    "since ever": ("", {"since": "0"}, "one two three four"),
    "since the future": ("", {"since": "2999-01-01T00:00:00Z"}, ""),
    "since before from": ("", {"since": "{ms_three}", "from": "earliest"}, "three four"),
    "id before since": ("", {"last_event_id": "{id_three}", "since": "0", "from": "earliest"}, "four"),
    "alias before since": ("", {"lastEventId": "{id_two}", "since": "0"}, "three four"),
    "header before id": ("{id_one}", {"last_event_id": "{id_three}", "since": "0"}, "two three four"),
    "header before from": ("{id_four}", {"from": "earliest"}, ""),
}
"""By what is asked: the header, the query, and the words that come."""


@pytest.mark.parametrize("transport", [sse, websocket], ids=["sse", "websocket"])
@pytest.mark.parametrize("header,query,expected", WISHES.values(), ids=WISHES.keys())
async def test_wishes(told: Told, transport: Transport, header: str, query: dict[str, str], expected: str) -> None:
    """What counts most is the header, then the id in the address, then the time, then the word; all that is later
    comes, each word once, and `ready` tells whether it was by an id."""
    query = {name: value.format(**told.words) for name, value in query.items()}
    headers = {"last-event-id": header.format(**told.words)} if header else {}
    asked = Ask(told.session, told.service.token(told.session), query=query, headers=headers)
    async with Client([told.service], [transport], asked) as client:
        await until_live(client)
    by_id = bool(header) or "id" in " ".join(query).lower()
    assert expected.split() == [event.data for event in client.events]
    assert ([by_id], [len(expected.split())], []) == (resumed(client), replayed(client), reasons(client))


@pytest.mark.parametrize("transport", [sse, websocket], ids=["sse", "websocket"])
@pytest.mark.parametrize("query", [{}, {"from": "now"}], ids=["nothing", "now"])
async def test_now(kafka: KafkaCluster, told: Told, transport: Transport, query: dict[str, str]) -> None:
    """Who asks for nothing, or for now, has what is said from then on, and was live from the start."""
    session, topic = fresh("chat/bob"), told.topic
    produce(kafka.producer(), topic, 0, [b"before"], key=session)
    async with Client([told.service], [sse], ask(told.service, session, **{"from": "tail"})) as witness:
        await witness.until_events(1)
    async with Client([told.service], [transport], ask(told.service, session, **query)) as client:
        await asyncio.to_thread(produce, kafka.producer(), topic, 0, [b"after"], key=session)
        await client.until_events(1)
    assert (["after"], [False], []) == ([event.data for event in client.events], resumed(client), replayed(client))


@pytest.mark.parametrize("transport", [sse, websocket], ids=["sse", "websocket"])
async def test_since_a_time_that_kafka_hides(ours: KafkaCluster, transport: Transport) -> None:
    """Kafka looks for a time in one of its files only: where the record that it goes by has been deleted from that, it
    says that nothing is so young. Whoever asks is given all that is, with what is older before it."""
    topic, session = fresh("hidden"), fresh("chat/ada")
    ours.create_topic(topic, 1, segment_bytes="1048576")
    producer = ours.producer()
    for ms, word in ((3000, b"deleted"), (1000, b"older"), (2500, b"younger")):
        padded = word.ljust(FILE_BYTES)
        produce(producer, topic, 0, [padded], key=session, timestamp=ms)
    assert len(list(ours.files(topic, 0).glob("*.log"))) == 2
    with service_of(ours, topic) as service:
        ours.delete_records(topic, 0, before=1)
        async with Client([service], [transport], ask(service, session, since="2000")) as client:
            await until_live(client)
        async with Client([service], [transport], ask(service, session, since="3001")) as later:
            await until_live(later)
    assert ["older", "younger"] == [event.data.strip() for event in client.events]
    assert ([], []) == (later.events, reasons(client))
