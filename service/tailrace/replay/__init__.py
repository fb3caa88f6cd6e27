"""What lies below the tail's floor: read from Kafka again, in passes that readers share, fair between subjects.

Knows `kafka`, `reader` and `tail`; holds no position of its own but that of the passes. Live reading goes on beside it,
on connections of its own::

    waiting      `Replay`: who waits for which partition, how many at once, the tasks
    turns        which of the passes that wait is next
    accounts     how much was read for each subject of late
    scanning     `Scanner`: reads one partition from where the pass begins to its end, whatever happens meanwhile
    passing      `Pass`: whom one pass serves, and what it hands to them
"""

from tailrace.replay.passing import Pass
from tailrace.replay.scanning import Scanner
from tailrace.replay.waiting import Bounds, Replay

__all__ = ["Bounds", "Pass", "Replay", "Scanner"]
