"""Three real Kafka brokers that replicate to each other, for tests in which leaders move.

Each node is broker and controller; any two of them are a majority. The kernel kills them when the tests' process ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from kafka_cluster import ADMIN_SECONDS, QUIET, RUN, START_SECONDS, STOP_SECONDS, free_ports, topics_of

if TYPE_CHECKING:
    from collections.abc import Callable

COUNT = 3
SETTINGS = """\
node.id={node}
controller.quorum.voters={voters}
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
min.insync.replicas=2
unclean.leader.election.enable=false
"""


class KafkaNodes:
    """Enter it to start all nodes, leave it to end them. Node ids begin at 1."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tailrace-kafka-nodes-"))
        ports = free_ports(2 * COUNT)
        self._ports = dict(enumerate(ports[:COUNT], 1))
        self._controller_ports = dict(enumerate(ports[COUNT:], 1))
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self.bootstrap = ",".join(f"127.0.0.1:{port}" for port in self._ports.values())

    def __enter__(self) -> Self:
        try:
            for node in self._ports:
                self.start(node)
            self.wait_until(lambda: len(self._brokers()) == COUNT)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def start(self, node: int) -> None:
        """Start a node, or start it again with the same log; does not wait for it. The thread that does it must
        live as long: the kernel takes its end for ours."""
        voters = ",".join(f"{each}@127.0.0.1:{port}" for each, port in self._controller_ports.items())
        settings = self._folder / f"{node}.properties"
        settings.write_text(SETTINGS.format(node=node, voters=voters))
        options = ["--port", str(self._ports[node]), "--controller-port", str(self._controller_ports[node])]
        options += ["--data", str(self._folder / str(node)), "--settings", str(settings)]
        command = [sys.executable, str(RUN), "--die-with", str(os.getpid()), *options]
        with self._log(node).open("ab") as log:
            self._processes[node] = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
            )

    def stop(self, node: int) -> None:
        """SIGTERM: it hands its leaderships over before it goes."""
        self._processes[node].terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._processes[node].wait(STOP_SECONDS)
        self.kill(node)

    def kill(self, node: int) -> None:
        """SIGKILL: a crash."""
        process = self._processes.pop(node)
        process.kill()
        process.wait()

    def freeze(self, node: int) -> None:
        """SIGSTOP: it answers nobody, and its connections stay open; after a while the others take over."""
        self._processes[node].send_signal(signal.SIGSTOP)

    def thaw(self, node: int) -> None:
        """SIGCONT, after `freeze`: for a moment it believes that it still leads."""
        self._processes[node].send_signal(signal.SIGCONT)

    def close(self) -> None:
        """End all and remove their logs."""
        for node in list(self._processes):
            self.kill(node)
        shutil.rmtree(self._folder, ignore_errors=True)

    def create_topic(self, topic: str, partitions: int, **config: str) -> None:
        """Make a topic with a replica on every node, and return when all replicas follow; configuration keys with
        ``_`` for ``.``."""
        settings = {key.replace("_", "."): value for key, value in config.items()}
        admin = self._admin()
        admin.create_topics([NewTopic(topic, partitions, COUNT, config=settings)])[topic].result(ADMIN_SECONDS)
        self.wait_until(lambda: len(self.leaders(topic)) == partitions and self.in_sync(topic))

    def leaders(self, topic: str) -> dict[int, int]:
        """Give the node that leads each partition; not those that nobody leads."""
        return {number: each.leader for number, each in self._partitions(topic).items() if each.leader >= 0}

    def in_sync(self, topic: str) -> bool:
        """Whether every node holds all of the topic."""
        found = self._partitions(topic)
        return bool(found) and all(len(each.isrs) == COUNT for each in found.values())

    def _partitions(self, topic: str) -> dict[int, Any]:
        found = topics_of(self._admin()).get(topic)
        return {} if found is None else found.partitions

    def _brokers(self) -> dict[int, object]:
        with contextlib.suppress(KafkaException):  # none is there yet
            return dict(self._admin().list_topics(timeout=ADMIN_SECONDS).brokers)
        return {}

    def _admin(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self.bootstrap, **QUIET})

    def _log(self, node: int) -> Path:
        return self._folder / f"{node}.log"

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Poll until ``condition`` holds; raises with the last words of each node where that takes too long, or one of
        them has ended by itself."""
        give_up = time.monotonic() + START_SECONDS
        while not condition():
            if time.monotonic() > give_up or any(each.poll() is not None for each in self._processes.values()):
                words = "\n".join(self._log(node).read_text()[-2000:] for node in self._processes)
                raise RuntimeError(f"Kafka's nodes did not get there:\n{words}")
            time.sleep(0.05)
