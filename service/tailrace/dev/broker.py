"""An embedded broker: librdkafka's own Kafka-protocol broker, which comes inside confluent-kafka.

For `tailrace dev` and for tests; knows nothing of either. What it cannot do: keep its data beyond the process, find
offsets by time, or end a long poll early when a record comes (ask it with short waits, `MAX_WAIT_MS`). It gives one
batch per partition and fetch.
"""

from __future__ import annotations

import contextlib
import ctypes
import signal
from typing import TYPE_CHECKING, Any

from tailrace.errors import ConfigurationError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Self

MAX_WAIT_MS = 10
"""How long a fetch may wait at the embedded broker: it always waits to the end."""

FETCH = (1, 0, 11)
"""The request, and the versions of it that are answered: to a fetch by topic id (13) for a partition without a leader,
librdkafka's cluster ends the process with a segmentation fault (2.16)."""

MISSING = "the embedded broker needs the extra `dev`: pip install 'tailrace[dev]'"

_POINTER, _TEXT = ctypes.c_void_p, ctypes.c_char_p
_INT, _INT16, _INT64 = ctypes.c_int, ctypes.c_int16, ctypes.c_int64
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "rd_kafka_conf_new": (_POINTER, []),
    "rd_kafka_conf_set": (_INT, [_POINTER, _TEXT, _TEXT, _TEXT, ctypes.c_size_t]),
    "rd_kafka_new": (_POINTER, [_INT, _POINTER, _TEXT, ctypes.c_size_t]),
    "rd_kafka_destroy": (None, [_POINTER]),
    "rd_kafka_mock_cluster_new": (_POINTER, [_POINTER, _INT]),
    "rd_kafka_mock_cluster_destroy": (None, [_POINTER]),
    "rd_kafka_mock_cluster_bootstraps": (_TEXT, [_POINTER]),
    "rd_kafka_mock_set_apiversion": (_INT, [_POINTER, _INT16, _INT16, _INT16]),
    "rd_kafka_mock_topic_create": (_INT, [_POINTER, _TEXT, _INT, _INT]),
    "rd_kafka_mock_topic_delete": (_INT, [_POINTER, _TEXT]),
    "rd_kafka_mock_broker_set_down": (_INT, [_POINTER, _INT]),
    "rd_kafka_mock_broker_set_up": (_INT, [_POINTER, _INT]),
    "rd_kafka_mock_partition_set_leader": (_INT, [_POINTER, _TEXT, _INT, _INT]),
    "rd_kafka_mock_partition_delete_records": (_INT, [_POINTER, _TEXT, _INT, _INT64]),
}
"""librdkafka's ``rdkafka_mock.h``: what is called, what it gives, what it takes."""


def confluent() -> Any:
    """Import confluent_kafka, or raise a `ConfigurationError` that says how to get it."""
    try:
        import confluent_kafka  # noqa: PLC0415 - an optional extra
        import confluent_kafka.cimpl  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError([MISSING]) from error
    return confluent_kafka


@contextlib.contextmanager
def _signals_blocked() -> Iterator[None]:
    """Let threads that start here inherit a mask: a signal that interrupts the embedded broker's poll is its end."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class EmbeddedBroker:
    """A Kafka-protocol cluster in threads of this process, on free loopback ports; in memory, gone with `close`.

    Topics that a producer names are made with 4 partitions, unless `create_topic` came first. Node ids begin at 1.
    Raises `ConfigurationError` when the extra is not installed.
    """

    def __init__(self, brokers: int = 1) -> None:
        # The extension module is linked to librdkafka: its symbols are found through it, wherever the wheel put it.
        library = ctypes.CDLL(confluent().cimpl.__file__)
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(library, name)
            function.restype, function.argtypes = result, arguments
        self._library = library
        trouble = ctypes.create_string_buffer(512)
        settings = library.rd_kafka_conf_new()
        library.rd_kafka_conf_set(settings, b"log_level", b"2", trouble, 512)
        with _signals_blocked():
            self._client = library.rd_kafka_new(0, settings, trouble, 512)
            self._cluster = library.rd_kafka_mock_cluster_new(self._client, brokers) if self._client else None
        if not self._cluster:
            raise ConfigurationError([f"the embedded broker did not start: {trouble.value.decode()}"])
        self._call("set_apiversion", *FETCH)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def bootstrap(self) -> str:
        """Addresses of all brokers, host:port, with commas between."""
        return str(self._library.rd_kafka_mock_cluster_bootstraps(self._cluster).decode())

    def create_topic(self, topic: str, partitions: int, replicas: int = 1) -> None:
        """Make a topic; a replica on each of ``replicas`` brokers."""
        if min(partitions, replicas) < 1:  # librdkafka would abort the process
            raise ValueError(f"topic {topic}: {partitions} partitions on {replicas} brokers, at least one is needed")
        self._call("topic_create", topic.encode(), partitions, replicas)

    def delete_topic(self, topic: str) -> None:
        self._call("topic_delete", topic.encode())

    def down(self, node: int) -> None:
        """Cut a broker's connections and refuse new ones."""
        self._call("broker_set_down", node)

    def up(self, node: int) -> None:
        self._call("broker_set_up", node)

    def set_leader(self, topic: str, partition: int, node: int) -> None:
        """Make a broker lead a partition; -1 leaves it without a leader."""
        self._call("partition_set_leader", topic.encode(), partition, node)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Move the log's start to the offset ``before``, as retention does."""
        self._call("partition_delete_records", topic.encode(), partition, before)

    def close(self) -> None:
        """End the cluster; twice is once."""
        cluster, self._cluster = self._cluster, None
        if cluster:
            self._library.rd_kafka_mock_cluster_destroy(cluster)
            self._library.rd_kafka_destroy(self._client)

    def _call(self, what: str, *arguments: object) -> None:
        code = getattr(self._library, f"rd_kafka_mock_{what}")(self._cluster, *arguments)
        if code:
            raise RuntimeError(f"the embedded broker refused {what}{arguments}: error {code}")
