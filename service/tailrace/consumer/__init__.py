"""Kafka in: fetched batches become events in the tail, and the sessions they touch are woken.

Knows `kafka` and `tail`; knows no reader, no transport, no token. The tail's next offsets are the only truth: every
fetch starts from them, and nothing here holds an offset of its own::

    reading      `Consumer`: a task per leader that fetches, one that asks who leads; what to do in trouble
    warmup       where to begin in each partition, and when the tail is warm
    topology     which topics and partitions there are, in which incarnation, and who leads them
    beyond       readers whose id lies beyond the end of the log
    continuity   whether Kafka keeps all that it was given
    intake       one batch: decode, append, wake
    withheld     partitions that are left alone for a moment
    pace         how long a fetch may wait, by load
"""

from tailrace.consumer.intake import Intake
from tailrace.consumer.pace import IDLE_WAIT_MS
from tailrace.consumer.reading import Cluster, Consumer

__all__ = ["IDLE_WAIT_MS", "Cluster", "Consumer", "Intake"]
