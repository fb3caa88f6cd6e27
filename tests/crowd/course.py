"""One client's ledger, judged as it grows: was all that it was given between there and here what it should have been?

Stops at the first thing that is wrong: what comes after it is mostly its consequence. An entry is judged once all that
had been sent to the session when it came has settled, so that nothing is called lost, or invented, only because its
acknowledgement was slower than its delivery.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import replace

from crowd.faults import Fault, Faulty, Wrong
from crowd.history import History, Kind, Record
from crowd.ids import Id, Log, NoId, read
from crowd.ledger import POSITION, Answered, Asked, Entry, Heard, Item, Ledger, Over
from crowd.standing import EVER, Standing
from crowd.turns import DISCONNECT, END, LIVE, READY, RESET, SKIPPED, Turns

OPEN = frozenset({101, 200})
SESSION_IS_OVER = 204
NO_NUMBER = -1


class Course:
    """Follows one ledger. ``events`` counts what was found right; ``fault`` is the first thing that was not."""

    def __init__(self, ledger: Ledger, history: History) -> None:
        self.ledger = ledger
        self.events = 0
        self.resets: Counter[str] = Counter()
        self.fault: Fault | None = None
        self.gone = False
        """Whether nothing will be added to the ledger."""
        self._history = history
        self._said = history.sessions[ledger.session]
        self.standing = Standing(history, self._said)
        self._turns = Turns()
        self._begin = ""
        self._waiting: deque[tuple[Entry, int]] = deque()
        self._ended = False
        self._last_good = "nothing"
        ledger.listener = self.take

    def take(self, entry: Entry) -> None:
        """Judge the entry now, or as soon as that is possible."""
        self._waiting.append((entry, self._said.sent))
        self.go_on()

    def go_on(self) -> None:
        """Judge all that can be judged by now."""
        while self._waiting and not self._history.held and self._waiting[0][1] <= self._said.settled_below:
            entry, _ = self._waiting.popleft()
            if self.fault is None:
                self._judge(entry)
            elif isinstance(entry, Heard):
                self._look_for_what_was_lacking(entry.item)

    @property
    def settled(self) -> bool:
        """Whether all of the ledger has been judged."""
        return not self._waiting

    def lacks(self) -> str:
        """Say what the client should have been given by now, and was not; empty where there is nothing."""
        if self.fault is not None or self._ended:
            return ""
        if self._waiting:
            return f"what it was given cannot be judged yet; {self._where}"
        if not self.standing.begun:
            return f"it was never told an id; {self._where}"
        if (record := self.standing.lacking()) is not None:
            return f"{record} did not come; {self._where}"
        return f"tailrace.live did not come; {self._where}" if self._turns.owes_live else ""

    def accuse(self, wrong: Wrong, sentence: str, lacking: Record | None = None) -> None:
        """Write down what is wrong, and what is lacking."""
        self.fault = Fault(wrong, self.ledger.client, self.ledger.session, sentence, lacking)

    @property
    def _where(self) -> str:
        return f"the last good one was {self._last_good}; {self.ledger.story}"

    def _judge(self, entry: Entry) -> None:
        try:
            if isinstance(entry, Heard):
                self._judge_item(entry.item, entry.at)
            elif isinstance(entry, Answered):
                self._judge_status(entry.status)
            elif isinstance(entry, Asked):
                self._turns, self._begin = Turns(entry.last_id, catches_up=entry.catches_up), entry.begin
            elif isinstance(entry, Over):
                self._judge_end(entry)
        except NoId as wrong:
            self.accuse(Wrong.LYING_ID, f"{wrong}; {self._where}")
        except Faulty as faulty:
            self.accuse(faulty.wrong, f"{faulty}; {self._where}", faulty.lacking)

    def _judge_status(self, status: int) -> None:
        if status not in OPEN and not (status == SESSION_IS_OVER and self._turns.presented.endswith(".end")):
            raise Faulty(Wrong.REFUSED, f"an honest request was answered with {status}")

    def _judge_end(self, end: Over) -> None:
        self._turns = Turns()
        self.standing.go_on()
        if end.malformed:
            raise Faulty(Wrong.MALFORMED, end.how)

    def _judge_item(self, item: Item, at: float) -> None:
        self._turns.check(item)
        self.standing.note(at)
        if item.name == RESET:
            self._reset(item, at)
            return
        self.standing.go_on()
        if item.name == SKIPPED or not item.is_control:
            self._event(item, at)
        elif item.name == READY:
            self._ready(item, at)
        elif item.name == LIVE:
            self.standing.claim(read(item.id), at)
            self._turns.live(item.fields["replayed"], self.standing.taken)
        elif item.name == END:
            self._end(read(item.id), at)
        elif item.name == DISCONNECT:
            self._disconnect(item, at)
        elif item.name == POSITION:
            self.standing.claim(read(item.id), at)

    def _ready(self, item: Item, at: float) -> None:
        if self.standing.begun:
            self.standing.claim(read(item.id), at)
        else:
            self.standing.begin(read(item.id), at)
            self.standing.check_beginning(self._begin, at)
        self._turns.ready(item.fields, self.ledger.session, self.standing.taken)

    def _reset(self, item: Item, at: float) -> None:
        reason = str(item.fields["reason"])
        self.standing.reset(read(item.id), reason, at)
        self._turns.reset()
        self.resets[reason] += 1

    def _disconnect(self, item: Item, at: float) -> None:
        if item.id:
            self.standing.claim(read(item.id), at)
        if not item.fields["reconnect"]:
            raise Faulty(Wrong.REFUSED, f"an honest client was told to stay away: {item.data}")

    def _end(self, id_: Id, at: float) -> None:
        self.standing.claim(id_, at)
        self._ended = True
        if not (id_.ended and (self.standing.at_the_end or self._said.doubtful)):
            raise Faulty(Wrong.INVENTED, "it was told the end of a session that goes on")

    # An event: what was said, and where its id says.

    def _event(self, item: Item, at: float) -> None:
        id_ = read(item.id)
        if id_.mark is None:
            raise Faulty(Wrong.LYING_ID, f"the id of an event names none: {item.id}")
        offset = id_.entries[id_.mark] - 1
        self.standing.check_epochs(id_)
        if offset < self._said.logs[id_.mark].forgotten_below:
            self.standing.step(id_.mark, offset)
        else:
            record = self._find(item, id_.mark, offset)
            self.standing.take(record, at)
            self._last_good = f"{record} under {item.id}"
        self.events += 1
        self.standing.claim(id_, at)

    def _find(self, item: Item, log: Log, offset: int) -> Record:
        if item.name == SKIPPED:
            record = self._said.logs[log].at(offset)
            if record is None and self._said.doubtful:  # it does not say which
                record = Record(log, offset, NO_NUMBER, Kind.SKIPPED, self._history.era(log, EVER))
                self._said.add(record)
            if record is None or record.kind is not Kind.SKIPPED:
                raise Faulty(Wrong.INVENTED, f"{record or f'offset {offset}'} came as skipped: {item.data}")
            return record
        session, number = numbered(item.data)
        if session != self.ledger.session:
            raise Faulty(Wrong.INVENTED, f"an event of another session came: {item.data[:80]!r}")
        if number in self._said.doubtful:
            self._said.add(Record(log, offset, number, Kind.EVENT, self._history.era(log, EVER)))
        record = self._said.find(number)
        if record is None:
            raise Faulty(Wrong.INVENTED, f"{item.data[:80]!r} came, which nobody said")
        if (record.log, record.offset) != (log, offset):
            came = f"{record} came as offset {offset} in partition {log[1]} of {log[0]}"
            raise Faulty(Wrong.LYING_ID, f"{came}: {item.data[:40]!r}", record)
        return record

    def _look_for_what_was_lacking(self, item: Item) -> None:
        """What seemed lost may come later: then it was the order that was wrong."""
        fault = self.fault
        if fault is None or fault.lacking is None or fault.wrong is not Wrong.LOSS or item.is_control:
            return
        if numbered(item.data) == (self.ledger.session, fault.lacking.number):
            sentence = f"{fault.sentence}; it came later, under {item.id}"
            self.fault = replace(fault, wrong=Wrong.DISORDER, sentence=sentence, lacking=None)


def numbered(data: str) -> tuple[str, int]:
    """Read session and number from an event's data; `NO_NUMBER` where there is none."""
    session, _, rest = data.partition(" ")
    number = rest.partition(" ")[0]
    return session, int(number) if number.isdecimal() else NO_NUMBER
