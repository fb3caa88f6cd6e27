"""A real Apache Kafka for the tests: one node on free loopback ports, started by ``deploy/kafka/run.py``.

One per test session (the fixture ``kafka``). `kill` and a second `start` keep ports and log, as a crashed broker does;
`move` in between gives it another address; `freeze` stops it where it stands.
Where ``TEST_KAFKA_BOOTSTRAP`` names a broker (alone, node id 1), that one is used, and starting and stopping do
nothing. What cannot be started fails, with the broker's own words. The kernel kills the broker when the tests' process
ends, however it ends.
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined] # it re-exports them without saying so
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)
from confluent_kafka.cimpl import NewPartitions, NewTopic

from certificates import make_certificate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from concurrent.futures import Future

RUN = Path(__file__).parent.parent / "deploy" / "kafka" / "run.py"
START_SECONDS = 180.0
"""The first start on a machine also gets 45 jars."""
STOP_SECONDS = 20.0
ADMIN_SECONDS = 20.0
PATIENCE_SECONDS = 60.0
NOT_YET = frozenset(
    {
        KafkaError.BROKER_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.NOT_CONTROLLER,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.UNKNOWN_LEADER_EPOCH,
    }
)
"""What a broker says that has just come back, and does not know yet what the metadata says."""
UNANSWERED = frozenset(
    {
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError.NETWORK_EXCEPTION,
        KafkaError.REQUEST_TIMED_OUT,
    }
)
"""What is said where the broker does not answer, or not in time: it may have done what it was asked for."""
DONE = frozenset({KafkaError.INVALID_PARTITIONS, KafkaError.TOPIC_ALREADY_EXISTS, KafkaError.UNKNOWN_TOPIC_OR_PART})
"""What it says of something that it has done already."""
T = TypeVar("T")

USER, PASSWORD = "ada", "lovelace"
SECURE = """\
listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}
advertised.listeners={listeners}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SECURE:SASL_SSL,MUTUAL:SSL
ssl.keystore.type=PEM
ssl.keystore.location={keystore}
listener.name.mutual.ssl.client.auth=required
listener.name.mutual.ssl.truststore.type=PEM
listener.name.mutual.ssl.truststore.location={client}
listener.name.secure.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.secure.plain.sasl.jaas.config={plain} required user_{user}="{password}";
listener.name.secure.scram-sha-256.sasl.jaas.config={scram} required;
listener.name.secure.scram-sha-512.sasl.jaas.config={scram} required;
authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer
super.users=User:ANONYMOUS
log.cleaner.backoff.ms=100
log.flush.offset.checkpoint.interval.ms=1000
log.initial.task.delay.ms=500
log.retention.check.interval.ms=200
"""
"""A second listener with TLS and SASL. Who comes by the first may do all; `USER` only what `allow` grants. Compaction
and retention look soon for something to do."""


class KafkaCluster:
    """One broker, its ports and its log; `start` before use, `close` at the end. ``own``: it is ours in any case."""

    def __init__(self, *, own: bool = False) -> None:
        self._foreign = None if own else os.environ.get("TEST_KAFKA_BOOTSTRAP")
        self._folder = Path(tempfile.mkdtemp(prefix="tailrace-kafka-"))
        *self._ports, self._other_port = free_ports(5)
        self._process: subprocess.Popen[bytes] | None = None
        self._starter = ThreadPoolExecutor(1)  # the kernel ends the broker with the thread that started it
        self.bootstrap = self._foreign or f"127.0.0.1:{self._ports[0]}"
        self.secure_bootstrap = f"127.0.0.1:{self._ports[2]}"
        self.mutual_bootstrap = f"127.0.0.1:{self._ports[3]}"
        self._certificate = make_certificate(self._folder)
        self.client_certificate = make_certificate(self._folder, "client")

    @property
    def ours(self) -> bool:
        """Whether it may be stopped, killed and started again."""
        return self._foreign is None

    @property
    def pid(self) -> int | None:
        """The broker's process, where it is ours and runs."""
        return None if self._process is None else self._process.pid

    @property
    def both_bootstraps(self) -> str:
        """Where it is, and where it would be after `move`: what an operator writes who knows both."""
        return f"{self.bootstrap},127.0.0.1:{self._other_port}"

    def start(self) -> None:
        """Start the broker, or start it again, on the same ports and log; returns when it answers."""
        if self._foreign:
            return
        port, controller_port, *_ = map(str, self._ports)
        options = ["--port", port, "--controller-port", controller_port, "--data", str(self._folder / "data")]
        options += ["--settings", str(self._secure_settings())]
        options += ["--auto-create"]  # so that every test would notice a topic made by mere asking
        with self._log.open("wb") as log:
            command = [sys.executable, str(RUN), "--die-with", str(os.getpid()), *options]
            self._process = self._starter.submit(_started, command, log).result()
        self._wait_until_it_answers()

    @property
    def ca_file(self) -> str:
        """What a client of `secure_bootstrap` or `mutual_bootstrap` trusts."""
        return str(self._certificate.cert_file)

    def add_scram(self, mechanism: str) -> None:
        """Let `USER` in by SCRAM-SHA-256 or SCRAM-SHA-512, beside PLAIN."""
        info = ScramCredentialInfo(ScramMechanism[mechanism.replace("-", "_")], 4096)
        self._administer("alter_user_scram_credentials", [UserScramCredentialUpsertion(USER, info, PASSWORD.encode())])

    def allow(self, name: str, operation: str, *, kind: str = "TOPIC", user: str = USER) -> None:
        """Grant one operation (READ, DESCRIBE) on one topic, or on one resource of another kind (GROUP)."""
        what = (ResourceType[kind], name, ResourcePatternType.LITERAL)
        self._administer(
            "create_acls", [AclBinding(*what, f"User:{user}", "*", AclOperation[operation], AclPermissionType.ALLOW)]
        )

    def forbid(self, topic: str) -> None:
        """Take back all that `allow` granted on one topic."""
        what = (ResourceType.TOPIC, topic, ResourcePatternType.LITERAL)
        self._administer(
            "delete_acls", [AclBindingFilter(*what, f"User:{USER}", "*", AclOperation.ANY, AclPermissionType.ANY)]
        )

    def committed(self, group: str, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Give the offsets committed for a group, by (topic, partition), where there are any; joins nothing."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap, "group.id": group, **QUIET})
        try:
            found = consumer.committed([TopicPartition(*place) for place in places], ADMIN_SECONDS)
        finally:
            consumer.close()
        return {(each.topic, each.partition): each.offset for each in found if each.offset >= 0}

    def members(self, group: str) -> list[Any]:
        """Give the members of a group, as Kafka's tools show them."""
        admin = self._admin()
        [future] = admin.describe_consumer_groups([group]).values()
        return list(future.result(ADMIN_SECONDS).members)

    def stop(self) -> None:
        """SIGTERM: an orderly end."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.kill()
        self._process = None

    def kill(self) -> None:
        """SIGKILL: a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
        self._process = None

    def move(self) -> None:
        """Let the next `start` be at another address, with the same log; `bootstrap` follows. Twice is back."""
        self._ports[0], self._other_port = self._other_port, self._ports[0]
        self.bootstrap = f"127.0.0.1:{self._ports[0]}"

    def freeze(self) -> None:
        """SIGSTOP: it answers nobody, and its connections stay open."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT, after `freeze`."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def answers(self) -> bool:
        """Whether it runs and takes connections."""
        return self._foreign is not None or (self._process is not None and accepts(self._ports[0]))

    def close(self) -> None:
        """End the broker and remove its log."""
        self.kill()
        self._starter.shutdown()
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_topic(self, topic: str, partitions: int = 1, **config: str) -> None:
        """Make a topic and return when it has leaders; configuration keys with ``_`` for ``.``. Without a word of it
        in ``config`` records may be as old as they like: retention by time takes none."""
        settings = {key.replace("_", "."): value for key, value in ({"retention_ms": "-1"} | config).items()}
        new = NewTopic(topic, num_partitions=partitions, replication_factor=1, config=settings)
        self._administer("create_topics", [new])
        self.wait_for_leaders(topic, partitions)

    def create_partitions(self, topic: str, total: int) -> None:
        """Let a topic grow to ``total`` partitions and return when they have leaders."""
        self._administer("create_partitions", [NewPartitions(topic, total)])
        self.wait_for_leaders(topic, total)

    def delete_topic(self, topic: str) -> None:
        """Delete a topic and return when the broker no longer shows it."""
        self._administer("delete_topics", [topic])
        self.wait_for_leaders(topic, 0)

    def delete_records(self, topic: str, partition: int, before: int) -> None:
        """Move the log's start to the offset ``before``, as retention does."""
        self._administer("delete_records", [TopicPartition(topic, partition, before)])

    def configure(self, topic: str, **config: str) -> None:
        """Change a topic's configuration; keys with ``_`` for ``.``."""
        entries = [
            ConfigEntry(key.replace("_", "."), value, incremental_operation=AlterConfigOpType.SET)
            for key, value in config.items()
        ]
        resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=entries)
        self._administer("incremental_alter_configs", [resource])

    def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """Give the first offset of a log and the one after its last."""
        admin, place = self._admin(), TopicPartition(topic, partition)
        earliest: Any = OffsetSpec.earliest()  # type: ignore[no-untyped-call]  # the library's
        latest: Any = OffsetSpec.latest()  # type: ignore[no-untyped-call]

        def offset(spec: Any) -> int:
            found: int = admin.list_offsets({place: spec})[place].result(ADMIN_SECONDS).offset
            return found

        return patiently(lambda: offset(earliest)), patiently(lambda: offset(latest))

    def exists(self, topic: str) -> bool:
        """Whether the broker shows the topic."""
        return topic in topics_of(self._admin())

    def files(self, topic: str, partition: int) -> Path:
        """Give the folder that holds one log, for tests that damage it: see `kafka_logs`."""
        return self._folder / "data" / "log" / f"{topic}-{partition}"

    def segment(self, topic: str, partition: int) -> Path:
        """Give the file that holds the partition's first records."""
        return self.files(topic, partition) / f"{0:020}.log"

    def producer(self, **config: Any) -> Producer:
        """A producer; configuration keys with ``_`` for ``.``. It chooses partitions as Java's does."""
        settings = {key.replace("_", "."): value for key, value in config.items()}
        return Producer({"bootstrap.servers": self.bootstrap, "partitioner": "murmur2_random", **QUIET, **settings})

    @property
    def _log(self) -> Path:
        return self._folder / "broker.log"

    def _secure_settings(self) -> Path:
        where = {"PLAINTEXT": self.bootstrap, "SECURE": self.secure_bootstrap, "MUTUAL": self.mutual_bootstrap}
        keystore = self._folder / "keystore.pem"
        keystore.write_bytes(self._certificate.key_file.read_bytes() + self._certificate.cert_file.read_bytes())
        settings = self._folder / "secure.properties"
        settings.write_text(
            SECURE.format(
                listeners=",".join(f"{name}://{address}" for name, address in where.items()),
                controller_port=self._ports[1],
                keystore=keystore,
                client=self.client_certificate.cert_file,
                plain="org.apache.kafka.common.security.plain.PlainLoginModule",
                scram="org.apache.kafka.common.security.scram.ScramLoginModule",
                user=USER,
                password=PASSWORD,
            )
        )
        return settings

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, **QUIET})

    def _administer(self, what: str, items: list[Any]) -> None:
        """Have it done; it is done, too, where nobody answered at first, and then it turns out to be."""
        attempts = itertools.count()

        def attempt() -> None:
            again = next(attempts) > 0
            admin = self._admin()  # held: its answers die with it
            futures: dict[Any, Future[Any]] = getattr(admin, what)(items)
            for future in futures.values():
                try:
                    future.result(ADMIN_SECONDS)
                except KafkaException as failure:
                    if not (again and failure.args[0].code() in DONE):
                        raise

        patiently(attempt)

    def _wait_until_it_answers(self) -> None:
        give_up = time.monotonic() + START_SECONDS
        while not accepts(self._ports[0]):
            ended = self._process is None or self._process.poll() is not None
            if ended or time.monotonic() > give_up:
                self.kill()
                raise RuntimeError(f"Kafka did not start:\n{self._log.read_text()[-4000:]}")
            time.sleep(0.05)
        topics_of(self._admin())

    def wait_for_leaders(self, topic: str, partitions: int) -> None:
        """Return when so many partitions of a topic have a leader, and no other."""
        admin, give_up = self._admin(), time.monotonic() + PATIENCE_SECONDS
        while True:
            found = topics_of(admin).get(topic)
            led = [part for part in found.partitions.values() if part.leader >= 0] if found else []
            if len(led) == partitions:
                return
            if time.monotonic() > give_up:
                raise RuntimeError(f"topic {topic} has {len(led)} led partitions instead of {partitions}")
            time.sleep(0.02)


def patiently(ask: Callable[[], T]) -> T:
    """Give what ``ask`` gives, and ask again while the broker does not answer, or has yet to hear that it leads: it has
    just come back."""
    give_up = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return ask()
        except (KafkaException, TimeoutError) as failure:
            known = isinstance(failure, KafkaException) and failure.args[0].code() not in NOT_YET | UNANSWERED
            if known or time.monotonic() > give_up:
                raise
            time.sleep(0.05)


def topics_of(admin: AdminClient) -> dict[str, Any]:
    """Give all topics that the broker shows, by name."""
    return patiently(lambda: dict(admin.list_topics(timeout=ADMIN_SECONDS).topics))


def _started(command: list[str], log: BinaryIO) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)


QUIET: dict[str, Any] = {"log_level": 2, "error_cb": lambda _: None}
"""librdkafka prints every lost connection; a test that kills its broker knows."""


def accepts(port: int) -> bool:
    """Whether something listens on a loopback port."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on now, all different."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [int(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def produce(producer: Producer, topic: str, partition: int, values: Iterable[bytes | None], **more: Any) -> None:
    """Send records to one partition and wait until the broker has them."""
    failures: list[KafkaError] = []

    def delivered(error: KafkaError | None, _message: object) -> None:
        if error is not None:
            failures.append(error)

    for value in values:
        producer.produce(topic, value, partition=partition, on_delivery=delivered, **more)
    if producer.flush(ADMIN_SECONDS) or failures:
        raise KafkaException(*failures[:1])
