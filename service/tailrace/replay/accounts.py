"""How many records were read again for each subject of late; one that was read a minute ago counts a third.

So a subject that has everything read again in a loop can be told from one that comes back once. What is read for
several subjects is put on their accounts in even parts. Knows no reader and no pass. Lives as long as the service.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection

FADE_SECONDS = 60.0
"""After so long a record counts 1/e: at a steady rate an account holds a minute's records."""
FORGOTTEN_RECORDS = 1.0
"""An account that holds less is nobody's."""
PRUNE_AT = 1024
"""So many accounts there are before those that have faded are dropped; after that, twice as many as were left."""


class Accounts:
    """What was read for each subject. ``clock`` gives seconds; they may begin anywhere."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._records: dict[str, tuple[float, float]] = {}  # and when they were so many
        self._prune_at = PRUNE_AT

    def __len__(self) -> int:
        return len(self._records)

    def used(self, subject: str) -> float:
        """Return the records of the last minute."""
        records, at = self._records.get(subject, (0.0, 0.0))
        return records * math.exp((at - self._clock()) / FADE_SECONDS)

    def charge(self, subjects: Collection[str], records: float) -> None:
        """Put ``records`` on the accounts of ``subjects``, in even parts."""
        now, part = self._clock(), records / max(1, len(subjects))
        for subject in subjects:
            self._records[subject] = self.used(subject) + part, now
        if len(self._records) >= self._prune_at:
            self._prune()

    def _prune(self) -> None:
        self._records = {
            subject: account for subject, account in self._records.items() if self.used(subject) >= FORGOTTEN_RECORDS
        }
        self._prune_at = max(PRUNE_AT, 2 * len(self._records))


def seconds_until(records: float, used: float) -> float:
    """Return after how long an account that holds ``used`` holds no more than ``records``."""
    return FADE_SECONDS * math.log(used / records) if used > records else 0.0
