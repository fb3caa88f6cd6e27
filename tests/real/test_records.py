"""Every kind of record, from a real Kafka to both transports: live, and once more from memory."""

from __future__ import annotations

import asyncio
import base64
import re
from typing import TYPE_CHECKING

import pytest

from kafka_cluster import KafkaCluster
from real.clients import Client
from real.producing import ask, fresh
from real.service import ServiceProcess
from real.transports import http, sse, sse_h2, websocket, websocket_h2

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from real.transports import Item

pytestmark = pytest.mark.kafka

MIB = 1024**2
OVER = "over"
"""What is said last, so that all that came before it has arrived."""

Headers = list[tuple[str, str | bytes | None]]


@pytest.fixture(scope="module")
def topic(kafka: KafkaCluster) -> str:
    """A topic that takes large records, in one partition."""
    name = fresh("records")
    kafka.create_topic(name, 1, max_message_bytes=str(8 * MIB))
    return name


@pytest.fixture(scope="module")
def service(kafka: KafkaCluster, topic: str) -> Iterator[ServiceProcess]:
    """Text, sessions by key, events of up to 1 MiB: the defaults."""
    with ServiceProcess(kafka.bootstrap, topic) as process:
        yield process


@pytest.fixture(scope="module")
def of_bytes(kafka: KafkaCluster, topic: str) -> Iterator[ServiceProcess]:
    """Any bytes, sessions by a header, larger events."""
    bound = 4 * MIB
    with ServiceProcess(
        kafka.bootstrap, topic, value="base64", session_from="header:to", max_event_bytes=bound
    ) as process:
        yield process


class Telling:
    """Tells records to a session, and gives what clients of it were told, whichever way they came by it."""

    def __init__(self, kafka: KafkaCluster, topic: str, service: ServiceProcess, session: str) -> None:
        self._producer = kafka.producer(message_max_bytes=8 * MIB, linger_ms=5)
        self._topic, self._service, self._session = topic, service, session

    def say(self, value: str | bytes | None, headers: Headers | None = None, *, key: bytes | None = None) -> None:
        """Produce one record, to the session where no key is given."""
        self._producer.produce(
            self._topic, value, self._session.encode() if key is None else key, headers=headers or []
        )

    async def told(self, *records: tuple[str | bytes | None, Headers]) -> list[list[tuple[str, str]]]:
        """Say ``records`` while a client of each transport listens, and let another come later.

        Gives what each was told: name and data of events, name and reason of what was skipped. Server-Sent Events
        first, then WebSocket.
        """
        found: list[list[tuple[str, str]]] = []
        last_id = ""
        for transport, late in ((sse, sse_h2), (websocket, websocket_h2)):
            async with Client([self._service], [transport], ask(self._service, self._session, last_id)) as client:
                last_id = last_id or client.last_id
                if not found:
                    await self._say_all(records)
                await until_over(client)
            async with Client([self._service], [late], ask(self._service, self._session, last_id)) as again:
                await until_over(again)
            assert said(client.items) == said(again.items)
            found.append(said(client.items))
        return found

    async def _say_all(self, records: Sequence[tuple[str | bytes | None, Headers]]) -> None:
        to: Headers = [("to", self._session.encode())]
        for value, headers in (*records, (OVER, [])):
            self.say(value, [*to, *headers])
        assert await asyncio.to_thread(self._producer.flush, 30) == 0


async def until_over(client: Client) -> None:
    """Wait until the client has heard the last word, as it is or in base64."""
    last_words = {OVER, base64.b64encode(OVER.encode()).decode()}
    await client.until(lambda: any(item.data in last_words for item in client.items))


def said(items: Sequence[Item]) -> list[tuple[str, str]]:
    """What the items say of records, but for the last one."""
    of_records = [item for item in items if item.name == "tailrace.skipped" or not item.name.startswith("tailrace.")]
    return [
        (item.name, item.fields["reason"] if item.name == "tailrace.skipped" else item.data) for item in of_records
    ][:-1]


@pytest.fixture
def telling(kafka: KafkaCluster, topic: str, service: ServiceProcess, session: str) -> Telling:
    return Telling(kafka, topic, service, session)


TYPES: list[tuple[Headers, str]] = [
    ([], "message"),
    ([("other", b"x")], "message"),
    ([("event", b"progress")], "progress"),
    ([("ce_type", b"org.example.done")], "org.example.done"),
    ([("event", b"above"), ("ce_type", b"below")], "above"),
    ([("event", b"first"), ("event", b"last")], "last"),
    ([("event", b""), ("ce_type", b"full")], "full"),
    ([("event", None), ("ce_type", b"full")], "full"),
    ([("event", "Spüre 🜄".encode())], "Spüre 🜄"),
    ([("event", b"error")], "record:error"),
    ([("event", b"open")], "record:open"),
    ([("event", b"tailrace.reset")], "record:tailrace.reset"),
    ([("ce_type", b"tailrace.end")], "record:tailrace.end"),
]
ILLEGAL_TYPES = [b"two\nlines", b"two\rlines", b"two\r\nlines", b"\x00", b"\xff", "\u2028".encode(), b"x" * 257]


async def test_types(telling: Telling) -> None:
    """The type is `event`, else `ce_type`; the last of duplicates wins; reserved ones are set apart."""
    records: list[tuple[str | bytes | None, Headers]] = [(str(n), headers) for n, (headers, _) in enumerate(TYPES)]
    expected = [(name, str(number)) for number, (_, name) in enumerate(TYPES)]
    assert [expected] * 2 == await telling.told(*records)


async def test_types_that_cannot_be_said(telling: Telling) -> None:
    """A type with a line break, or no text, or endless, is told of as skipped, and what follows it arrives."""
    records: list[tuple[str | bytes | None, Headers]] = [("x", [("event", raw)]) for raw in ILLEGAL_TYPES]
    expected = [("tailrace.skipped", "illegal_type")] * len(ILLEGAL_TYPES) + [("message", "after")]
    assert [expected] * 2 == await telling.told(*records, ("after", []))


TEXTS = [
    "a\nb\r\nc\rd",
    "\n",
    "\r",
    "\n\n\n",
    "ends with a break\r\n",
    " begins with a space",
    "\tor with a tab",
    "id: 7\nevent: tailrace.end\ndata: forged\n\nretry: 1",
    ": no comment",
    '{"json": "\\u0041 \\" \\\\"}',
    "\u2028 \u2029 \x85 \x0b \x0c",
    "\x00\x1f\x7f",
    "\ufeffa mark",
    "Spüre die »Flut« 🜄",
    "x" * (MIB - 1) + "\n",
]


async def test_texts(telling: Telling) -> None:
    """Text arrives as it is, up to 1 MiB of it; Server-Sent Events make any line break a line feed."""
    by_sse, by_websocket = await telling.told(*[(text, []) for text in TEXTS])
    assert by_websocket == [("message", text) for text in TEXTS]
    assert by_sse == [("message", re.sub("\r\n|\r", "\n", text)) for text in TEXTS]


async def test_what_is_no_text_or_too_large(telling: Telling) -> None:
    """It is told of in its place with its reason, however large it is."""
    values = [b"\xff", "Spüre".encode("latin-1"), b"\xed\xa0\x80", b"x" * (MIB + 1), b"x" * 5 * MIB, b"after"]
    expected = [("tailrace.skipped", "not_text")] * 3 + [("tailrace.skipped", "too_large")] * 2 + [("message", "after")]
    assert [expected] * 2 == await telling.told(*[(value, []) for value in values])


async def test_empty_values(service: ServiceProcess, telling: Telling, session: str) -> None:
    """An empty value is an event with empty data; over Server-Sent Events its `data:` line is there, and empty."""
    by_websocket = (await telling.told(("", []), ("", [("event", b"mark")])))[1]
    assert [("message", ""), ("mark", "")] == by_websocket
    headers = {"authorization": f"Bearer {service.token(session)}"}
    text = ""
    async with (
        http(service) as client,
        client.stream("GET", f"/v1/sessions/{session}/events?from=tail", headers=headers) as response,
    ):
        async for part in response.aiter_text():
            text += part
            if OVER in text:
                break
    assert re.search(r"id: \S+\ndata: \n\nid: \S+\nevent: mark\ndata: \n\nid: \S+\ndata: over\n\n", text)


async def test_records_without_a_session(service: ServiceProcess, telling: Telling, topic: str) -> None:
    """A key that names no session reaches nobody, is said in the log once, by its place, and stops nothing."""
    keys = [b"\xff\xfe", b"", b"two\nlines", b"a//b", b"x" * 257, b"chat/*"]
    for key in keys * 3:
        telling.say("to nobody", key=key)
    assert [[("message", "after")]] * 2 == await telling.told(("after", []))
    for reason in ("session_not_utf8", "session_illegal", "session_ends_in_star"):
        found = re.findall(rf"without a session \({reason}\): topic {topic}, partition 0, offset \d+", service.log)
        assert len(found) == 1


async def test_records_without_a_key(
    kafka: KafkaCluster, service: ServiceProcess, telling: Telling, topic: str
) -> None:
    """The same for a record without any key."""
    producer = kafka.producer()
    producer.produce(topic, "to nobody")
    assert producer.flush(30) == 0
    assert [[("message", "after")]] * 2 == await telling.told(("after", []))
    assert f"without a session (no_session): topic {topic}, partition 0" in service.log


async def test_every_compression(kafka: KafkaCluster, topic: str, service: ServiceProcess, session: str) -> None:
    """However the producer compressed its batches, and though the topic mixes them, all arrive in order."""
    codecs = ("none", "gzip", "snappy", "lz4", "zstd")
    values = [f"{codec} {number}" for codec in codecs for number in range(30)]
    async with (
        Client([service], [sse], ask(service, session)) as by_sse,
        Client([service], [websocket], ask(service, session)) as by_websocket,
    ):
        for codec in codecs:
            producer = kafka.producer(compression_type=codec, linger_ms=20)
            for value in values:
                if value.startswith(codec):
                    producer.produce(topic, value, key=session)
            assert await asyncio.to_thread(producer.flush, 30) == 0
        await by_sse.until_events(len(values))
        await by_websocket.until_events(len(values))
    assert [values] * 2 == [[event.data for event in client.events] for client in (by_sse, by_websocket)]


async def test_any_bytes(kafka: KafkaCluster, topic: str, of_bytes: ServiceProcess, session: str) -> None:
    """With base64, whatever the values hold arrives, up to the larger bound that the operator has set."""
    values = [bytes(range(256)), b"", b"\xff", b"text", bytes(range(256)) * 4096 * 3, b"x" * (4 * MIB)]
    encoded = [("message", base64.b64encode(value).decode()) for value in values]
    found = await Telling(kafka, topic, of_bytes, session).told(*[(value, []) for value in values[1:] + values[:1]])
    by_sse = [each for each in encoded[1:] + encoded[:1] if each[1]]  # httpx-sse does not tell an empty event
    assert encoded[1:] + encoded[:1] == found[1]
    assert by_sse == [each for each in found[0] if each[1]]


async def test_a_tombstone_with_a_header(
    kafka: KafkaCluster, topic: str, of_bytes: ServiceProcess, session: str
) -> None:
    """Where a header names the session a null value ends nothing: other partitions may hold more of it."""
    found = await Telling(kafka, topic, of_bytes, session).told((None, []), ("after", []))
    assert [[("tailrace.skipped", "tombstone"), ("message", base64.b64encode(b"after").decode())]] * 2 == found


async def test_an_end_that_is_not_the_last_word(
    kafka: KafkaCluster, topic: str, service: ServiceProcess, session: str
) -> None:
    """A session that goes on in the same breath is not ended; the tombstone that nothing follows ends it."""
    producer = kafka.producer(transactional_id=session)
    producer.init_transactions(20)
    async with (
        Client([service], [sse], ask(service, session)) as by_sse,
        Client([service], [websocket], ask(service, session)) as by_websocket,
    ):
        for values in (["one", None, "two"], ["three", None]):
            producer.begin_transaction()
            for value in values:
                producer.produce(topic, value, key=session)
            await asyncio.to_thread(producer.commit_transaction, 20)
        for client in (by_sse, by_websocket):
            await until_end(client)
    for client in (by_sse, by_websocket):
        assert ["one", "two", "three"] == [event.data for event in client.events]
        assert "tailrace.end" == client.items[-1].name
        assert client.last_id.endswith(".end")


async def until_end(client: Client) -> None:
    """Wait until the client was told that the session has ended."""
    await client.until(lambda: bool(client.controls("end")))
