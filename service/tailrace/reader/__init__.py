"""One subscriber's place in the tail: it pulls at its own pace, and is live or catching up.

Knows `tail` and `wire`; knows nothing of tokens, transports or Kafka. What lies below the tail's floor it has handed to
it by whoever can read it, `Replays`::

    flushing     `Reader`: its two phases, and `flush`, the one function that moves bytes
    catching_up  `CatchingUp`: the place of a reader that is not live, and what is due by it
    handed       `Handed`: what scans of the log have found for it, and it has not taken yet
    around       whom a reader reports to, and whom it asks

The rules that hold the promise (``tests/test_positions.py`` takes each out in turn, and each is needed):

1. A connection without an id is live at the replica's cut; what it is told is the reader's own position.
2. An entry below the floor makes that partition's tail events not due, however new they are.
3. Live only when dominated: the replica's cut reaches the vector, entry by entry.
4. An id with more partitions than this replica knows keeps them; with fewer, the missing entries are 0, exactly.
5. A jump empties the partition's tail and sends every reader to look, before next and floor move (`tail`).
6. Ids come from *taken* alone, never from what a replay has scanned ahead of the client.
"""

from tailrace.reader.around import Owner, Replays
from tailrace.reader.catching_up import CatchingUp
from tailrace.reader.flushing import MAX_FLUSH_BYTES, Reader
from tailrace.reader.handed import Gap, Handed, Place, Scan

__all__ = ["MAX_FLUSH_BYTES", "CatchingUp", "Gap", "Handed", "Owner", "Place", "Reader", "Replays", "Scan"]
