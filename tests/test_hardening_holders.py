"""Attacks by those who hold a good token, and by those who hold none before theirs is asked for, one test each.

What they come to is bounded in counts: of calls, of questions to Kafka, of wake-ups, of records read; never in time.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from asgi import Front, bearer, scope, token
from builders import BODY, EPOCH, Block, FakeRecord, ListWire, append, make_reader, make_tail
from changes import settled
from leaping import until
from replaying import House, Subscriber, at_work
from tailrace.admission import MAX_QUESTIONS, MAX_SHARE
from tailrace.auth.credential import MAX_QUERY_BYTES, MAX_QUERY_PARAMETERS
from tailrace.errors import BadRequest, ComeBack, Forbidden, InvalidToken, Refused, TooManyConnections, Unauthenticated
from tailrace.position import MAX_ID_BYTES
from tailrace.tail import Tail

LONG_ID = "v1.9f3a2c1d" + ".0" * 4000
BAD = {"authorization": "Bearer a.b.c"}
OTHER = bearer("other")


# Before the token.


def calls_of(work: Callable[[], object]) -> int:
    """Count the calls of Python and C functions that ``work`` takes: a measure of it that no machine's speed is in."""
    calls = 0

    def count(_frame: object, event: str, _of: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls


def work_for(given: Mapping[str, Any]) -> tuple[type[Refused], int]:
    """Give how a request is refused, and how many calls that takes."""
    answer: list[type[Refused]] = []
    admitting = Front().admission.admit(dict(given))

    def admit() -> None:
        try:
            admitting.send(None)
        except Refused as refused:
            answer.append(type(refused))

    calls = calls_of(admit)
    admitting.close()
    return answer[0], calls


def jwt_like(number: int) -> str:
    """Write a parameter that looks like a JWT until its first part is read."""
    header = base64.urlsafe_b64encode(b'{"typ":"JWT","n":%d}' % number).decode().rstrip("=")
    return f"a{number}={header}.a.b"


@pytest.mark.parametrize(
    "attack",
    [
        {"headers": {"last-event-id": LONG_ID}},
        {"query": f"last_event_id={LONG_ID}"},
        {"query": "&".join(map(jwt_like, range(MAX_QUERY_PARAMETERS)))},
        {"query": "from=x&since=x"},
    ],
    ids=["id", "id in the query", "parameters", "malformed"],
)
@pytest.mark.parametrize(
    "who, answer", [({}, Unauthenticated), (BAD, InvalidToken), (OTHER, Forbidden)], ids=["none", "bad", "other"]
)
async def test_nothing_is_parsed_for_those_who_may_not_read(
    attack: dict[str, Any], who: dict[str, str], answer: type[Refused]
) -> None:
    """A refusal takes as much work with a long id or many parameters as without, and is the same."""
    headers = {**attack.get("headers", {}), **who}
    plain = work_for(scope(headers=who))
    refused, calls = work_for(scope(query=attack.get("query", ""), headers=headers))
    assert (refused, answer) == (plain[0], plain[0])
    assert calls <= plain[1] + 20


@pytest.mark.parametrize("who", [{}, bearer()], ids=["stranger", "holder"])
@pytest.mark.parametrize("query", ["a=" + "eyJhbGci" * 10_000, "&" * MAX_QUERY_PARAMETERS], ids=["bytes", "count"])
def test_a_query_is_bounded_before_it_is_parsed(query: str, who: dict[str, str]) -> None:
    """In bytes and in parameters; whoever sends it."""
    assert BadRequest is work_for(scope(query=query, headers=who))[0]
    assert MAX_ID_BYTES < MAX_QUERY_BYTES < 2 * MAX_ID_BYTES


@pytest.mark.parametrize("query", [f"q={token()}", f"access_token={token()}", f"from=tail&x=Bearer%20{token()}"])
def test_a_token_in_the_address_is_told_to_strangers(query: str) -> None:
    """Who comes with nothing else learns why that one does not count."""
    assert BadRequest is work_for(scope(query=query))[0]


# Names.


async def test_a_name_that_somebody_chose_grants_nothing_else() -> None:
    """An issuer that puts it into a token as it is cannot grant more by it: a name with a star at its end is none."""
    front = Front()
    for chosen in ("*", "chat/*", "doc-5*"):
        with pytest.raises(BadRequest, match="does not end in"):
            await front.admission.admit(scope(chosen, headers=bearer()))
    assert (await front.admission.admit(scope("a*b", headers=bearer("a*b")))).session == "a*b"
    with pytest.raises(Forbidden):
        await front.admission.admit(scope("axb", headers=bearer("a*b")))


# Invented ids.

INVENTED = "v1." + EPOCH + ".0.0.0.0" + ".1" * 4000
STREAMS = 32
"""A subject's share of connections."""


def batch_of_another_session(tail: Tail, offset: int, partition: int = 0) -> None:
    """Take in one batch, and wake whom it concerns."""
    append(tail, FakeRecord(offset, key=b"other"), partition=partition)
    for _ in tail.wake():
        pass


async def test_partitions_that_do_not_exist_are_waited_for_by_nobody() -> None:
    """Each such stream is told, is live, and costs a batch of others nothing; nor do its entries stay anywhere."""
    front = Front(make_tail(4))
    batch_of_another_session(front.tail, 0)
    plain = calls_of(lambda: batch_of_another_session(front.tail, 1))
    wires = []
    for _ in range(STREAMS):
        subscription = await front.admission.admit(scope(headers={**bearer(), "last-event-id": INVENTED}))
        subscription.open(wire := ListWire())
        wires.append(wire)
        assert (subscription.reader.live, len(subscription.reader.position.offsets[0])) == (True, 4)
    assert {tuple(block.event for block in Block.all(wire.text)) for wire in wires} == {
        ("tailrace.ready", "tailrace.reset", "tailrace.live")
    }
    assert calls_of(lambda: batch_of_another_session(front.tail, 2)) <= plain + 5


def test_a_reader_that_waits_is_not_woken_by_what_it_does_not_wait_for() -> None:
    """However many entries it has: what a batch costs beside those who wait is what it costs alone."""
    tail = make_tail(1000)
    batch_of_another_session(tail, 0)
    plain = calls_of(lambda: batch_of_another_session(tail, 1))
    readers = [make_reader(tail, [[2] + [5] * 999]) for _ in range(STREAMS)]
    for reader in readers:
        reader.attach(ListWire(), BODY, lambda callback: callback())
        reader.flush()
    assert [len(tail.waiting), calls_of(lambda: batch_of_another_session(tail, 2))] == [STREAMS, plain]
    woken = calls_of(lambda: batch_of_another_session(tail, 0, partition=1))
    assert woken <= plain + 20 + 5 * STREAMS  # a look at each of them, and nobody is flushed


# Floods of questions.


class Flood:
    """Questions that Kafka does not answer for now."""

    def __init__(self, **terms: Any) -> None:
        self.front = Front(**terms)
        self.refused: list[type[Refused]] = []
        self.front.asking.pause = asyncio.Event().wait  # for ever
        self._asking: list[asyncio.Task[None]] = []

    def ask(self, subject: str, count: int, query: str = "since=7") -> None:
        """Let ``subject`` ask so often."""
        given = scope(query=query, headers=bearer(subject=subject))
        self._asking += [asyncio.create_task(self._ask(given)) for _ in range(count)]

    async def _ask(self, given: Any) -> None:
        try:
            await self.front.admission.admit(given)
        except Refused as refused:
            self.refused.append(type(refused))

    async def asked(self) -> int:
        """Give how many questions came to Kafka, once all have come so far or were refused."""
        asked = self.front.asking.asked
        await settled(lambda: len(asked) + len(self.refused) == len(self._asking))
        return len(asked)

    async def end(self) -> None:
        """Leave no task behind."""
        for task in self._asking:
            task.cancel()
        await asyncio.gather(*self._asking, return_exceptions=True)


async def test_a_flood_of_times_takes_no_place_of_others() -> None:
    """A subject has at most a quarter of what others leave: however it floods, an honest one is asked for."""
    flood = Flood(max_connections_per_subject=1000)
    counts = []
    for subject in ("mallory", "mallory's friend", "honest"):
        flood.ask(subject, 1 if subject == "honest" else 400)
        counts.append(await flood.asked())
    await flood.end()
    share = int(MAX_QUESTIONS * MAX_SHARE)
    assert counts == [share, share + int((MAX_QUESTIONS - share) * MAX_SHARE) + 1, counts[1] + 1]
    assert set(flood.refused) == {ComeBack}


async def test_who_has_all_connections_asks_kafka_nothing() -> None:
    """Whoever is being admitted counts as one: the limit is looked at before the question, not after the answer."""
    flood = Flood(max_connections_per_subject=3)
    flood.ask("mallory", 400)
    asked = await flood.asked()
    await flood.end()
    assert (asked, set(flood.refused)) == (3, {TooManyConnections})
    flood.front.asking.pause = lambda: asyncio.sleep(0)
    await flood.front.admission.admit(scope(query="since=7", headers=bearer(subject="mallory")))


async def test_many_who_arrive_are_as_many_as_may_be_connected() -> None:
    """Whoever they are."""
    flood = Flood(max_connections=5)
    for subject in range(9):
        flood.ask(str(subject), 1)
    asked = await flood.asked()
    await flood.end()
    assert (asked, flood.refused) == (5, [TooManyConnections] * 4)


# Loops over the whole log.


class Loops:
    """Four streams of one subject that have the whole log read again, for ever."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._streams: list[Subscriber] = []
        self.over = 0

    def go_on(self) -> int:
        """Let those begin again that have everything; give how often that was so."""
        live = [each for each in self._streams if each.reader.live]
        for each in live:
            each.reader.close()
            self._streams.remove(each)
        self.over += len(live)
        while len(self._streams) < 4:
            self._streams.append(self._house.subscriber(0, session="mallory", subject="mallory"))
        return self.over


async def test_loops_over_the_log_hold_up_nobody_who_resumes() -> None:
    """However far the loops are, somebody who lacks a tenth of the log is served before twice as much was read."""
    house = House()
    house.history(30_000, key=b"other")
    house.kafka.at_once = 100
    loops = Loops(house)
    async with at_work(house):
        await until(lambda: loops.go_on() >= 8)
        cost = []
        for _ in range(10):
            before = len(house.fetches)
            honest = house.subscriber(27_000, subject="honest")
            await until(lambda: loops.go_on() and honest.reader.live)  # noqa: B023  at once
            cost.append(len(house.fetches) - before)
            honest.reader.close()
    assert max(cost) * house.kafka.at_once <= 2 * 3000 + 1000
