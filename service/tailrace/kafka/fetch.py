"""One fetch: a question for a few partitions of one broker, and the `Stretch` that is made of each partition's answer.

Does no I/O and holds no position. `client` sends it; `fetch_wire` has its bytes; `unpacking` reads what each partition
brought.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from aiokafka.protocol.api import Request

from tailrace.kafka.batches import Cause
from tailrace.kafka.fetch_wire import API_KEY, FetchById, FetchByName, Question, Slice
from tailrace.kafka.troubles import BatchTrouble, CorruptBatch, NoMemory, OversizedBatch, trouble_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tailrace.errors import KafkaTrouble
    from tailrace.event import Record
    from tailrace.kafka.batches import Batches


class Stretch(NamedTuple):
    """What one fetch gave for one partition.

    ``next_offset`` is where to go on: past markers, aborted and compacted records. ``log_start``, ``high_watermark``
    and ``last_stable`` are offsets, -1 where the broker does not say. With ``trouble`` set, the records are those
    before it, and ``next_offset`` does not pass it. ``newest_ms`` is the greatest of all timestamps up to there, -1
    where there is none.
    """

    topic: str
    partition: int
    records: Sequence[Record]
    next_offset: int
    log_start: int
    high_watermark: int
    last_stable: int
    trouble: KafkaTrouble | None
    newest_ms: int = -1


class Fetch(Request[FetchByName | FetchById]):  # type: ignore[misc] # untyped base
    """Ask by id where the broker knows how and all ids are known; otherwise by name."""

    API_KEY = API_KEY

    def __init__(self, question: Question) -> None:
        self._question = question

    def prepare(self, versions: dict[int, tuple[int, int]]) -> FetchByName:
        """Return the request in a version that the broker knows; ``versions`` are its least and greatest, by key."""
        least, greatest = versions[self.API_KEY]
        if not self._question.ids.keys() >= self._question.offsets.keys():
            greatest = min(greatest, FetchByName.API_VERSION)
        return super().prepare({self.API_KEY: (least, greatest)})  # type: ignore[no-any-return]

    def build(self, struct: type[FetchByName]) -> FetchByName:
        return struct(self._question)


def stretch_of(part: Slice, batches: Batches, topic: str) -> Stretch:
    """Say what one partition of an answer to a fetch of ``topic`` gave; ``batches`` were read from its bytes."""
    trouble = trouble_of(part.error_code, topic, part.partition)
    if (bad := batches.unreadable) is not None:
        # The end of a damaged batch may be damaged too: never believe that it lies past the log's own end.
        end = max(min(bad.next_offset, part.high_watermark), batches.next_offset + 1)
        trouble = _TROUBLES[bad.cause](topic, part.partition, bad.first_offset, end, bad.reason)
    ends = (part.log_start, part.high_watermark, part.last_stable)
    return Stretch(topic, part.partition, batches.records, batches.next_offset, *ends, trouble, batches.newest_ms)


_TROUBLES: dict[Cause, type[BatchTrouble]] = {
    Cause.DAMAGED: CorruptBatch,
    Cause.OVERSIZED: OversizedBatch,
    Cause.NO_MEMORY: NoMemory,
}
