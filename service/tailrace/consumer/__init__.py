"""Kafka in: fetched batches become events in the tail, and the sessions they touch are woken.

Knows `kafka` and `tail`; knows no reader, no transport, no token. The tail's next offsets are the only truth: every
fetch starts from them, and nothing here holds an offset of its own::

    reading      `Consumer`: a task per leader that fetches, one that asks who leads; what to do in trouble
    warmup       where to begin in each partition, and when the tail is warm
    topology     which topics and partitions there are, in which incarnation, and who leads them
    asking       where the log ends now, and where it was at some time
    beyond       readers whose id lies beyond the end of the log
    continuity   whether Kafka keeps all that it was given
    intake       one batch: decode, append, wake
    withheld     partitions that are left alone for a moment
    pace         how long a fetch may wait, by load
"""

from tailrace.consumer.asking import Asking
from tailrace.consumer.intake import Intake
from tailrace.consumer.pace import IDLE_WAIT_MS, jittered
from tailrace.consumer.reading import CORRUPT_TRIES, Cluster, Consumer

__all__ = ["CORRUPT_TRIES", "IDLE_WAIT_MS", "Asking", "Cluster", "Consumer", "Intake", "jittered"]
