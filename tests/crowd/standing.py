"""Where one client stands in every log, and what each thing that it is given makes of that.

Everything that comes moves the client: an event by itself, any id by its word for all that lies before it, a reset by
what it admits. `Faulty` is raised where that word is not true.
"""

from __future__ import annotations

from collections.abc import Iterator

from crowd.faults import Faulty, Wrong
from crowd.history import History, Kind, Record, Said
from crowd.ids import Id, Log

EVER = float("inf")


class Standing:
    """One client's place in the logs. ``taken`` counts what it was given of them."""

    def __init__(self, history: History, said: Said) -> None:
        self.begun = False
        self.taken = 0
        self.place: dict[Log, int] = {}
        """The next offset of every log, as far as the client has been told."""
        self._history = history
        self._said = said
        self._epochs: frozenset[str] = frozenset()
        self._eras: dict[Log, int] = {}
        self._stood: dict[Log, list[int]] = {}
        """By log, where the client stood when the log was cut off, for each time."""
        self._latest: dict[Log, Kind] = {}
        self._before_resets: tuple[dict[Log, int], dict[Log, int]] | None = None

    def begin(self, id_: Id, at: float) -> None:
        """Stand where the id says, whatever was before."""
        self.begun = True
        self.place = dict(id_.entries)
        self._epochs = id_.epochs
        self._eras = {log: self._history.era(log, at) for log in id_.entries}

    def check_beginning(self, asked: str, at: float) -> None:
        """Say whether it begins after something that was asked for, as `crowd.asking.Ask.begin` has it."""
        name, _, value = asked.rpartition("=")
        if not (name == "since" or value == "earliest"):
            return
        since_ms = int(value) if name else 0
        for log, entry in self.place.items():
            if self._history.is_left(log[0], at):
                continue  # nobody is owed what a topic held that was deleted
            for record in self._said.logs[log].between(0, entry):
                if record.at_ms >= since_ms and self._history.gap_over(record, at) is None:
                    raise Faulty(Wrong.LOSS, f"it asked for {asked}, and begins after {record}", record)

    def note(self, at: float) -> None:
        """Something comes: remember where the client stood when a log was cut off; what follows is of its new end."""
        for log in self._history.cuts:
            stood = self._stood.setdefault(log, [])
            stood += [self.place.get(log, 0)] * (self._history.era(log, at) - len(stood))

    def go_on(self) -> None:
        """What comes is no reset, or belongs to another connection: those before it have been told."""
        self._before_resets = None

    @property
    def at_the_end(self) -> bool:
        """Whether the latest of some log was the session's end."""
        return Kind.END in self._latest.values()

    def lacking(self) -> Record | None:
        """Give the first of what the client has not been given; nobody is owed what a topic held that was deleted."""
        for log, sequence in self._said.logs.items():
            if log[0] in self._epochs or not self._history.is_left(log[0], EVER):
                for record in sequence.between(self.place.get(log, 0), sequence.end):
                    if record.kind is not Kind.END:
                        return record
        return None

    # An event: the next of its log.

    def take(self, record: Record, at: float) -> None:
        """Take what lies there, if it is its turn."""
        log = record.log
        cuts = list(zip(self._history.cuts.get(log, ()), self._stood.get(log, ()), strict=False))
        if any(stood > cut.end for cut, stood in cuts[self._eras.get(log, 0) : record.era]):
            raise Faulty(Wrong.MISSING_RESET, f"the log was cut off below where it stood, and {record} came untold")
        if (lacking := self._first_lacking(log, record.offset)) is not None:
            raise self._lost(lacking, Wrong.LOSS, f"{record} came", at)
        self._eras[log] = record.era
        self._latest[log] = record.kind
        self.step(log, record.offset)

    def step(self, log: Log, offset: int) -> None:
        """Take what lies there, though nobody remembers what it is."""
        if offset < (place := self.place.get(log, 0)):
            again = f"offset {offset} in partition {log[1]} of {log[0]} came, though all below {place} had been given"
            raise Faulty(Wrong.REPETITION, again)
        self.place[log] = offset + 1
        self.taken += 1

    # An id: a claim about every log.

    def claim(self, id_: Id, at: float) -> None:
        """Take an id's word for what the client has been given: in every log all that lies before its entry."""
        self.check_epochs(id_)
        for log in self._said.logs:
            if (lacking := self._first_lacking(log, id_.next_offset(log))) is not None:
                raise self._lost(lacking, Wrong.LYING_ID, "an id came that says it had been given", at)
        for log, entry in id_.entries.items():
            if entry < (before := self.place.get(log, 0)):
                where = f"in partition {log[1]} of {log[0]}"
                raise Faulty(Wrong.LYING_ID, f"an id goes back from offset {before} to {entry} {where}")
            self.place[log] = entry
        self._epochs = id_.epochs

    def check_epochs(self, id_: Id) -> None:
        """Say whether the id leaves a topic that it knew."""
        if left := self._epochs - id_.epochs:
            raise Faulty(Wrong.MISSING_RESET, f"the topic of epoch {', '.join(left)} was left untold")

    def _first_lacking(self, log: Log, end: int) -> Record | None:
        """Give the first record before ``end`` that was not given; a session's end is merely passed over."""
        for record in self._said.logs[log].between(self.place.get(log, 0), end):
            if record.kind is not Kind.END:
                return record
            self._latest[log] = record.kind
            self.place[log] = record.offset + 1
        return None

    def _lost(self, lacking: Record, wrong: Wrong, what: str, at: float) -> Faulty:
        if (gap := self._history.gap_over(lacking, at)) is not None:
            return Faulty(Wrong.MISSING_RESET, f"{what}; {lacking} did not, and no reset told why ({gap.reason})")
        return Faulty(wrong, f"{what}; {lacking} did not", lacking)

    # A reset: where continuity is broken.

    def reset(self, id_: Id, reason: str, at: float) -> None:
        """Take a reset: some fact must be its cause, and it may pass over nothing that is still there.

        Several in a row, one for each reason, have the same id: the first moves the client for all of them.
        """
        before, eras = self._before_resets = self._before_resets or (dict(self.place), dict(self._eras))
        if not self._history.backs(reason, before, eras, at):
            raise Faulty(Wrong.WRONG_RESET, f"a reset came for which there was no cause: {reason}")
        known = {epoch for epoch, _ in before}
        for passed in self._passed_over(before, id_):
            self._latest[passed.log] = passed.kind
            forgotten = self._history.forgetful and passed.log[0] not in known
            if not forgotten and passed.kind is not Kind.END and self._history.gap_over(passed, at) is None:
                over = f"a reset ({reason}) passes over {passed}, which is still there"
                raise Faulty(Wrong.WRONG_RESET, over, passed)
        for log, offset in before.items():
            goes_back = id_.next_offset(log) < offset and log[0] in id_.epochs
            if goes_back and not self._history.cut_below(log, offset, eras.get(log, 0), at):
                where = f"in partition {log[1]} of {log[0]}"
                raise Faulty(Wrong.WRONG_RESET, f"a reset ({reason}) goes back below offset {offset} {where}")
        self.begin(id_, at)

    def _passed_over(self, before: dict[Log, int], id_: Id) -> Iterator[Record]:
        for log, sequence in self._said.logs.items():
            yield from sequence.between(before.get(log, 0), id_.next_offset(log))
