"""One subscriber from admission to farewell: what is said, in which order, at which tick."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from builders import Block, FakeRecord, FakeReplays, ListWire, append, make_tail
from leaping import leaping
from tailrace import control
from tailrace.auth import MAX_STREAM_SECONDS, Principal
from tailrace.encoding import Framing, frame
from tailrace.errors import BadMessage, ComeBack, Draining, Forbidden, GoingAway, Refused, TooManyConnections
from tailrace.event import Event, Trace
from tailrace.resume import Start
from tailrace.subscription import Subscription, Subscriptions, Terms
from tailrace.subscription.everyone import POSITIONS_PER_TURN
from tailrace.subscription.one import REFRESH_NOTICE_SECONDS
from tailrace.subscription.pulse import MAX_UNANSWERED_PINGS
from tailrace.tail import Tail
from tailrace.timers import Timer, Wheel
from tailrace.tracing import Tracing
from tailrace.wire import MIN_TAKEN_BYTES, Taken

LIVE = Start(None)
TERMS = Terms(heartbeat_seconds=15, send_timeout_seconds=10, max_connections=4, max_connections_per_subject=2)


class RecordedTracing(Tracing):
    """Writes down what it is told of."""

    def __init__(self) -> None:
        super().__init__()
        self.enabled = True
        self.deliveries: list[tuple[int, str, str, int]] = []

    def delivered(self, event: Event, *, transport: str, request_id: str, handed_ns: int, accepted_ns: int) -> None:
        assert handed_ns <= accepted_ns
        self.deliveries.append((event.offset, transport, request_id, handed_ns))


class House:
    """A service's subscriptions, with a tail filled and a wheel turned by hand; the clock goes with the wheel."""

    def __init__(self, tail: Tail | None = None, terms: Terms = TERMS, waiting: Sequence[str] = ()) -> None:
        self.tail = tail or make_tail()
        self.wheel = Wheel()
        self.tracing = RecordedTracing()
        self.replays = FakeReplays()
        self.ahead = 0.0  # of the clock
        self.hub = Subscriptions(
            self.tail,
            self.wheel,
            terms,
            lambda: list(waiting),
            replays=self.replays,
            clock=lambda: 1000.0 + self.wheel.now + self.ahead,
            tracing=self.tracing,
        )

    def admit(
        self, start: Start = LIVE, *, subject: str = "ada", session: str = "s", lives: float = 600
    ) -> Subscription:
        """Admit ``subject`` with a token for ``s`` that lives so many seconds from the start of the test."""
        return self.hub.admit(Principal(subject, ("s",), 1000.0 + lives), session, start)

    def opened(self, start: Start = LIVE, wire: ListWire | None = None, **who: Any) -> tuple[Subscription, ListWire]:
        subscription, wire = self.admit(start, **who), wire or ListWire()
        subscription.open(wire)
        return subscription, wire

    def produce(self, *records: FakeRecord) -> None:
        append(self.tail, *records)
        for _ in self.tail.wake():
            pass

    def fill(self, *wires: ListWire) -> None:
        """Let something come that fills these wires."""
        for wire in wires:
            wire.fills = True
        self.produce(FakeRecord(self.tail.next_offset(0, 0)))

    def turn(self, ticks: int) -> None:
        for _ in range(ticks):
            self.wheel.turn()


class FramesWire(ListWire):
    """The same for WebSocket frames."""

    framing = Framing.FRAMES


def names(wire: ListWire) -> list[str]:
    """Give what came, by event name; messages by their data."""
    return [block.event.removeprefix("tailrace.") or block.data for block in Block.all(wire.text)]


def fields(wire: ListWire, name: str) -> dict[str, Any]:
    """Give what the only event of that name carries."""
    (found,) = (block for block in Block.all(wire.text) if block.event == f"tailrace.{name}")
    content: dict[str, Any] = json.loads(found.data)
    assert content.get("id") == found.id
    return content


def after_hello(wire: ListWire) -> str:
    """Give what was written since the first write."""
    return b"".join(wire.written[1:]).decode()


# Hello -------------------------------------------------------------------------------------------------------------


async def test_a_stream_opens_with_retry_and_ready() -> None:
    """At once, before anything else, so that a client that is cut off right away resumes exactly."""
    house = House()
    append(house.tail, FakeRecord(0))
    _, wire = house.opened()
    assert wire.text.startswith("retry: ")
    assert {
        "id": "v1.9f3a2c1d.1",
        "session": "s",
        "resumed": False,
        "encoding": "text",
        "continuity": "complete",
        "heartbeat_seconds": 15,
        "expires_in_seconds": 600,
    } == fields(wire, "ready")


async def test_each_client_is_told_a_time_of_its_own_to_come_back() -> None:
    """Or they would all be back at the same instant."""
    house = House(terms=Terms())
    told = {house.opened()[1].text.split("\n")[0] for _ in range(20)}
    assert len(told) > 10
    assert all(1000 <= int(each.removeprefix("retry: ")) <= 3000 for each in told)


async def test_a_live_client_gets_what_comes_and_no_more() -> None:
    """What was there before is not for it; `live` is for those who resumed."""
    house = House()
    append(house.tail, FakeRecord(0, value=b"before"))
    _, wire = house.opened()
    house.produce(FakeRecord(1, value=b"after"), FakeRecord(2, key=b"other"))
    assert ["ready", "after"] == names(wire)


async def test_a_client_that_resumes_gets_ready_what_it_lacks_and_live() -> None:
    """`ready` carries the id that it came with; `live` says how much it lacked, once."""
    house = House()
    append(house.tail, FakeRecord(0, value=b"a"), FakeRecord(1, value=b"b"))
    _, wire = house.opened(Start(((1,),), resumed=True))
    house.produce(FakeRecord(2, value=b"c"))
    assert ["ready", "b", "live", "c"] == names(wire)
    assert ("v1.9f3a2c1d.1", True) == (fields(wire, "ready")["id"], fields(wire, "ready")["resumed"])
    assert {"id": "v1.9f3a2c1d.2", "replayed": 1} == fields(wire, "live")


async def test_live_comes_also_with_nothing_replayed() -> None:
    """A client that resumes is always told when it has all."""
    _, wire = House().opened(Start(((0,),), resumed=True))
    assert (["ready", "live"], 0) == (names(wire), fields(wire, "live")["replayed"])


async def test_resets_come_before_live_and_before_events() -> None:
    """Each reason once, with the reader's new position and the id that was asked for."""
    house = House(make_tail(partitions=2))
    for partition in (0, 1):
        house.tail.begin(0, partition, 5)
        house.tail.note_start(0, partition, 5)
    append(house.tail, FakeRecord(5, value=b"a"))
    _, wire = house.opened(Start(((1, 1),), resumed=True, requested="v1.9f3a2c1d.1.1"))
    assert ["ready", "reset", "a", "live"] == names(wire)
    assert {"id": "v1.9f3a2c1d.5.5", "reason": "retention", "requested": "v1.9f3a2c1d.1.1"} == fields(wire, "reset")


async def test_who_falls_behind_while_too_many_wait_resumes_from_what_it_was_given() -> None:
    """The farewell comes after the last event, and its id names that."""
    house = House(make_tail(partitions=2))
    house.tail.begin(0, 0, 5)
    append(house.tail, FakeRecord(0, value=b"a"), partition=1)
    house.replays.is_full = True
    wire = ListWire()
    subscription = Subscription(house.hub, Principal("ada", ("s",), 2000.0), "s", Start(((1, 0),), resumed=True))
    subscription.open(wire)
    told = fields(wire, "disconnect")
    assert (["ready", "a", "disconnect"], True) == (names(wire), wire.finished)
    assert ("v1.9f3a2c1d.1.1", 1013, True) == (told["id"], told["code"], told["reconnect"])


async def test_hello_names_the_id_before_a_gap() -> None:
    """Who is cut off between the two is told of it the next time."""
    house = House()
    house.tail.begin(0, 0, 5)
    house.tail.note_start(0, 0, 5)
    _, wire = house.opened(Start(((1,),), resumed=True, requested="v1.9f3a2c1d.1"))
    ready = fields(wire, "ready")
    assert ("v1.9f3a2c1d.1", False, "v1.9f3a2c1d.5") == (ready["id"], ready["resumed"], fields(wire, "reset")["id"])


async def test_a_reset_that_is_known_already_is_told_and_counts_as_not_resumed() -> None:
    """An id of another epoch was not taken up; until the client is told, it stands where it stood."""
    _, wire = House().opened(Start(((0,),), ("epoch",), resumed=True, requested="v1.00000000.7"))
    assert (["ready", "reset", "live"], False) == (names(wire), fields(wire, "ready")["resumed"])
    assert ("v1.00000000.7", "v1.9f3a2c1d.0") == (fields(wire, "ready")["id"], fields(wire, "reset")["id"])


@pytest.mark.parametrize("say", [lambda house, _: house.turn(15), lambda _, each: each.say_position()])
async def test_no_id_overtakes_a_reset(say: Callable[[House, Subscription], None]) -> None:
    """Between a jump and the reader's turn comes a heartbeat: its id lies behind the reset, so that is told first."""
    house = House()
    subscription, wire = house.opened()
    append(house.tail, FakeRecord(0, key=b"another"))
    house.tail.learn(0, "00c0ffee", 1)
    say(house, subscription)
    assert ["ready", "reset"] == names(wire)[:2]


async def test_live_is_told_once_even_when_it_falls_back_and_returns() -> None:
    """A jump resets a reader; that it is live again is no news."""
    house = House()
    _, wire = house.opened(Start(((0,),), resumed=True))
    house.tail.jump(0, 0, 9, "retention")
    house.produce(FakeRecord(9, value=b"a"))
    assert ["ready", "live", "reset", "a"] == names(wire)


async def test_over_websocket_there_is_no_retry() -> None:
    """A page decides for itself when to come back."""
    _, wire = House().opened(wire=FramesWire())
    assert b'{"control":"tailrace.ready"' in wire.written[0]
    assert b"retry: " not in wire.written[0]


# Quiet -------------------------------------------------------------------------------------------------------------


async def test_a_quiet_client_hears_a_comment_after_the_heartbeat_time() -> None:
    """Not before, and again after as long."""
    house = House()
    _, wire = house.opened()
    house.turn(14)
    assert after_hello(wire) == ""
    house.turn(1)
    assert after_hello(wire) == ":\n\n"
    house.turn(15)
    assert after_hello(wire) == ":\n\n:\n\n"


async def test_a_client_that_gets_events_hears_no_heartbeat() -> None:
    """Traffic is a sign of life."""
    house = House()
    _, wire = house.opened()
    for number in range(4):
        house.turn(8)
        house.produce(FakeRecord(number, value=b"v"))
    assert ["ready", *["v"] * 4] == names(wire)
    assert ":\n\n" not in wire.text


async def test_a_heartbeat_carries_the_id_when_the_position_moved() -> None:
    """So a quiet session's id moves on by itself: an ``id:``-only block."""
    house = House()
    _, wire = house.opened()
    house.produce(FakeRecord(0, key=b"other"))
    house.turn(15)
    assert after_hello(wire) == "id: v1.9f3a2c1d.1\n\n"


async def test_over_websocket_a_heartbeat_is_a_ping_and_the_position_when_it_moved() -> None:
    """A ping's opcode is 9 (RFC 6455 section 5.5.2)."""
    house = House()
    append(house.tail, *map(FakeRecord, range(10)))
    _, wire = house.opened(wire=FramesWire())
    house.turn(15)
    house.produce(FakeRecord(10, key=b"other"))
    house.turn(15)
    position = frame(b'{"control":"tailrace.position","id":"v1.9f3a2c1d.11"}')
    assert [control.PING, control.PING + position] == wire.written[1:]


async def test_over_websocket_an_id_is_renewed_without_a_ping() -> None:
    """It may happen every second."""
    house = House()
    _, wire = house.opened(wire=FramesWire())
    append(house.tail, *(FakeRecord(number, key=b"other") for number in range(10)))
    house.turn(1)
    assert [frame(b'{"control":"tailrace.position","id":"v1.9f3a2c1d.10"}')] == wire.written[1:]


async def test_over_websocket_pings_go_on_under_traffic() -> None:
    """Events that are taken, maybe by a proxy, do not show that the client is there. No id comes with such a ping."""
    house = House()
    _, wire = house.opened(wire=FramesWire())
    for number in range(8):
        house.turn(8)
        house.produce(FakeRecord(number), FakeRecord(number + 100, key=b"other"))
    assert 3 <= wire.written.count(control.PING) <= 4
    assert not any(b"tailrace.position" in each for each in wire.written)


@pytest.mark.parametrize("busy", [False, True], ids=["quiet", "busy"])
async def test_a_websocket_that_answers_no_ping_is_sent_away(busy: bool, caplog: pytest.LogCaptureFixture) -> None:
    """After so many heartbeats; with a farewell, in case that it only breaks the rules. It is counted and logged."""
    caplog.set_level(logging.INFO, "tailrace")
    house = House()
    subscription, wire = house.opened(wire=FramesWire())
    for number in range((MAX_UNANSWERED_PINGS + 1) * 15 + 20 * busy):
        assert (subscription.farewell is None) or number >= (MAX_UNANSWERED_PINGS + 1) * 15
        house.turn(1)
        if busy:
            house.produce(FakeRecord(number))
    subscription.close()
    assert (True, 4410) == (wire.finished, getattr(subscription.farewell, "close_code", None))
    assert b'"reason":"no pong","reconnect":true' in wire.written[-1]
    assert ['{reason="no_pong"} 1.0'] == lines(house, "tailrace_connections_ended_total")
    assert ["sent a client away that answered no ping"] == caplog.messages


async def test_a_websocket_that_answers_now_and_then_stays() -> None:
    """One answer makes up for all before it, whatever it is."""
    house = House()
    _, wire = house.opened(wire=FramesWire())
    for _ in range(5):
        house.turn(MAX_UNANSWERED_PINGS * 15)
        wire.heard = True
    assert not wire.finished


async def test_over_sse_nobody_is_asked() -> None:
    """There a client can say nothing."""
    house = House()
    _, wire = house.opened()
    house.turn(500)
    assert not wire.finished


async def test_an_id_in_the_older_half_of_the_tail_is_renewed_at_once() -> None:
    """So most reconnects are answered from memory; a reader whose id is young hears nothing."""
    house = House()
    _, old = house.opened()
    append(house.tail, *(FakeRecord(number, key=b"other") for number in range(10)))
    _, young = house.opened()
    house.turn(1)
    assert ("id: v1.9f3a2c1d.10\n\n", "") == (after_hello(old), after_hello(young))
    house.turn(5)
    assert "id: v1.9f3a2c1d.10\n\n" == after_hello(old)


async def test_ids_of_many_are_renewed_in_several_turns() -> None:
    """Ten thousand quiet readers do not hold up the loop."""
    house = House(terms=Terms(max_connections_per_subject=10_000))
    wires = [house.opened()[1] for _ in range(POSITIONS_PER_TURN + 1)]
    append(house.tail, *(FakeRecord(number, key=b"other") for number in range(2)))
    house.turn(1)
    assert POSITIONS_PER_TURN == sum(bool(after_hello(wire)) for wire in wires)
    await asyncio.sleep(0)
    assert all(after_hello(wire) for wire in wires)


async def test_no_position_is_said_to_one_who_takes_nothing_or_has_not_begun() -> None:
    """Nobody is written to who cannot take it."""
    house = House()
    house.admit()
    _, wire = house.opened()
    wire.open = False
    append(house.tail, *(FakeRecord(number, key=b"other") for number in range(10)))
    house.turn(2)
    assert "" == after_hello(wire)


# The token's end ---------------------------------------------------------------------------------------------------


async def test_a_stream_ends_with_its_token_to_the_second() -> None:
    """With a farewell that says: come back with another."""
    house = House()
    subscription, wire = house.opened(lives=40)
    house.turn(39)
    assert not wire.finished
    house.turn(1)
    last = fields(wire, "disconnect")
    assert (4401, "token expired", True) == (last["code"], last["reason"], last["reconnect"])
    assert (True, 4401) == (wire.finished, getattr(subscription.farewell, "close_code", None))


async def test_a_stream_ends_within_a_day_and_its_refresh_notice_says_when() -> None:
    """However far off ``exp`` is: what is announced is the end of the stream."""
    house = House()
    _, wire = house.opened(lives=10 * MAX_STREAM_SECONDS)
    assert MAX_STREAM_SECONDS == fields(wire, "ready")["expires_in_seconds"]
    house.turn(MAX_STREAM_SECONDS - REFRESH_NOTICE_SECONDS)
    assert {"expires_in_seconds": 30} == fields(wire, "refresh")


async def test_a_client_is_told_in_time_to_fetch_another_token() -> None:
    """Half a minute before the end, once."""
    house = House()
    _, wire = house.opened(lives=100)
    house.turn(69)
    assert "refresh" not in names(wire)
    house.turn(1)
    assert {"expires_in_seconds": 30} == fields(wire, "refresh")


@pytest.mark.parametrize("ahead", [3600.0, -3600.0])
async def test_a_stream_ends_when_it_was_told_whatever_the_clock_does(ahead: float) -> None:
    """A clock that is set ahead or back by an hour changes nothing for those who are connected."""
    house = House()
    _, wire = house.opened(lives=100)
    house.ahead = ahead
    house.turn(70)
    assert {"expires_in_seconds": 30} == fields(wire, "refresh")
    house.turn(29)
    assert "disconnect" not in names(wire)
    house.turn(1)
    assert "token expired" == fields(wire, "disconnect")["reason"]


async def test_a_token_that_ends_while_its_request_is_answered() -> None:
    """Also by a clock that is set ahead just then: the stream ends at once, and no time before now is told."""
    house = House()
    subscription, wire = house.admit(lives=100), ListWire()
    house.ahead = 3600.0
    subscription.open(wire)
    house.turn(1)
    assert (0, "token expired") == (fields(wire, "ready")["expires_in_seconds"], fields(wire, "disconnect")["reason"])


async def test_a_token_that_lives_for_a_minute_needs_no_notice() -> None:
    """`ready` has just said it."""
    house = House()
    _, wire = house.opened(lives=60)
    house.turn(59)
    assert "refresh" not in names(wire)


# Farewell ----------------------------------------------------------------------------------------------------------


async def test_farewell_comes_only_after_what_is_due() -> None:
    """A lagging client's loss must not become a clean goodbye."""
    house = House()
    subscription, wire = house.opened()
    wire.open = False
    house.produce(FakeRecord(0, value=b"due"))
    subscription.end(GoingAway())
    assert (["ready"], False) == (names(wire), wire.finished)
    wire.open = True
    wire.on_writable()
    assert (["ready", "due", "disconnect"], True) == (names(wire), wire.finished)


async def test_the_farewell_carries_the_position_and_when_to_come_back() -> None:
    """Over SSE, ``retry:`` says it to the browser."""
    house = House()
    subscription, wire = house.opened()
    house.produce(FakeRecord(0))
    subscription.end(GoingAway())
    last = fields(wire, "disconnect")
    assert ("v1.9f3a2c1d.1", 1001, "going away", True) == tuple(
        last[name] for name in ("id", "code", "reason", "reconnect")
    )
    assert f"retry: {last['retry_after_ms']}\n\nid: " in after_hello(wire)


async def test_the_first_farewell_counts() -> None:
    """A second reason says nothing more."""
    subscription, wire = House().opened()
    subscription.end(BadMessage())
    subscription.end(GoingAway())
    assert 4400 == fields(wire, "disconnect")["code"]


async def test_a_farewell_before_the_stream_began_is_said_when_it_begins() -> None:
    """A drain may come between admission and the response's head."""
    house = House()
    subscription, wire = house.admit(), ListWire()
    subscription.end(GoingAway())
    subscription.open(wire)
    assert (["ready", "disconnect"], True) == (names(wire), wire.finished)


@pytest.mark.parametrize("ended", [True, False], ids=["ended", "sent away"])
async def test_nothing_is_said_after_the_farewell(ended: bool) -> None:
    """No heartbeat, no second goodbye."""
    house = House()
    subscription, wire = house.opened()
    if ended:
        house.produce(FakeRecord(0, value=None))
    subscription.end(GoingAway())
    written = wire.text
    wire.on_writable()
    subscription.say_position()
    house.turn(20)
    assert written == wire.text


async def test_a_tombstone_ends_the_stream_of_a_live_client() -> None:
    """With an id that says so: who comes back with it can be told to stay away."""
    house = House()
    subscription, wire = house.opened()
    house.produce(FakeRecord(0, value=b"last"), FakeRecord(1, value=None))
    assert (["ready", "last", "end"], True) == (names(wire), wire.finished)
    assert {"id": "v1.9f3a2c1d.2.end"} == fields(wire, "end")
    assert 1000 == getattr(subscription.farewell, "close_code", None)


async def test_a_tombstone_with_something_after_it_ends_nothing() -> None:
    """The session began again before anybody was told."""
    house = House()
    _, wire = house.opened()
    house.produce(FakeRecord(0, value=None), FakeRecord(1, value=b"again"))
    assert (["ready", "again"], False) == (names(wire), wire.finished)


async def test_who_knows_that_the_session_ended_and_lacks_nothing_should_stay_away() -> None:
    """And one to whom something is due should not."""
    house = House()
    append(house.tail, FakeRecord(0, value=None))
    ended = Start(((1,),), resumed=True, ended=True)
    assert house.admit(ended).over
    assert not house.admit(LIVE).over
    append(house.tail, FakeRecord(1))
    assert not house.admit(ended, subject="grace").over


# Trouble -----------------------------------------------------------------------------------------------------------


async def test_a_client_that_takes_nothing_is_cut_at_the_send_timeout() -> None:
    """Counted from the last write, because only a write fills a wire."""
    house = House()
    _, wire = house.opened()
    house.turn(7)
    house.fill(wire)
    house.turn(9)
    assert not wire.aborted
    house.turn(1)
    assert wire.aborted


@pytest.mark.parametrize("taken,cut", [(MIN_TAKEN_BYTES, False), (MIN_TAKEN_BYTES - 1, True)])
async def test_a_client_that_takes_a_little_is_slow_not_gone(taken: int, cut: bool) -> None:
    """But little has a bound: who takes a byte now and then would hold a full wire for hours."""
    house = House()
    _, wire = house.opened()
    house.fill(wire)
    wire.taken = Taken("by hand", taken)
    house.turn(10)
    assert wire.aborted == cut


async def test_a_slow_client_has_to_go_on_taking() -> None:
    """What it took in one time-out does not count for the next."""
    house = House()
    _, wire = house.opened()
    house.fill(wire)
    house.turn(9)
    wire.taken = Taken("by hand", 10 * MIN_TAKEN_BYTES)
    house.turn(10)
    assert not wire.aborted
    house.turn(1)
    assert wire.aborted


async def test_what_is_taken_counts_from_the_write_that_filled_the_wire() -> None:
    """What the client took before is no sign that it reads on."""
    house = House()
    _, wire = house.opened()
    wire.taken = Taken("by hand", 10 * MIN_TAKEN_BYTES)
    house.fill(wire)
    house.turn(10)
    assert wire.aborted


async def test_a_client_that_took_it_in_time_is_not_cut() -> None:
    """It was slow for a while; it is not any more."""
    house = House()
    _, wire = house.opened()
    house.fill(wire)
    house.turn(9)
    wire.fills, wire.open = False, True
    wire.on_writable()
    house.turn(30)
    assert not wire.aborted


async def test_a_wire_that_the_reader_has_not_filled_is_watched_too() -> None:
    """From the next time that a heartbeat would be due."""
    house = House()
    _, wire = house.opened()
    wire.open = False
    house.turn(24)
    assert not wire.aborted
    house.turn(1)
    assert wire.aborted


async def test_a_farewell_that_cannot_be_said_ends_in_a_cut() -> None:
    """A drain waits for nobody longer than the send time-out."""
    house = House()
    subscription, wire = house.opened()
    wire.open = False
    subscription.end(GoingAway())
    house.turn(9)
    assert not wire.aborted
    house.turn(1)
    assert wire.aborted


async def test_an_exception_ends_one_client_and_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The others of the session are served in the same turn."""

    class Broken(ListWire):
        def write(self, data: bytes) -> None:
            if self.written:
                raise LookupError("on purpose")
            super().write(data)

    house = House()
    (subscription, broken), (_, wire) = house.opened(wire=Broken()), house.opened()
    house.produce(FakeRecord(0, value=b"v"))
    assert (["ready", "v"], True, 1011) == (
        names(wire),
        broken.aborted,
        getattr(subscription.farewell, "close_code", None),
    )
    assert ["a subscription failed"] == [each.message for each in caplog.records if each.levelno == logging.ERROR]


async def test_closing_leaves_tail_wheel_and_registry_and_may_be_done_twice() -> None:
    """Nothing of a connection outlives it."""
    house = House()
    subscription, wire = house.opened()
    for _ in range(2):
        subscription.close()
        assert (0, 0) == (len(house.hub), house.tail.sessions)
    house.turn(700)
    assert ["ready"] == names(wire)


async def test_a_farewell_to_one_who_has_gone_is_nothing() -> None:
    """A drain may come upon somebody who has just left: no timer is armed for them."""
    house = House()
    subscription, _ = house.opened()
    subscription.close()
    timers = len(armed(house))
    subscription.end(GoingAway())
    assert (len(armed(house)), subscription.farewell) == (timers, None)


def armed(house: House) -> list[Timer]:
    """Give all timers that have yet to fire."""
    return [timer for slot in house.wheel._slots.values() for timer in slot]


async def test_a_subscription_that_never_began_closes_all_the_same() -> None:
    """The client left between admission and the response's head."""
    house = House()
    subscription = house.admit()
    subscription.failed(LookupError())
    subscription.close()
    assert 0 == len(house.hub)


# Who may come in ---------------------------------------------------------------------------------------------------


def refusal(house: House, **who: Any) -> Refused:
    with pytest.raises(Refused) as caught:
        house.admit(**who)
    return caught.value


def test_a_session_that_the_token_does_not_name_is_forbidden_whatever_else() -> None:
    """It would be forbidden later as well: only then is it worth coming back."""
    assert Forbidden is type(refusal(House(waiting=["topic t, partition 0 has not told its end yet"]), session="other"))


def test_while_the_service_waits_everyone_comes_back() -> None:
    """For what it waits is the operator's: it names brokers and topics."""
    trouble = refusal(House(waiting=["Kafka has not answered yet"]))
    assert (ComeBack, "the service is not ready yet") == (type(trouble), trouble.detail)


def test_a_subject_has_only_so_many_connections() -> None:
    """One person's tabs take nobody else's place; what was closed counts no more."""
    house = House()
    first, _ = house.admit(), house.admit()
    trouble = refusal(house)
    assert (TooManyConnections, "this subject has 2 connections already") == (type(trouble), trouble.detail)
    house.admit(subject="grace")
    first.close()
    house.admit()


def test_the_service_has_only_so_many_connections() -> None:
    """Whoever they belong to."""
    house = House()
    for subject in "abcd":
        house.admit(subject=subject)
    assert (TooManyConnections, 4) == (type(refusal(house, subject="e")), len(house.hub))


def test_the_count_of_a_subject_returns_to_zero() -> None:
    """A subject that has gone leaves nothing behind."""
    house = House()
    for _ in range(3):
        for subscription in [house.admit(), house.admit()]:
            subscription.close()
    assert {} == dict(house.hub._by_subject)


# Drain -------------------------------------------------------------------------------------------------------------


async def test_a_drain_ends_everyone_within_its_time_one_after_the_other() -> None:
    """So the other replicas are not stormed."""
    house = House()
    wires = [house.opened(subject=subject)[1] for subject in "abcd"]
    ended: list[tuple[float, int]] = []
    with leaping() as loop:
        begin = loop.time()
        drain = asyncio.create_task(house.hub.drain(8))
        while not drain.done():
            await asyncio.sleep(0.5)
            ended.append((loop.time() - begin, sum(wire.finished for wire in wires)))
    assert [1, 2, 3, 4] == sorted({count for _, count in ended})
    assert 6 <= ended[-1][0] <= 8
    assert {"going away"} == {fields(wire, "disconnect")["reason"] for wire in wires}


async def test_while_it_drains_nobody_is_admitted() -> None:
    """They are told to come back, and another replica takes them."""
    house = House()
    await house.hub.drain(5)
    assert Draining is type(refusal(house))


# What an operator sees -------------------------------------------------------------------------------------------


def lines(house: House, name: str) -> list[str]:
    """Give the samples of a metric that are not 0."""
    text = house.hub.metrics.render()[0].decode().splitlines()
    return [line.removeprefix(name) for line in text if line.startswith(name) and not line.endswith(" 0.0")]


async def test_deliveries_are_counted_by_transport() -> None:
    """Events and bytes of each write that a wire accepted."""
    house = House()
    _, sse = house.opened()
    house.opened(wire=FramesWire())
    house.produce(FakeRecord(0), FakeRecord(1))
    assert ['{transport="sse"} 2.0', '{transport="websocket"} 2.0'] == lines(house, "tailrace_delivered_events_total")
    assert house.hub.metrics.deliveries["sse"].bytes == len(sse.written[-1])


async def test_latency_is_since_the_oldest_events_time() -> None:
    """From Kafka's timestamp until the wire accepted the write."""
    house = House()
    house.opened()
    house.produce(FakeRecord(0, timestamp=998_000), FakeRecord(1, timestamp=999_000))
    assert ['{transport="sse"} 2.0'] == lines(house, "tailrace_delivery_latency_seconds_sum")


async def test_history_has_no_latency() -> None:
    """How old it is says nothing about the service; it is delivered all the same."""
    house = House()
    house.produce(FakeRecord(0))
    house.opened(Start(((0,),)))
    assert ['{transport="sse"} 1.0'] == lines(house, "tailrace_delivered_events_total")
    assert [] == lines(house, "tailrace_delivery_latency_seconds_count")


async def test_connections_are_counted_from_hello_to_farewell() -> None:
    """Open ones by transport, ended ones by who ended them."""
    house = House()
    first, _ = house.opened()
    second, _ = house.opened(wire=FramesWire())
    assert {"sse": 1, "websocket": 1} == house.hub.by_transport
    first.close()
    second.end(GoingAway())
    second.close()
    assert {} == house.hub.by_transport
    ended = lines(house, "tailrace_connections_ended_total")
    assert ['{reason="client_left"} 1.0', '{reason="going_away"} 1.0'] == ended


async def test_a_client_cut_for_being_slow_is_counted_as_that() -> None:
    """It took nothing for the send time-out."""
    house = House()
    subscription, wire = house.opened()
    house.fill(wire)
    house.turn(10)
    subscription.close()
    assert [" 1.0"] == lines(house, "tailrace_slow_clients_total")
    assert ['{reason="too_slow"} 1.0'] == lines(house, "tailrace_connections_ended_total")


async def test_readers_that_are_behind_are_counted() -> None:
    """Those that wait for this replica to reach their id, for example."""
    house = House()
    house.opened(Start(((5,),), resumed=True))
    house.opened()
    assert house.hub.catching_up == 1


async def test_a_sampled_event_is_traced_to_each_client() -> None:
    """With the transport and the connection's own id; an event without a trace costs one look."""
    house = House()
    subscription, _ = house.opened()
    sampled, _ = append(house.tail, FakeRecord(0), FakeRecord(1))
    sampled.trace = Trace(1, 2)
    for _ in house.tail.wake():
        pass
    assert [(0, "sse", subscription.id, sampled.arrival.at_ns)] == house.tracing.deliveries


async def test_what_a_client_resumes_with_was_handed_to_it_when_it_came() -> None:
    """How long it was away is no time of ours."""
    house = House()
    [sampled] = append(house.tail, FakeRecord(0))
    sampled.trace = Trace(1, 2)
    sampled.arrival.at_ns = 7
    came_ns = time.time_ns()
    house.opened(Start(((0,),), resumed=True))
    [(_, _, _, handed_ns)] = house.tracing.deliveries
    assert came_ns <= handed_ns


# What is logged.


def logged(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [each.message for each in caplog.records if each.levelno == level]


async def test_debug_follows_one_client_by_its_id(caplog: pytest.LogCaptureFixture) -> None:
    """From admission to the end; only here is its session named."""
    caplog.set_level(logging.DEBUG, "tailrace")
    subscription, _ = House().opened()
    subscription.close()
    assert ["admitted", "ended"] == logged(caplog, logging.DEBUG)
    assert {subscription.id} == {vars(each)["request_id"] for each in caplog.records}
    assert ("s", "the client left") == (vars(caplog.records[0])["session"], vars(caplog.records[1])["reason"])


async def test_one_who_was_never_served_did_not_end() -> None:
    """What is opened and what ends add up."""
    house = House()
    house.admit().close()
    ended = [line for line in house.hub.metrics.render()[0].decode().splitlines() if "_ended_total{" in line]
    assert {"0.0"} == {line.rpartition(" ")[2] for line in ended}


async def test_gaps_and_slow_clients_are_told_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Ten thousand clients that come back at once write one line, not ten thousand."""
    caplog.set_level(logging.INFO, "tailrace")
    house = House()
    for subject in ("ada", "grace"):
        house.opened(Start(((0,),), ("epoch",)), subject=subject)
    house.fill(*(house.opened(subject=subject)[1] for subject in ("ada", "grace")))
    house.turn(10)
    assert ["told a client of a gap: epoch", "cut a client that took nothing for 10 seconds"] == caplog.messages


async def test_a_drain_says_when_it_begins_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    """So an operator sees what the shutdown waits for."""
    caplog.set_level(logging.INFO, "tailrace")
    house = House()
    house.opened()
    await house.hub.drain(0)
    assert ["draining: 1 streams end within 0 seconds", "drained"] == caplog.messages
