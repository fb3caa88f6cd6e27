"""The crowd's judge: it finds what is wrong with a ledger, names it, and takes nothing that is right for wrong."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest

from crowd.faults import Wrong
from crowd.history import History, Kind
from crowd.ids import Log, NoId, read
from crowd.judge import Judge
from crowd.ledger import POSITION, Item, Ledger
from crowd.turns import DISCONNECT, END, LIVE, READY, RESET, SKIPPED

E, F = "9f3a2c1d", "00c0ffee"
"""Two epochs."""


def an_id(*entries: int, mark: int | None = None, epoch: str = E, ended: bool = False) -> str:
    """Write an id of one topic."""
    texts = [f"{'-' if mark == partition else ''}{entry}" for partition, entry in enumerate(entries)]
    return ".".join(["v1", epoch, *texts]) + (".end" if ended else "")


class Scene:
    """One session in two partitions, one client, and a clock that is turned by hand."""

    def __init__(self) -> None:
        self.now = 0.0
        self.history = History(lambda: self.now)
        self.judge = Judge(self.history)
        self.ledger = self.judge.follow("ada", "s")

    def said(self, *offsets: int, partition: int = 0, epoch: str = E, kind: Kind = Kind.EVENT) -> None:
        """Something was said to the session, and came to lie there."""
        for offset in offsets:
            self.history.acknowledged((epoch, partition), offset, "s", self.history.sending("s"), kind)

    def welcome(self, id_: str, *, resumed: bool = False, ledger: Ledger | None = None) -> None:
        """The client connects and is welcomed."""
        ledger = ledger or self.ledger
        ledger.asked()
        ledger.answered(200)
        ledger.heard(Item(READY, json.dumps({"session": "s", "resumed": resumed}), id_))

    def back(self, id_: str = "", *, resumed: bool = True) -> None:
        """The client's connection is cut, and it is welcomed again, by default where it was."""
        self.ledger.over("cut")
        self.welcome(id_ or self.ledger.last_id, resumed=resumed)

    def event(self, number: int, *entries: int, mark: int = 0, epoch: str = E) -> None:
        """The client is given an event."""
        self.ledger.heard(Item("message", f"s {number} xxx", an_id(*entries, mark=mark, epoch=epoch)))

    def control(self, name: str, id_: str = "", **fields: Any) -> None:
        """The client is given one of the service's own."""
        self.ledger.heard(Item(name, json.dumps(fields), id_))

    @property
    def wrong(self) -> list[Wrong]:
        return [fault.wrong for fault in self.judge.faults]

    @property
    def sentence(self) -> str:
        [fault] = self.judge.faults
        return str(fault)


@pytest.fixture
def scene() -> Scene:
    """A session to which numbers 0 to 4 are said, in two partitions, and a client that was there before."""
    made = Scene()
    made.said(10, 11, 15)
    made.said(20, 21, partition=1)
    made.welcome(an_id(10, 20))
    return made


# What is right.


def test_everything_once_and_in_order(scene: Scene) -> None:
    """All events in the order of their partitions, however these are interleaved, under ids that say so."""
    scene.event(0, 11, 20)
    scene.event(3, 11, 21, mark=1)
    scene.event(1, 12, 21)
    scene.event(4, 12, 22, mark=1)
    scene.event(2, 16, 22)
    scene.judge.close()
    assert ([], 5) == (scene.wrong, scene.judge.events)


def test_going_on_where_it_was_cut(scene: Scene) -> None:
    """After a cut the rest comes, counted; an id that came alone names the place as well."""
    scene.event(0, 11, 20)
    scene.control(POSITION, an_id(11, 20))
    scene.back()
    scene.event(1, 12, 20)
    scene.event(3, 12, 21, mark=1)
    scene.control(LIVE, an_id(12, 21), replayed=2)
    scene.event(4, 12, 22, mark=1)
    scene.event(2, 16, 22)
    scene.judge.close()
    assert [] == scene.wrong


def test_an_acknowledgement_that_is_slower_than_the_delivery() -> None:
    """What comes before its producer has heard of it is judged once that has."""
    scene = Scene()
    scene.welcome(an_id(0))
    numbers = [scene.history.sending("s") for _ in range(2)]
    scene.event(0, 1)
    scene.event(1, 2)
    assert (0, []) == (scene.judge.events, scene.wrong)
    for number in reversed(numbers):
        scene.history.acknowledged((E, 0), number, "s", number)
    scene.judge.settle()
    assert (2, []) == (scene.judge.events, scene.wrong)


@pytest.mark.parametrize("comes", [True, False])
def test_what_nobody_knows_of(comes: bool) -> None:
    """What was never acknowledged may come or not."""
    scene = Scene()
    scene.welcome(an_id(0))
    scene.history.doubtful("s", scene.history.sending("s"))
    scene.said(1)
    if comes:
        scene.event(0, 1)
    scene.event(1, 2)
    assert [] == scene.wrong


def test_what_one_was_given_everyone_must_have() -> None:
    """What was never acknowledged, and came to one client, is no longer in doubt."""
    scene = Scene()
    other = scene.judge.follow("bob", "s")
    scene.welcome(an_id(0))
    scene.welcome(an_id(0), ledger=other)
    scene.history.doubtful("s", scene.history.sending("s"))
    scene.event(0, 1)
    assert [other] == list(scene.judge.behind())


def test_a_skip_and_an_end_that_nobody_knows_of() -> None:
    """They may be what was never acknowledged, which they do not name; whoever comes later must be told of the skip."""
    scene = Scene()
    other = scene.judge.follow("bob", "s")
    scene.welcome(an_id(0))
    scene.welcome(an_id(0), ledger=other)
    scene.history.doubtful("s", scene.history.sending("s"))
    scene.control(SKIPPED, an_id(1, mark=0), reason="illegal_type", topic="t", partition=0, offset=0)
    scene.control(END, an_id(2, ended=True))
    assert ([], [other]) == (scene.wrong, list(scene.judge.behind()))


def test_what_cannot_be_delivered(scene: Scene) -> None:
    """A record that must be skipped is one of its log like any other."""
    scene.said(16, kind=Kind.SKIPPED)
    for number, entry in enumerate((11, 12, 16)):
        scene.event(number, entry, 20)
    scene.control(SKIPPED, an_id(17, 20, mark=0), reason="illegal_type", topic="t", partition=0, offset=16)
    assert ([], 4) == (scene.wrong, scene.judge.events)


def test_the_end() -> None:
    """A session's end is told where nothing follows it; nothing more is owed to whoever was told."""
    scene = Scene()
    scene.said(0)
    scene.said(1, kind=Kind.END)
    scene.welcome(an_id(0))
    scene.event(0, 1)
    scene.control(END, an_id(2, ended=True))
    scene.said(2)
    scene.judge.close()
    assert [] == scene.wrong


def test_an_end_that_nobody_was_told() -> None:
    """Nobody is owed a session's end: it has no place among the events."""
    scene = Scene()
    scene.welcome(an_id(0))
    scene.said(0, kind=Kind.END)
    scene.judge.close()
    assert [] == scene.wrong


def test_coming_back_after_the_end() -> None:
    """Who has been told the end, and asks again, is told that there is nothing."""
    scene = Scene()
    scene.said(0, kind=Kind.END)
    scene.welcome(an_id(0))
    scene.control(END, an_id(1, ended=True))
    scene.ledger.over("ended")
    scene.ledger.asked()
    scene.ledger.answered(204)
    assert [] == scene.wrong


def test_an_end_that_is_passed_over() -> None:
    """Where something follows it, an end is passed over, and does not count among what was caught up."""
    scene = Scene()
    scene.welcome(an_id(0))
    scene.said(0, kind=Kind.END)
    scene.said(1)
    scene.back()
    scene.event(1, 2)
    scene.control(LIVE, an_id(2), replayed=1)
    assert [] == scene.wrong


def test_a_client_that_was_not_admitted(scene: Scene) -> None:
    """It is told to come back, without an id, and is owed all that it was owed before."""
    scene.ledger.over("cut")
    scene.ledger.asked()
    scene.ledger.answered(200)
    scene.control(DISCONNECT, code=1013, reconnect=True)
    assert (an_id(10, 20), []) == (scene.ledger.last_id, scene.wrong)
    assert "number 0" in scene.judge.behind()[scene.ledger]


def test_a_partition_that_was_added(scene: Scene) -> None:
    """An id that has more entries than the one before says of the new partitions what it says of the others."""
    scene.said(0, partition=2)
    scene.event(0, 11, 20)
    scene.event(5, 11, 20, 1, mark=2)
    assert [] == scene.wrong


# What is wrong.


def test_loss(scene: Scene) -> None:
    """An event that does not come is missed as soon as a later one of its log has come."""
    scene.event(0, 11, 20)
    scene.event(2, 16, 20)
    assert [Wrong.LOSS] == scene.wrong


def test_what_a_sentence_says(scene: Scene) -> None:
    """Who, what is missing and where it lies, what was the last good one, the ids around it, the connections."""
    scene.event(0, 11, 20)
    scene.back()
    scene.event(2, 16, 20)
    for word in ("ada", "session s", "number 1 (offset 11 in partition 0 of 9f3a2c1d)", "number 2 (offset 15"):
        assert word in scene.sentence
    assert "the last good one was number 0 (offset 10 in partition 0 of 9f3a2c1d) under v1.9f3a2c1d.-11.20" in (
        scene.sentence
    )
    assert "message under v1.9f3a2c1d.-16.20" in scene.sentence
    assert "#1 at 0.00 s without an id, 200, cut at 0.00 s; #2 at 0.00 s with v1.9f3a2c1d.-11.20, 200" in scene.sentence


def test_loss_at_the_end(scene: Scene) -> None:
    """What nothing comes after is missed when everybody has had time enough."""
    scene.event(0, 11, 20)
    scene.event(1, 12, 20)
    scene.judge.close()
    assert [Wrong.LOSS] == scene.wrong


def test_what_is_lost_stays_lost(scene: Scene) -> None:
    """Whatever else comes afterwards."""
    scene.event(0, 11, 20)
    scene.event(2, 16, 20)
    scene.event(3, 16, 21, mark=1)
    scene.control(POSITION, an_id(16, 21))
    assert [Wrong.LOSS] == scene.wrong


def test_a_client_that_was_never_welcomed() -> None:
    """A client that was told no id by the end was never there."""
    scene = Scene()
    scene.ledger.asked()
    scene.judge.close()
    assert [Wrong.LOSS] == scene.wrong
    assert "it was never told an id" in scene.sentence


def test_what_never_settles() -> None:
    """A run does not end well before it is known of everything what became of it."""
    scene = Scene()
    scene.welcome(an_id(0))
    scene.history.sending("s")
    scene.event(0, 1)
    scene.judge.close()
    assert [Wrong.LOSS] == scene.wrong
    assert "cannot be judged yet" in scene.sentence


def test_a_client_that_went_before_all_had_settled() -> None:
    """Its ledger is judged when that is possible."""
    scene = Scene()
    scene.welcome(an_id(0))
    number = scene.history.sending("s")
    scene.event(number, 5)
    scene.judge.leave(scene.ledger)
    scene.history.acknowledged((E, 0), 3, "s", number)
    scene.judge.settle()
    assert [Wrong.LYING_ID] == scene.wrong


def test_disorder(scene: Scene) -> None:
    """What was missed and comes later was not lost: the order was wrong."""
    scene.event(0, 11, 20)
    scene.event(2, 16, 20)
    scene.event(1, 12, 20)
    assert [Wrong.DISORDER] == scene.wrong
    assert "it came later, under v1.9f3a2c1d.-12.20" in scene.sentence


def test_repetition(scene: Scene) -> None:
    """The same event again, on the same connection."""
    scene.event(0, 11, 20)
    scene.event(0, 11, 20)
    assert [Wrong.REPETITION] == scene.wrong


def test_repetition_after_a_cut(scene: Scene) -> None:
    """The same event again, on the next connection."""
    scene.event(0, 11, 20)
    scene.event(1, 12, 20)
    scene.back()
    scene.event(1, 12, 20)
    assert [Wrong.REPETITION] == scene.wrong


@pytest.mark.parametrize("ids", [(12, 20), (11, 21)], ids=["its own partition", "another"])
def test_an_id_that_claims_too_much(scene: Scene, ids: Sequence[int]) -> None:
    """An id that lies beyond what the client was given would lose that on the next connection; also a last word's."""
    other = scene.judge.follow("bob", "s")
    scene.welcome(an_id(11, 20), ledger=other)
    scene.event(0, 11, 20)
    scene.control(POSITION, an_id(*ids))
    other.heard(Item(DISCONNECT, '{"reconnect": true}', an_id(*ids)))
    assert [Wrong.LYING_ID] * 2 == scene.wrong


def test_an_events_id_that_claims_too_much(scene: Scene) -> None:
    """So would that of an event, with what it says of the other partitions."""
    scene.event(0, 11, 22)
    assert [Wrong.LYING_ID] == scene.wrong


def test_a_welcome_beyond_the_id(scene: Scene) -> None:
    """A client that comes back is welcomed where it was, not further on."""
    scene.back(an_id(16, 20))
    assert [Wrong.LYING_ID] == scene.wrong


def test_an_id_that_goes_back(scene: Scene) -> None:
    """An id that lies before what the client was given would repeat that."""
    scene.event(0, 11, 20)
    scene.control(POSITION, an_id(11, 19))
    assert [Wrong.LYING_ID] == scene.wrong


def test_an_id_that_names_another_record(scene: Scene) -> None:
    """An event's id names the record that it is, also where nothing would be lost by it."""
    scene.event(0, 11, 20)
    scene.event(1, 12, 20)
    scene.event(2, 17, 20)
    assert [Wrong.LYING_ID] == scene.wrong
    assert "number 2 (offset 15 in partition 0 of 9f3a2c1d) came as offset 16" in scene.sentence


@pytest.mark.parametrize("text", ["", "v2.9f3a2c1d.-11.20", "v1.9f3a2c1d.-11.-20", "v1.9f3a2c1d.11.20", "v1.nonsense"])
def test_an_id_that_is_none(scene: Scene, text: str) -> None:
    """An event without an id, or under one that names nothing."""
    scene.ledger.heard(Item("message", "s 0 xxx", text))
    assert [Wrong.LYING_ID] == scene.wrong


@pytest.mark.parametrize("data", ["s 5 xxx", "s", "", "another 0 xxx"])
def test_what_was_never_said(scene: Scene, data: str) -> None:
    """A number that nobody gave out, something else altogether, something to another session."""
    scene.ledger.heard(Item("message", data, an_id(11, 20, mark=0)))
    assert [Wrong.INVENTED] == scene.wrong


def test_skipped_without_need(scene: Scene) -> None:
    """What can be delivered must be."""
    scene.control(SKIPPED, an_id(11, 20, mark=0), reason="too_large", topic="t", partition=0, offset=10)
    assert [Wrong.INVENTED] == scene.wrong


def test_an_end_that_is_none(scene: Scene) -> None:
    """A session that goes on is not called ended."""
    for number, entry in enumerate((11, 12, 16)):
        scene.event(number, entry, 20)
    scene.control(END, an_id(16, 20, ended=True))
    assert [Wrong.INVENTED] == scene.wrong


def test_a_wrong_count(scene: Scene) -> None:
    """`tailrace.live` says how many events were sent to catch up."""
    scene.back()
    scene.event(0, 11, 20)
    scene.control(LIVE, an_id(11, 20), replayed=2)
    assert [Wrong.OUT_OF_TURN] == scene.wrong


def test_live_twice(scene: Scene) -> None:
    """Once is enough, also where the count is right."""
    scene.back()
    scene.control(LIVE, an_id(10, 20), replayed=0)
    scene.control(LIVE, an_id(10, 20), replayed=0)
    assert [Wrong.OUT_OF_TURN] == scene.wrong


def test_a_welcome_to_another_session(scene: Scene) -> None:
    """A client is welcomed to what it asked for."""
    scene.ledger.over("cut")
    scene.ledger.asked()
    scene.control(READY, an_id(10, 20), session="another", resumed=True)
    assert [Wrong.INVENTED] == scene.wrong


def test_a_welcome_back_of_a_stranger() -> None:
    """Who brings no id has not resumed."""
    scene = Scene()
    scene.welcome(an_id(10, 20), resumed=True)
    assert [Wrong.OUT_OF_TURN] == scene.wrong


def test_live_is_owed_to_who_was_welcomed(scene: Scene) -> None:
    """A client that still asks is owed nothing but its events."""
    other = scene.judge.follow("bob", "s")
    scene.welcome(an_id(16, 22), ledger=other)
    other.over("cut")
    other.asked()
    assert other not in scene.judge.behind()


def test_live_does_not_come(scene: Scene) -> None:
    """A client that resumed is owed `tailrace.live` once it has everything."""
    scene.said(0, 1, partition=2)
    other = scene.judge.follow("bob", "s")
    scene.welcome(an_id(16, 22, 2), ledger=other)
    other.over("cut")
    scene.welcome(an_id(16, 22, 2), resumed=True, ledger=other)
    assert scene.judge.behind()[other].startswith("tailrace.live did not come")


@pytest.mark.parametrize(
    "names",
    [(READY,), (LIVE,), (DISCONNECT, POSITION), (END, POSITION)],
    ids=["a second welcome", "live where nothing was missed", "after the last word", "after the end"],
)
def test_out_of_turn(names: Sequence[str]) -> None:
    """What may come when."""
    scene = Scene()
    scene.said(0, kind=Kind.END)
    scene.welcome(an_id(0))
    for name in names:
        scene.control(name, an_id(1, ended=name == END), session="s", resumed=False, replayed=0, reconnect=True)
    assert [Wrong.OUT_OF_TURN] == scene.wrong


def test_no_welcome(scene: Scene) -> None:
    """Nothing comes before `tailrace.ready`."""
    scene.ledger.over("cut")
    scene.ledger.asked()
    scene.ledger.answered(200)
    scene.event(0, 11, 20)
    assert [Wrong.OUT_OF_TURN] == scene.wrong


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 429, 500, 503])
def test_refused(scene: Scene, status: int) -> None:
    """An honest client is given a stream; 204 is for those who know that the session has ended."""
    scene.ledger.over("cut")
    scene.ledger.asked()
    scene.ledger.answered(status)
    assert [Wrong.REFUSED] == scene.wrong


def test_told_to_stay_away(scene: Scene) -> None:
    """An honest client does nothing for which it could be told so."""
    scene.control(DISCONNECT, an_id(10, 20), code=4400, reconnect=False)
    assert [Wrong.REFUSED] == scene.wrong


def test_malformed(scene: Scene) -> None:
    """A client that cannot read what comes says so."""
    scene.ledger.over("could not be read", malformed=True)
    assert [Wrong.MALFORMED] == scene.wrong


# Where continuity is broken.


def retained(scene: Scene) -> None:
    scene.history.shortened((E, 0), 15, "retention")


def forgotten(scene: Scene) -> None:
    scene.history.shortened((E, 0), 15, "bounded")


def damaged(scene: Scene) -> None:
    scene.history.damaged((E, 0), 11, 15)


every_gap = pytest.mark.parametrize(
    "do, reason", [(retained, "retention"), (forgotten, "bounded"), (damaged, "unreadable")]
)


def test_where_one_goes_on_behind_what_cannot_be_read(scene: Scene) -> None:
    """For whoever looks into Kafka by themselves; what retention took hinders nobody."""
    for do in (retained, damaged):
        do(scene)
    scene.history.damaged((E, 0), 17, 18)
    scene.history.damaged((F, 0), 3, 4)
    assert {0: [15, 18]} == scene.history.holes(E)


@every_gap
def test_a_right_reset(scene: Scene, do: Any, reason: str) -> None:
    """Where records are gone, a client is told why, and goes on behind them."""
    scene.event(0, 11, 20)
    do(scene)
    scene.back()
    scene.control(RESET, an_id(15, 20), reason=reason, requested="")
    scene.event(2, 16, 20)
    assert ([], 1) == (scene.wrong, scene.judge.resets)


@every_gap
def test_a_missing_reset(scene: Scene, do: Any, reason: str) -> None:
    """Where records are gone, nobody goes on without a word; neither by an event nor by an id."""
    other = scene.judge.follow("bob", "s")
    scene.welcome(an_id(11, 20), ledger=other)
    scene.event(0, 11, 20)
    do(scene)
    scene.event(2, 16, 20)
    other.heard(Item(POSITION, "", an_id(15, 20)))
    assert [Wrong.MISSING_RESET] * 2 == scene.wrong
    assert reason in str(scene.judge.faults[0])


def test_what_is_gone_may_still_come(scene: Scene) -> None:
    """Memory may have what Kafka has removed: that it may be gone does not mean that it must be."""
    retained(scene)
    for number, entry in enumerate((11, 12, 16)):
        scene.event(number, entry, 20)
    assert [] == scene.wrong


@pytest.mark.parametrize("reason", ["retention", "bounded", "unreadable", "truncated", "epoch"])
def test_a_reset_without_a_cause(scene: Scene, reason: str) -> None:
    """Nothing has happened to the log."""
    scene.control(RESET, an_id(15, 20), reason=reason, requested="")
    assert [Wrong.WRONG_RESET] == scene.wrong


@pytest.mark.parametrize("reason", ["retention", "bounded", "unreadable"])
def test_a_reset_of_who_has_passed_the_gap(scene: Scene, reason: str) -> None:
    """Who already has what is gone is told nothing."""
    for number, entry in enumerate((11, 12, 16)):
        scene.event(number, entry, 20)
    scene.history.shortened((E, 0), 15, reason)
    scene.control(RESET, an_id(16, 20), reason=reason, requested="")
    assert [Wrong.WRONG_RESET] == scene.wrong


def test_a_loss_before_its_cause(scene: Scene) -> None:
    """What was not given while it was still there was lost."""
    scene.history.held = True
    scene.event(2, 16, 20)
    scene.now = 1.0
    retained(scene)
    scene.history.held = False
    scene.judge.settle()
    assert [Wrong.LOSS] == scene.wrong


def test_a_lost_end_before_it_was_lost(scene: Scene) -> None:
    """What happens later is no cause."""
    scene.history.held = True
    scene.event(0, 11, 20)
    scene.control(RESET, an_id(10, 20), reason="truncated", requested="")
    scene.now = 1.0
    scene.history.cut_off((E, 0), 10)
    scene.history.held = False
    scene.judge.settle()
    assert [Wrong.WRONG_RESET] == scene.wrong


def test_a_reset_before_its_cause(scene: Scene) -> None:
    """What happens later is no cause."""
    scene.history.held = True
    scene.control(RESET, an_id(15, 20), reason="retention", requested="")
    scene.now = 1.0
    retained(scene)
    scene.history.held = False
    scene.judge.settle()
    assert [Wrong.WRONG_RESET] == scene.wrong


def test_a_cause_that_is_learned_afterwards(scene: Scene) -> None:
    """Who learns only later what has happened holds the judgement meanwhile."""
    scene.now = 1.0
    scene.history.held = True
    scene.control(RESET, an_id(15, 20), reason="retention", requested="")
    scene.history.shortened((E, 0), 15, "retention", at=0.5)
    scene.history.held = False
    scene.judge.settle()
    assert [] == scene.wrong


def test_a_reset_with_a_wrong_reason(scene: Scene) -> None:
    """The reason is part of the promise."""
    retained(scene)
    scene.control(RESET, an_id(15, 20), reason="bounded", requested="")
    assert [Wrong.WRONG_RESET] == scene.wrong


@pytest.mark.parametrize("ids", [(16, 20), (15, 21), (15, 19)], ids=["too far", "another partition", "back"])
def test_a_reset_that_goes_too_far(scene: Scene, ids: Sequence[int]) -> None:
    """A reset passes over what is gone, and nothing else."""
    retained(scene)
    scene.control(RESET, an_id(*ids), reason="retention", requested="")
    assert [Wrong.WRONG_RESET] == scene.wrong


def test_a_reset_may_pass_over_an_end(scene: Scene) -> None:
    """It is told only where nothing comes after it; but there it is, a little later."""
    retained(scene)
    scene.said(22, partition=1, kind=Kind.END)
    scene.event(3, 10, 21, mark=1)
    scene.event(4, 10, 22, mark=1)
    scene.control(RESET, an_id(15, 23), reason="retention", requested="")
    scene.event(2, 16, 23)
    scene.control(END, an_id(16, 23, ended=True))
    assert [] == scene.wrong


def test_two_resets_at_once(scene: Scene) -> None:
    """Each reason is told by itself; all of them have the client's new place."""
    retained(scene)
    scene.history.damaged((E, 1), 20, 21)
    for reason in ("retention", "unreadable"):
        scene.control(RESET, an_id(15, 21), reason=reason, requested="")
    assert [] == scene.wrong


def cut_off(scene: Scene) -> None:
    """The client has all; then the log loses offset 15, and another record takes its place."""
    for number, entry in enumerate((11, 12, 16)):
        scene.event(number, entry, 20)
    scene.now = 1.0
    scene.history.cut_off((E, 0), 15)
    scene.said(15, 16)


def test_a_log_that_lost_its_end(scene: Scene) -> None:
    """Who had been given what is lost is told so, and goes on with what takes its place."""
    cut_off(scene)
    scene.control(RESET, an_id(15, 20), reason="truncated", requested="")
    scene.event(5, 16, 20)
    scene.event(6, 17, 20)
    assert [] == scene.wrong


def test_what_a_log_has_lost_is_owed_to_nobody(scene: Scene) -> None:
    """Who had not been given what is lost goes on with what takes its place."""
    scene.event(0, 11, 20)
    scene.event(1, 12, 20)
    scene.history.cut_off((E, 0), 15)
    scene.said(17)
    scene.event(5, 18, 20)
    assert [] == scene.wrong


def test_a_lost_end_that_is_not_told(scene: Scene) -> None:
    """Who had been given what is lost may not go on as if nothing had happened."""
    cut_off(scene)
    scene.event(6, 17, 20)
    assert [Wrong.MISSING_RESET] == scene.wrong


def test_a_lost_end_that_was_not_reached() -> None:
    """Who had not been given what is lost has lost nothing, and is told nothing."""
    scene = Scene()
    scene.welcome(an_id(10))
    scene.history.cut_off((E, 0), 15)
    scene.control(POSITION, an_id(20))
    scene.said(20)
    scene.event(0, 21)
    scene.control(RESET, an_id(21), reason="truncated", requested="")
    assert [Wrong.WRONG_RESET] == scene.wrong


def test_a_topic_made_again(scene: Scene) -> None:
    """What the old topic held is owed to nobody; of the new one everything is, once the client was told."""
    scene.history.remade(E)
    scene.said(0, 1, epoch=F)
    scene.control(RESET, an_id(0, 0, epoch=F), reason="epoch", requested="")
    scene.event(5, 1, 0, epoch=F)
    scene.event(6, 2, 0, epoch=F)
    scene.judge.close()
    assert [] == scene.wrong


def test_who_comes_back_to_a_topic_made_again(scene: Scene) -> None:
    """It is welcomed where it was, told, and led into the new topic; until then it lacks what that holds."""
    scene.history.remade(E)
    scene.said(0, epoch=F)
    scene.back(resumed=False)
    assert "number 0" in scene.judge.behind()[scene.ledger]
    scene.control(RESET, an_id(0, epoch=F), reason="epoch", requested="")
    assert "number 5" in scene.judge.behind()[scene.ledger]
    scene.event(5, 1, epoch=F)
    scene.control(LIVE, an_id(1, epoch=F), replayed=1)
    scene.judge.close()
    assert [] == scene.wrong


def test_a_topic_that_is_new(scene: Scene) -> None:
    """What another topic holds is owed to everyone from its beginning, also to who has never heard of it."""
    for number, entry in enumerate((11, 12, 16)):
        scene.event(number, entry, 20)
    scene.event(3, 16, 21, mark=1)
    scene.event(4, 16, 22, mark=1)
    scene.said(0, epoch=F)
    assert "number 5" in scene.judge.behind()[scene.ledger]


@pytest.mark.parametrize("how", ["event", "id"])
def test_a_topic_made_again_that_is_not_told(scene: Scene, how: str) -> None:
    """Nobody is led into a new topic without a word."""
    scene.history.remade(E)
    scene.said(0, epoch=F)
    if how == "event":
        scene.event(5, 1, epoch=F)
    else:
        scene.control(POSITION, an_id(0, epoch=F))
    assert [Wrong.MISSING_RESET] == scene.wrong


def test_a_reset_into_a_new_topic_that_goes_too_far(scene: Scene) -> None:
    """Of a new topic nothing is passed over that memory still has."""
    scene.history.remade(E)
    scene.said(0, epoch=F)
    scene.control(RESET, an_id(1, epoch=F), reason="epoch", requested="")
    assert [Wrong.WRONG_RESET] == scene.wrong


def test_a_reset_into_a_new_topic_beyond_memory(scene: Scene) -> None:
    """Where memory is known to be short, it may be; of a topic that is still the same that excuses nothing."""
    scene.history.forgetful = True
    scene.history.remade(E)
    scene.said(0, epoch=F)
    scene.control(RESET, an_id(1, epoch=F), reason="epoch", requested="")
    assert [] == scene.wrong
    scene.control(POSITION, an_id(1, epoch=F))
    scene.said(1, epoch=F)
    scene.history.remade(F)
    scene.control(RESET, an_id(2, epoch=F), reason="epoch", requested="")
    assert [Wrong.WRONG_RESET] == scene.wrong


@pytest.mark.parametrize("begin, wrong", [("earliest", 1), ("since=500", 1), ("since=501", 0), ("tail", 0)])
@pytest.mark.parametrize("left", [False, True])
def test_a_beginning_that_is_too_late(begin: str, wrong: int, left: bool) -> None:
    """Whoever asks for all, or for all since a time, begins before it; in a topic that was deleted there is nothing."""
    scene = Scene()
    scene.history.acknowledged((E, 0), 10, "s", scene.history.sending("s"), at_ms=500)
    if left:
        scene.history.remade(E)
    scene.ledger.asked(begin)
    scene.ledger.heard(Item(READY, json.dumps({"session": "s", "resumed": False}), an_id(11)))
    assert ([] if left else [Wrong.LOSS] * wrong) == scene.wrong


def test_a_beginning_after_a_gap(scene: Scene) -> None:
    """What is gone is not asked for."""
    scene.history.shortened((E, 0), 16, "retention")
    late = scene.judge.follow("bob", "s")
    late.asked("earliest")
    late.heard(Item(READY, json.dumps({"session": "s", "resumed": False}), an_id(16, 20)))
    assert [] == scene.wrong


def test_what_was_taken_back(scene: Scene) -> None:
    """What an aborted transaction said is owed to nobody, and nobody may be given it."""
    scene.history.taken_back("s", scene.history.sending("s"))
    assert [] == list(scene.judge.behind().values())[1:]
    scene.event(5, 20, 20)
    assert [Wrong.INVENTED] == scene.wrong


def test_an_id_not_taken_up(scene: Scene) -> None:
    """Who is welcomed as if without an id must be told a reset next."""
    scene.back(resumed=False)
    scene.event(0, 11, 20)
    assert [Wrong.MISSING_RESET] == scene.wrong


# What is kept.


def test_what_everybody_has_is_forgotten() -> None:
    """Memory does not grow with what was said, as long as the clients keep up."""
    scene = Scene()
    scene.welcome(an_id(0))
    for offset in range(1000):
        scene.said(offset)
        scene.event(offset, offset + 1)
        scene.judge.settle()
    said = scene.history.sessions["s"]
    assert ([], [], 1000) == (list(said.logs[E, 0].between(0, 1000)), scene.wrong, scene.judge.events)
    scene.event(7, 8)
    assert [Wrong.REPETITION] == scene.wrong


def test_what_one_lacks_is_kept(scene: Scene) -> None:
    """Whoever is away finds on return that nobody has forgotten what it lacks."""
    other = scene.judge.follow("bob", "s")
    scene.welcome(an_id(10, 20), ledger=other)
    for number, entry in enumerate((11, 12, 16)):
        scene.event(number, entry, 20)
    scene.judge.settle()
    other.heard(Item(POSITION, "", an_id(16, 20)))
    assert [Wrong.LYING_ID] == scene.wrong


def test_a_client_that_has_gone_is_still_counted(scene: Scene) -> None:
    """What it was given stays judged; what it would have been given next is owed to nobody."""
    scene.event(0, 11, 20)
    scene.judge.leave(scene.ledger)
    scene.judge.close()
    assert (1, 1, []) == (scene.judge.events, scene.judge.clients, scene.wrong)


def test_only_the_first_thing_is_told(scene: Scene) -> None:
    """What follows from it is not worth a sentence."""
    scene.event(2, 16, 20)
    scene.event(0, 11, 20)
    scene.event(0, 11, 20)
    scene.judge.leave(scene.ledger)
    assert [Wrong.DISORDER] == scene.wrong


# Ids.


@pytest.mark.parametrize(
    "text, entries, mark",
    [
        ("v1.0", {}, None),
        ("v1.9f3a2c1d.0.-7", {(E, 0): 0, (E, 1): 7}, (E, 1)),
        ("v1.9f3a2c1d~0", {}, None),
        ("v1.9f3a2c1d.3~00c0ffee.4.end", {(E, 0): 3, (F, 0): 4}, None),
    ],
)
def test_reading_an_id(text: str, entries: dict[Log, int], mark: Log | None) -> None:
    """Every log with its next offset, and the one whose record it is."""
    id_ = read(text)
    assert (entries, mark, text.endswith(".end")) == (id_.entries, id_.mark, id_.ended)


@pytest.mark.parametrize(
    "text", ["", "v1.", "v1.9f3a2c1d.01", "v1.9f3a2c1d.1~9f3a2c1d.1", "v1.9f3a2c1d.1 ", "v1.xyz.1"]
)
def test_reading_no_id(text: str) -> None:
    """Everything else is none."""
    with pytest.raises(NoId):
        read(text)
