"""Who comes in: one order of questions, one named refusal each."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from asgi import Front, bearer, scope, token
from builders import EPOCH, Block, FakeRecord, ListWire, append, make_tail
from changes import settled
from tailrace.admission import BELIEVED_AT, MAX_QUESTIONS
from tailrace.errors import (
    BadRequest,
    ComeBack,
    Draining,
    Forbidden,
    ForeignOrigin,
    InvalidToken,
    KafkaTrouble,
    Refused,
    Unauthenticated,
)

STRANGE = "v1.00000000.4"


async def refusal(front: Front, given: dict[str, Any], late_token: str | None = None) -> Refused:
    with pytest.raises(Refused) as caught:
        await front.admission.admit(given, late_token)
    return caught.value


async def test_a_good_token_admits_to_its_session() -> None:
    """The subscription is the principal's, live, and registered."""
    front = Front()
    subscription = await front.admission.admit(scope("chat/7", headers=bearer("chat/*")))
    assert ("ada", "chat/7", True) == (subscription.principal.subject, subscription.session, subscription.reader.live)
    assert 1 == len(front.subscriptions)


@pytest.mark.parametrize(
    "session",
    ["", "a//b", "../a", "a/.", "a\nb", "x" * 257, "a\ufffd", "a*"],
    ids=["empty", *"abcd", "long", "not UTF-8", "star"],
)
async def test_an_address_that_names_no_session_is_malformed(session: str) -> None:
    """Said to those who have said who they are."""
    assert BadRequest is type(await refusal(Front(), scope(session, headers=bearer())))
    assert Unauthenticated is type(await refusal(Front(), scope(session)))


@pytest.mark.parametrize("query", ["from=yesterday", "since=yesterday", "last_event_id=v2.x", "lastEventId=v1.zz"])
async def test_a_query_that_cannot_be_read_is_malformed(query: str) -> None:
    """A person wrote it: better an error than another place than they meant."""
    assert 400 == (await refusal(Front(), scope(query=query, headers=bearer()))).status


async def test_a_token_in_the_address_is_refused() -> None:
    """Even beside a good one: addresses are logged everywhere (RFC 9700 section 4.3.2)."""
    given = scope(query=f"access_token={token()}", headers=bearer())
    assert BadRequest is type(await refusal(Front(), given))


async def test_who_sends_no_token_is_asked_for_one() -> None:
    """Never a fall-back to anonymous."""
    assert Unauthenticated is type(await refusal(Front(), scope()))


async def test_a_token_that_is_no_good_is_refused_as_that() -> None:
    """Whatever else it came with."""
    given = scope(headers={"authorization": "Bearer a.b.c"})
    assert InvalidToken is type(await refusal(Front(), given))


async def test_a_late_token_counts_like_an_early_one() -> None:
    """It came in a WebSocket's first message."""
    subscription = await Front().admission.admit(scope(kind="websocket"), token("s"))
    assert "s" == subscription.session
    assert InvalidToken is type(await refusal(Front(), scope(kind="websocket"), "a.b.c"))


async def test_whether_they_may_comes_before_whether_the_service_can() -> None:
    """One who may not read the session is not told to come back."""
    front = Front()
    front.waiting = ["Kafka has not answered yet"]
    assert Forbidden is type(await refusal(front, scope(headers=bearer("other"))))
    assert ComeBack is type(await refusal(front, scope(headers=bearer())))
    front.subscriptions.draining = True
    assert Draining is type(await refusal(front, scope(headers=bearer())))


async def test_the_header_beats_the_query() -> None:
    """On a reconnect the browser sends the header beside the URL's stale query."""
    tail = make_tail()
    append(tail, *(FakeRecord(number) for number in range(5)))
    headers = {**bearer(), "last-event-id": "v1.9f3a2c1d.4"}
    subscription = await Front(tail).admission.admit(
        scope(query="last_event_id=v1.9f3a2c1d.2&from=tail", headers=headers)
    )
    assert ((4,),) == subscription.reader.position.offsets


@pytest.mark.parametrize("name", ["last_event_id", "lastEventId"])
async def test_the_query_may_carry_the_id(name: str) -> None:
    """For clients that cannot set a header."""
    tail = make_tail()
    append(tail, *(FakeRecord(number) for number in range(5)))
    subscription = await Front(tail).admission.admit(scope(query=f"{name}=v1.9f3a2c1d.3", headers=bearer()))
    assert ((3,),) == subscription.reader.position.offsets


async def test_an_id_of_an_unknown_incarnation_waits_for_kafka() -> None:
    """The topic may have been made again a second ago: it is taken up when Kafka says so."""
    front = Front()
    front.on_refresh = lambda: front.tail.learn(0, "00000000", 1)
    subscription = await front.admission.admit(scope(query=f"last_event_id={STRANGE}", headers=bearer()))
    assert (1, ((4,),)) == (front.refreshes, subscription.reader.position.offsets)


async def test_an_id_that_stays_unknown_is_admitted_with_a_reset() -> None:
    """It begins at what the tail holds."""
    front = Front()
    subscription = await front.admission.admit(scope(headers={**bearer(), "last-event-id": STRANGE}))
    assert (1, ((0,),), False) == (front.refreshes, subscription.reader.position.offsets, subscription.over)


async def test_while_kafka_is_away_a_strange_id_is_told_to_come_back() -> None:
    """Nobody is reset because a broker was down."""
    front = Front()
    front.kafka_answers = False
    assert ComeBack is type(await refusal(front, scope(query=f"last_event_id={STRANGE}", headers=bearer())))


async def test_kafka_is_not_asked_for_one_who_may_not_read() -> None:
    """Nor for an id that is known."""
    front = Front()
    await refusal(front, scope(query=f"last_event_id={STRANGE}", headers=bearer("other")))
    await front.admission.admit(scope(query="last_event_id=v1.9f3a2c1d.0", headers=bearer()))
    assert 0 == front.refreshes


async def test_a_drain_that_begins_while_kafka_is_asked_refuses() -> None:
    """Nobody slips in behind the farewells."""
    front = Front()
    front.on_refresh = lambda: setattr(front.subscriptions, "draining", True)
    assert Draining is type(await refusal(front, scope(query=f"last_event_id={STRANGE}", headers=bearer())))


async def test_since_begins_where_kafka_was_then() -> None:
    """The time that is asked for, to the millisecond; an id needs no answer."""
    front = Front()
    front.asking.offsets = [[3]]
    subscription = await front.admission.admit(scope(query="since=1970-01-01T00:00:01.5Z", headers=bearer()))
    await front.admission.admit(scope(query="since=7&last_event_id=v1.9f3a2c1d.0", headers=bearer()))
    assert (((3,),), "1500") == (subscription.reader.position.offsets, front.asking.asked[0])
    assert [] == [each for each in front.asking.asked if each == "7"]


async def test_a_time_that_kafka_does_not_tell_is_told_to_come_back() -> None:
    """Rather than another time than was asked for."""
    front = Front()
    front.asking.trouble = KafkaTrouble("the leader is away")
    assert ComeBack is type(await refusal(front, scope(query="since=7", headers=bearer())))


async def test_questions_for_a_time_are_bounded() -> None:
    """One more than may wait is told to come back; when they were answered, the next may ask."""
    front = Front()
    answered = asyncio.Event()
    front.asking.pause = answered.wait
    given = [scope(query="since=7", headers=bearer(subject=str(number))) for number in range(MAX_QUESTIONS + 1)]
    asking = [asyncio.create_task(front.admission.admit(each)) for each in given[:-1]]
    await settled(lambda: len(front.asking.asked) == MAX_QUESTIONS)
    assert ComeBack is type(await refusal(front, given[-1]))
    answered.set()
    await asyncio.gather(*asking)
    assert (await front.admission.admit(given[-1])).reader.position.offsets == ((0,),)


@pytest.mark.parametrize("noticed", ["on_question", "on_refresh"])
async def test_an_end_of_a_topic_that_was_made_again_is_no_end(noticed: str) -> None:
    """Noticed while Kafka is asked, or only then: the id is of a topic that is no more, and that is what is told."""
    front = Front()
    front.asking.log_ends = [[5]]
    setattr(front if noticed == "on_refresh" else front.asking, noticed, lambda: front.tail.learn(0, "00000002", 1))
    subscription = await front.admission.admit(scope(query="last_event_id=v1.9f3a2c1d.6", headers=bearer()))
    wire = ListWire()
    subscription.open(wire)
    assert ["epoch"] == [json.loads(block.data)["reason"] for block in Block.all(wire.text) if "reset" in block.event]
    assert ((0,),) == subscription.reader.position.offsets


async def test_an_id_beyond_the_log_waits_where_kafka_does_not_say_who_it_is() -> None:
    """It is looked at again later."""
    front = Front()
    front.asking.log_ends, front.kafka_answers = [[5]], False
    subscription = await front.admission.admit(scope(query="last_event_id=v1.9f3a2c1d.6", headers=bearer()))
    assert ((6,),) == subscription.reader.position.offsets


async def test_a_time_of_a_topic_that_is_made_again_is_asked_for_again() -> None:
    """What was said is said of another topic."""
    front = Front()
    front.asking.offsets = [[3]]

    def made_again() -> None:
        front.tail.learn(0, "00000002", 1)
        front.asking.offsets = [[1]]

    front.asking.on_question = made_again
    subscription = await front.admission.admit(scope(query="since=7", headers=bearer()))
    assert (2, ((1,),)) == (front.asking.asked.count("7"), subscription.reader.position.offsets)


async def test_nobody_waits_for_kafka_in_a_drain() -> None:
    """It may be silent for longer than the drain; who waits for nothing does not notice."""
    front = Front()
    front.asking.pause = asyncio.Event().wait  # for ever
    asking = asyncio.create_task(front.admission.admit(scope(query="since=7", headers=bearer())))
    await settled(lambda: bool(front.asking.asked))
    front.admission.drain()
    with pytest.raises(Draining):
        await asking
    await front.admission.admit(scope(headers=bearer()))


async def test_an_id_beyond_this_replica_is_compared_with_the_end_of_the_log() -> None:
    """Where the log was cut off the client is told; one that a faster replica served is not."""
    front = Front()
    front.asking.log_ends = [[5]]
    admitted = [
        await front.admission.admit(scope(query=f"last_event_id=v1.9f3a2c1d.{entry}", headers=bearer()))
        for entry in (0, 5, 6)
    ]
    assert [((0,),), ((5,),), ((0,),)] == [each.reader.position.offsets for each in admitted]
    assert (["ends", "ends"], [False, False, True]) == (front.asking.asked, [each.reader.settle() for each in admitted])


MORE = "last_event_id=v1.9f3a2c1d.0.4"
"""Names a partition that this replica does not know."""


async def test_an_id_of_a_partition_that_a_faster_replica_knows_waits_for_kafka() -> None:
    """It is taken up, as far as it goes, when Kafka says that the partition exists."""
    front = Front()
    front.asking.log_ends = [[9, 9]]
    front.on_refresh = lambda: front.tail.learn(0, EPOCH, 2)
    subscription = await front.admission.admit(scope(query=MORE, headers=bearer()))
    assert (1, ((0, 4),), False) == (
        front.refreshes,
        subscription.reader.position.offsets,
        subscription.reader.settle(),
    )


async def test_an_id_of_a_partition_that_does_not_exist_is_told() -> None:
    """Twice Kafka has to say so; then the client is live, and has no such partition any more."""
    front = Front()
    subscription = await front.admission.admit(scope(query=MORE, headers=bearer()))
    subscription.open(wire := ListWire())
    assert ["truncated"] == [
        json.loads(block.data)["reason"] for block in Block.all(wire.text) if "reset" in block.event
    ]
    assert (BELIEVED_AT, ((0,),), True) == (
        front.refreshes,
        subscription.reader.position.offsets,
        subscription.reader.live,
    )


@pytest.mark.parametrize("silent", ["the cluster", "about the topic"])
async def test_while_kafka_does_not_tell_the_partitions_an_id_of_more_comes_back(silent: str) -> None:
    """Nobody is reset because a broker was down."""
    front = Front()
    front.kafka_answers = silent != "the cluster"
    front.asking.untold = {0}
    assert ComeBack is type(await refusal(front, scope(query=MORE, headers=bearer())))


async def test_an_id_of_more_partitions_in_which_nothing_was_read_is_no_question() -> None:
    """All that they hold is later, exactly."""
    front = Front()
    await front.admission.admit(scope(query="last_event_id=v1.9f3a2c1d.0.0.0", headers=bearer()))
    assert (0, []) == (front.refreshes, front.asking.asked)


async def test_who_needs_a_replay_is_refused_where_too_many_wait() -> None:
    """Before it is connected; who needs none is admitted."""
    tail = make_tail()
    append(tail, FakeRecord(0))
    bound, tail.max_bytes = tail.max_bytes, 0
    tail.evict()
    tail.max_bytes = bound
    front = Front(tail)
    front.replays.is_full = True
    assert ComeBack is type(await refusal(front, scope(query="last_event_id=v1.9f3a2c1d.0", headers=bearer())))
    await front.admission.admit(scope(query="last_event_id=v1.9f3a2c1d.1", headers=bearer()))
    assert (1, 1) == (len(front.subscriptions), tail.readers("s"))


def test_a_cookie_counts_only_when_the_browser_says_that_an_allowed_page_asked() -> None:
    """A browser sends it whoever's page asked."""
    front = Front(None, "https://app.test")
    cookie = {"cookie": f"__Host-tailrace={token()}"}
    assert "ada" == front.admission.principal(scope(headers={**cookie, "origin": "https://app.test"})).subject
    for headers in (cookie, {**cookie, "origin": "https://evil.test"}, {**cookie, "sec-fetch-site": "cross-site"}):
        with pytest.raises(Unauthenticated):
            front.admission.principal(scope(headers=headers))


def test_a_page_of_another_site_may_open_no_websocket() -> None:
    """One of the same host may, and so may who is no browser."""
    check = Front().admission.check_origin
    for headers in ({}, {"origin": "http://tailrace.test"}):
        check(scope(kind="websocket", headers=headers))
    with pytest.raises(ForeignOrigin):
        check(scope(kind="websocket", headers={"origin": "https://evil.test"}))
