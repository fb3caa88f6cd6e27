"""How fast what lies below memory is read again, and what those feel of it who are live: ``python -m bench.replay``.

A log of many records that nobody waits for, and one that is all the client's own; each is read from its beginning, with
nobody beside it and beside a crowd that is live.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from bench.measuring import Bench, Stopwatch, Workload, service_port, take_our_core, wait_for, waited
from bench.native import Board
from bench.produce import EVENT_BYTES, Sessions
from bench.storm import beside, counters, herd
from kafka_cluster import KafkaCluster
from real.service import ServiceProcess, token

LIVE = Workload("sse", 1000, rate=2000)
"""The crowd that is live."""


@dataclass(frozen=True)
class Log:
    """What is read: ``records`` of so many sessions, of which ``clients`` read one each."""

    records: int
    sessions: int
    clients: int
    codec: str = "none"

    def __str__(self) -> str:
        whose = "all its own" if self.sessions == self.clients == 1 else f"of {self.sessions} sessions"
        who = "client" if self.clients == 1 else "clients"
        return f"{self.records} records, {whose}, {self.codec}, read by {self.clients} {who}"


class Replays(Bench):
    """All measurements, over one broker."""

    def measure(self, log: Log) -> None:
        """Read the log again, alone and beside others."""
        topic = self._topic()
        to = Sessions(self._kafka.bootstrap, topic, log.sessions, 1, linger_ms=5, name="h", codec=log.codec)
        for _ in range(log.records):
            to.produce(time.time())
        to.flush()
        print(log)
        for others in (False, True):
            with ExitStack() as stack:
                service = stack.enter_context(self._service(topic, tail_max_bytes="32MiB", warmup_seconds=0))
                board, file = stack.enter_context(self._board())
                if others:
                    stack.enter_context(
                        self._subscribed(LIVE, service_port(service), token("*", ttl_seconds=36_000), board, file)
                    )
                    stack.enter_context(self._producing(LIVE, topic, file, seconds=3600))
                self._read(service, log, board, others=others)

    def _read(self, service: ServiceProcess, log: Log, board: Board, *, others: bool) -> None:
        alone, before = ("", "")
        if others:
            wait_for(lambda: board.events > LIVE.rate, "the live crowd to be served")
            watch = Stopwatch(server=service.pid)
            before = beside(board, service, lambda: time.sleep(self._seconds))
            passed, took = watch.lap()
            alone = f"{100 * sum(took['server']) / passed:.0f} %"
        counted, held_up = counters(service), waited(service)
        watch = Stopwatch(server=service.pid, kafka=self._kafka.pid)
        file = self._folder / "herd"
        with herd(service, log.clients, file, spread=0.1, begin="from=earliest") as they:
            they.board.measure()
            meanwhile = beside(
                board,
                service,
                lambda: wait_for(lambda: they.board.ages >= log.clients, "everybody to be live", seconds=120),
            )
            passed, took = watch.lap()
            held_up = waited(service) - held_up
            scanned = {title: count - counted[title] for title, count in counters(service).items()}
            events, wrong = they.board.events, they.board.lost_connections
            told = they.stop()
        records = scanned["of as many records"]
        print(
            f"  {'beside ' + str(LIVE) if others else 'alone'}: {records} records scanned in {passed:.1f} s,",
            f"{records / passed:.0f}/s, {records * EVENT_BYTES / passed / 1e6:.1f} MB/s of values,",
            f"{scanned['replay fetches']} fetches; {events} events delivered;",
            f"server {per_cent(took['server'], passed)}, waiting for it {100 * held_up / passed:.0f} %,",
            f"kafka {per_cent(took['kafka'], passed)}; {1e6 * sum(took['server']) / max(1, records):.1f} µs a record",
        )
        if others:
            print(
                f"    live beside it, p50 / p99 / p99.9 ms:\n      {meanwhile}\n      before: {before}, server {alone}"
            )
        print(f"    wrong, and else: {told}; {wrong} wrong", flush=True)


def per_cent(took: tuple[float, float], passed: float) -> str:
    return f"{100 * sum(took) / passed:.0f} %"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=600_000)
    parser.add_argument("--own", type=int, default=200_000, help="records of the log that is all one client's own")
    parser.add_argument("--seconds", type=float, default=4.0, help="for which the live crowd is measured before")
    options = parser.parse_args()
    take_our_core()
    with closing(KafkaCluster()) as kafka, tempfile.TemporaryDirectory() as folder:
        kafka.start()
        replays = Replays(kafka, Path(folder), options.seconds)
        replays.warm_up()
        replays.measure(Log(options.records, 10_000, 1))
        replays.measure(Log(options.records, 10_000, 1, "lz4"))
        replays.measure(Log(options.records, 10_000, 2000))
        replays.measure(Log(options.own, 1, 1))


if __name__ == "__main__":
    main()
