"""Ledgers against the history: proves that every client received every event once and in order within each partition,
from where it began to where it is now, or was told a reset with a reason at exactly that place; and says precisely
where not.
"""

from __future__ import annotations

from collections import Counter, defaultdict

from crowd.course import Course
from crowd.faults import Fault, Wrong
from crowd.history import KEPT_RECORDS, History, Said
from crowd.ids import Log
from crowd.ledger import Ledger

MAX_FAULTS = 1000
"""Kept: whoever reads more than the first few?"""


class Judge:
    """Judges all clients of a run. ``faults`` are those found so far; ``events`` were looked at and found right."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._courses: dict[Ledger, Course] = {}
        self._faults: list[Fault] = []
        self._events_of_gone = 0
        self._resets_of_gone: Counter[str] = Counter()
        self.clients = 0

    def follow(self, client: str, session: str) -> Ledger:
        """Give a new client its ledger."""
        self.clients += 1
        ledger = Ledger(client, session, self._history.clock)
        self._courses[ledger] = Course(ledger, self._history)
        return ledger

    def leave(self, ledger: Ledger) -> None:
        """The client has gone for good: nothing will be added to its ledger."""
        course = self._courses[ledger]
        course.gone = True
        self._settle(course)

    @property
    def events(self) -> int:
        return self._events_of_gone + sum(course.events for course in self._courses.values())

    @property
    def resets(self) -> int:
        return self.resets_by_reason.total()

    @property
    def resets_by_reason(self) -> Counter[str]:
        """Count the resets that had a cause."""
        return sum((course.resets for course in self._courses.values()), self._resets_of_gone)

    @property
    def faults(self) -> list[Fault]:
        found = [course.fault for course in self._courses.values() if course.fault is not None]
        return [*self._faults, *found][:MAX_FAULTS]

    def behind(self) -> dict[Ledger, str]:
        """Say what each client that has not gone should have been given by now and was not."""
        self._settle_all()
        lacking = {ledger: course.lacks() for ledger, course in self._courses.items()}
        return {ledger: words for ledger, words in lacking.items() if words}

    def settle(self) -> None:
        """Judge all that can be judged by now, and forget what nobody lacks any more. Call it every few seconds."""
        self._settle_all()
        self._forget()

    def close(self) -> None:
        """The run is over, and everyone has had time enough: what is still lacking is lost."""
        self.settle()
        for ledger, words in self.behind().items():
            course = self._courses[ledger]
            course.accuse(Wrong.LOSS, words, course.standing.lacking())
        for ledger in list(self._courses):
            self.leave(ledger)

    def _settle_all(self) -> None:
        for course in list(self._courses.values()):
            self._settle(course)

    def _settle(self, course: Course) -> None:
        course.go_on()
        if course.gone and course.settled:
            del self._courses[course.ledger]
            self._events_of_gone += course.events
            self._resets_of_gone += course.resets
            if course.fault is not None:
                self._faults.append(course.fault)

    def _forget(self) -> None:
        places: dict[str, list[dict[Log, int]]] = defaultdict(list)
        for ledger, course in self._courses.items():
            if course.fault is None:
                places[ledger.session].append(course.standing.place)
        for session, said in self._history.sessions.items():
            self._forget_of(said, places[session])

    @staticmethod
    def _forget_of(said: Said, places: list[dict[Log, int]]) -> None:
        for log, sequence in said.logs.items():
            if places:
                said.forget(log, min(place.get(log, 0) for place in places))
            else:
                said.forget(log, sequence.end, keep=KEPT_RECORDS)
