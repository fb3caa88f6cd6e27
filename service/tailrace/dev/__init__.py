"""A broker and something to read for `tailrace dev`: nothing to install but the extra ``dev``.

Knows nothing of the service: it gives an address, and that is all. The broker and the demo producer live in a process
of their own, so that a service can be killed and started again while they go on::

    __main__     the child process
    holding      the child process from outside, and the same in the foreground
    producer     an assistant's answers, streamed to a few sessions
    broker       librdkafka's embedded Kafka-protocol broker
"""

from tailrace.dev.broker import MAX_WAIT_MS, EmbeddedBroker
from tailrace.dev.holding import PARTITIONS, TOPIC, Demo, demo, environment, hold
from tailrace.dev.producer import SESSIONS, Beat, beats, stream

__all__ = [
    "MAX_WAIT_MS",
    "PARTITIONS",
    "SESSIONS",
    "TOPIC",
    "Beat",
    "Demo",
    "EmbeddedBroker",
    "beats",
    "demo",
    "environment",
    "hold",
    "stream",
]
