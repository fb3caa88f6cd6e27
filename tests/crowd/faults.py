"""What can be wrong with what a client was given."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from crowd.history import Record


class Wrong(Enum):
    """The kinds of it."""

    LOSS = "loss"
    REPETITION = "repetition"
    DISORDER = "disorder"
    LYING_ID = "an id that lies"
    WRONG_RESET = "a wrong reset"
    MISSING_RESET = "a missing reset"
    INVENTED = "something that was never said"
    OUT_OF_TURN = "something out of turn"
    REFUSED = "a refusal"
    MALFORMED = "bytes that cannot be read"


class Faulty(Exception):
    """What came is not what should have come; ``lacking`` is what should have, where that is known."""

    def __init__(self, wrong: Wrong, sentence: str, lacking: Record | None = None) -> None:
        super().__init__(sentence)
        self.wrong = wrong
        self.lacking = lacking


@dataclass(frozen=True)
class Fault:
    """What is wrong with one client's ledger, and the sentence that says so."""

    wrong: Wrong
    client: str
    session: str
    sentence: str
    lacking: Record | None = None
    """What should have come, where that is known."""

    def __str__(self) -> str:
        return f"{self.wrong.value}: {self.client}, session {self.session}: {self.sentence}"
