"""The promise as a property: over random schedules, no event is lost or repeated without a reset.

Two replicas with different arrival orders, partitions added, replicas that know fewer of them, restarts, retention that
overtakes readers, replay and live reading, eviction under readers, clients that hop between replicas and are cut after
any frame. Real `Tail`, `Reader` and `Replay`; only the log and the clients are made up, and a schedule turns what tasks
would. The last tests take the rules of `reader` out one at a time, and each must be missed.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders import BODY, DECODER, EPOCH, Block, FakeOwner, FakeRecord
from tailrace.event import Event
from tailrace.kafka import Stretch
from tailrace.position import Position, Vector, parse
from tailrace.reader import CatchingUp, Reader
from tailrace.replay import Bounds, Pass, Replay
from tailrace.tail import Tail
from tailrace.timers import Wheel
from tailrace.view import VIEW_BYTES

SESSIONS = ["a", "b", "c"]


@dataclass
class Log:
    """Kafka: each partition a list of sessions (None: a record of nobody), and where it now starts."""

    partitions: list[list[str | None]] = field(default_factory=lambda: [[], [], []])
    start: list[int] = field(default_factory=lambda: [0, 0, 0])

    def add_partition(self) -> None:
        """Have one more, up to five."""
        if len(self.partitions) < 5:
            self.partitions.append([])
            self.start.append(0)

    def retain(self, rng: random.Random) -> None:
        """Let retention take some of one partition."""
        partition = rng.randrange(len(self.partitions))
        self.start[partition] = rng.randint(self.start[partition], len(self.partitions[partition]))


class Replica:
    """One replica of the service: a tail that holds few events, fed from the log in an order of its own."""

    def __init__(self, log: Log, rng: random.Random, tail_class: type[Tail]) -> None:
        self.log, self.rng, self._tail_class = log, rng, tail_class
        self._events, self._warmup = rng.choice([4, 8, 16]), rng.choice([3, 10])
        self.restart()

    def restart(self) -> None:
        self.tail = self._tail_class(["t"], self._events * 700 + len(SESSIONS) * VIEW_BYTES)
        self.replay = StepwiseReplay(self)
        self.learn()
        for partition, records in enumerate(self.log.partitions):
            self.tail.begin(0, partition, max(self.log.start[partition], len(records) - self._warmup))

    def learn(self) -> None:
        self.tail.learn(0, EPOCH, len(self.log.partitions))

    def consume(self) -> None:
        if self.rng.random() < 0.5:
            self._note_starts()
        known = self.tail.partitions(0)
        for partition in self.rng.sample(range(known), known):
            if self.tail.next_offset(0, partition) < self.log.start[partition]:
                self.tail.jump(0, partition, self.log.start[partition], "retention")
            begin = self.tail.next_offset(0, partition)
            self._append(partition, begin, min(len(self.log.partitions[partition]), begin + self.rng.randint(0, 3)))

    def _note_starts(self) -> None:
        for partition in range(self.tail.partitions(0)):
            self.tail.note_start(0, partition, self.log.start[partition])

    def _append(self, partition: int, begin: int, end: int) -> None:
        arrival = self.tail.arrival(0, partition)
        for offset in range(begin, end):
            if (session := self.log.partitions[partition][offset]) is None:
                self.tail.advance(0, partition, offset + 1)
            else:
                self.tail.append(DECODER.decode(record_of(offset, session), arrival))


class StepwiseReplay(Replay):
    """The real replay, whose passes read a piece of the log whenever the schedule says so.

    Those who lack more than others, or had more, have passes of their own beside theirs; each may give way at any time.
    """

    alike_records = 2
    alone_records = 600

    def __init__(self, replica: Replica) -> None:
        super().__init__(NO_SCANNER, replica.tail, DECODER, Bounds(bytes=replica.rng.choice([1, 4000]), records=10**9))
        self._replica = replica

    def step(self) -> None:
        """Begin a pass, or let one go on; its end comes, as in reality, some time after it has reached the floor."""
        log, rng = self._replica.log, self._replica.rng
        if len(self._turns) and (not self._at_work or rng.random() < 0.5):
            self.begin(self._turns.pop())
        elif self._at_work:
            one = rng.choice(list(self._at_work))
            if one.is_over() or rng.random() < 0.1:
                self.end(one)
            elif one.at < log.start[one.partition]:
                one.skip(log.start[one.partition], "retention")
            else:
                one.take(self._piece(one, min(one.at + rng.choice([1, 3, 20]), len(log.partitions[one.partition]))))

    def _piece(self, one: Pass, end: int) -> Stretch:
        found = enumerate(self._replica.log.partitions[one.partition][one.at : end], one.at)
        records = [record_of(offset, session) for offset, session in found]
        one.count(len(records))
        return Stretch("t", one.partition, records, end, -1, -1, -1, None)


NO_SCANNER: Any = None
"""Nothing reads by itself here."""


def record_of(offset: int, session: str | None) -> FakeRecord:
    """Make a record that says its offset; of nobody where there is no session."""
    return FakeRecord(offset, None if session is None else session.encode(), b"%d" % offset)


@dataclass(eq=False)
class Client:
    """Someone who reads one session, keeps the last id, and knows exactly what is owed to them."""

    session: str
    log: Log
    last: str | None = None
    owed_from: dict[int, int] | None = None
    reader: Reader | None = None
    replica: Replica | None = None

    def receive(self, block: Block) -> None:
        """Check one frame against the log: nothing of the session between what is owed and what came."""
        assert block.id is not None
        position = parse(block.id)
        entries = position.groups[0][1]
        if self.owed_from is None:
            self.owed_from = dict(enumerate(entries))
        self.last = block.id
        if block.event == "tailrace.reset":
            for partition, entry in enumerate(entries):
                assert [o for o in self.lost(partition, entry) if o >= self.log.start[partition]] == []
                self.owed_from[partition] = max(self.owed_from.get(partition, 0), entry)
        elif block.event == "":
            assert position.mark is not None
            partition = position.mark[1]
            offset = int(block.data)
            assert entries[partition] == offset + 1
            assert self.lost(partition, offset) == []
            assert offset >= self.owed_from.get(partition, 0), "repeated"
            self.owed_from[partition] = offset + 1

    def lost(self, partition: int, before: int) -> list[int]:
        """Give the offsets owed to the client that lie before the offset that came."""
        assert self.owed_from is not None
        records = self.log.partitions[partition]
        return [o for o in range(self.owed_from.get(partition, 0), before) if records[o] == self.session]


@dataclass(frozen=True)
class Rules:
    """What is on trial: the real classes, or one with a rule taken out."""

    reader: type[Reader] = Reader
    tail: type[Tail] = Tail
    ready_is_own: bool = True


def run(rng: random.Random, rules: Rules, steps: int) -> int:
    """Play one schedule; give the number of events received. Fails where the promise is broken."""
    log = Log()
    replicas = [Replica(log, rng, rules.tail) for _ in range(2)]
    clients = [Client(rng.choice(SESSIONS), log) for _ in range(3)]
    for _ in range(steps):
        _world_moves(rng, log, replicas, clients)
        _client_moves(rng, rng.choice(clients), replicas, rules)
    return _everyone_catches_up(log, replicas[0], clients, rules)


def _world_moves(rng: random.Random, log: Log, replicas: list[Replica], clients: list[Client]) -> None:
    action = rng.random()
    if action < 0.55:
        for _ in range(rng.randint(1, 3)):
            rng.choice(log.partitions).append(rng.choice([*SESSIONS, *SESSIONS, None]))
    elif action < 0.75:
        rng.choice(replicas).consume()
    elif action < 0.90:
        rng.choice(replicas).replay.step()
    elif action < 0.92:
        log.add_partition()
    elif action < 0.96:
        rng.choice(replicas).learn()
    elif action < 0.975:
        log.retain(rng)
    elif action < 0.985:
        _restart(rng.choice(replicas), clients)


def _restart(replica: Replica, clients: list[Client]) -> None:
    for client in clients:
        if client.replica is replica:
            client.reader = None
    replica.restart()


def _client_moves(rng: random.Random, client: Client, replicas: list[Replica], rules: Rules) -> None:
    if client.reader is None:
        _connect(client, rng.choice(replicas), rules)
    elif rng.random() < 0.15:
        _cut(client)
    elif rng.random() < 0.2:
        client.receive(Block(client.reader.position.text(), "position", ""))
    else:
        for _ in range(rng.randint(1, 4)):
            blocks = Block.all(client.reader.take(BODY, 1)[1].decode())
            for number, block in enumerate(blocks):
                client.receive(block)
                if number + 1 < len(blocks) and rng.random() < 0.1:
                    _cut(client)
                    return


def _connect(client: Client, replica: Replica, rules: Rules) -> None:
    taken = None if client.last is None else [list(parse(client.last).groups[0][1])]
    client.replica = replica
    client.reader = rules.reader(
        replica.tail, client.session, taken, FakeOwner(client.session), Wheel(), replica.replay
    )
    ready = client.reader.position if rules.ready_is_own else replica.tail.position
    client.receive(Block(ready.text(), "tailrace.ready", ""))


def _reconnected(client: Client, replica: Replica, rules: Rules) -> Reader:
    if client.reader is not None:
        _cut(client)
    _connect(client, replica, rules)
    assert client.reader is not None
    return client.reader


def _cut(client: Client) -> None:
    assert client.reader is not None
    client.reader.close()
    client.reader = None


def _everyone_catches_up(log: Log, replica: Replica, clients: list[Client], rules: Rules) -> int:
    replica.learn()
    replica.rng = random.Random(0)
    while replica.tail.position.offsets[0] != tuple(len(records) for records in log.partitions):
        replica.consume()
    readers = {client: _reconnected(client, replica, rules) for client in clients if client.last is not None}
    while not all(reader.live for reader in readers.values()):
        for _ in range(8):
            replica.replay.step()
        for client, reader in readers.items():
            for block in Block.all(reader.take(BODY, 1000)[1].decode()):
                client.receive(block)
    for client in readers:
        for partition, records in enumerate(log.partitions):
            assert client.lost(partition, len(records)) == []
    return replica.tail.arrived


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 200))
def test_no_event_is_lost_or_repeated_without_a_reset(seed: int, steps: int) -> None:
    """Whatever happens to replicas, log and connections, each client gets what it is owed, once and in order."""
    run(random.Random(seed), Rules(), steps)


@pytest.mark.parametrize("seed", range(8))
def test_long_schedules(seed: int) -> None:
    """The same over long schedules, ten per seed; events do flow in them."""
    assert sum(run(random.Random(seed * 1000 + n), Rules(), steps=600) for n in range(10)) > 1000


class DueBelowTheFloor(CatchingUp):
    """Rule 2 taken out: tail events are due although older ones lie below the floor."""

    def is_due(self, event: Event) -> bool:
        return event.offset >= self._taken.entry(0, event.arrival.partition)


class NotDominated(CatchingUp):
    """Rule 3 taken out: live although the replica has yet to reach the vector."""

    def may_go_live(self) -> bool:
        return not self.below


class UnknownPartitionsCutOff(CatchingUp):
    """Rule 4 taken out: partitions that this replica does not know are cut off."""

    def _pad(self) -> None:
        super()._pad()
        self._taken = Vector(offsets[: self._tail.partitions(0)] for offsets in self._taken.offsets)


class LeavingTail(Tail):
    """Rule 5 taken out: a jump moves next and floor, and leaves the tail and its readers as they are."""

    def jump(self, topic: int, partition: int, offset: int, reason: str) -> None:  # noqa: ARG002
        self.begin(topic, partition, offset)


class IdsFromScanned(CatchingUp):
    """Rule 6 taken out: ids say what a pass has scanned, not what the client was sent."""

    @property
    def position(self) -> Position:
        position = super().position
        for place, offset in self._handed.scanned():
            position = position.advanced(*place, max(offset, position.entry(*place)))
        return position


def without(rule: type[CatchingUp]) -> Rules:
    """Put a reader on trial that catches up by other rules."""
    return Rules(reader=type("Reader", (Reader,), {"catching_up": rule, "__slots__": ()}))


@pytest.mark.parametrize(
    "rules",
    [
        pytest.param(Rules(ready_is_own=False), id="1-ready-carries-the-replicas-cut"),
        pytest.param(without(DueBelowTheFloor), id="2-due-below-the-floor"),
        pytest.param(without(NotDominated), id="3-live-before-dominated"),
        pytest.param(without(UnknownPartitionsCutOff), id="4-unknown-partitions-cut-off"),
        pytest.param(Rules(tail=LeavingTail), id="5-a-jump-leaves-the-tail"),
        pytest.param(without(IdsFromScanned), id="6-ids-from-what-was-scanned"),
    ],
)
def test_each_rule_is_needed(rules: Rules) -> None:
    """With any one of the rules taken out, the property above fails: so it can fail."""

    def broken(seed: int) -> bool:
        try:
            run(random.Random(seed), rules, steps=150)
        except AssertionError:
            return True
        return False

    assert any(broken(seed) for seed in range(400))
