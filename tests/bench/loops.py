"""What one subject's loops over the whole log cost another who resumes: ``python -m bench.loops``.

Some streams of one subject ask for ``from=earliest``, are live, and begin again. Beside them somebody else comes back
again and again from a little below what memory holds. Told is how long that takes until ``tailrace.live``, alone and
beside the loops, and how much was read again meanwhile.
"""

from __future__ import annotations

import argparse
import http.client
import statistics
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from bench.measuring import PARTITIONS, Bench, take_our_core
from bench.produce import Sessions
from bench.storm import counters
from kafka_cluster import KafkaCluster
from real.service import ServiceProcess, token

READ_SECONDS = 120.0
SCANNED = "of as many records"


def read_until_live(
    service: ServiceProcess, granted: str, over: threading.Event, *, query: str = "", last_id: str = ""
) -> str:
    """Read a stream until it is live, or nobody wants it any more; give its last id."""
    connection = http.client.HTTPConnection(service.host_port, timeout=READ_SECONDS)
    with closing(connection):
        headers = {"authorization": f"Bearer {granted}", **({"last-event-id": last_id} if last_id else {})}
        connection.request("GET", f"/v1/sessions/nobody/events{query}", headers=headers)
        answer = connection.getresponse()
        last = ""
        while not over.is_set() and (line := answer.readline()):
            last = line.decode().partition(": ")[2].strip() if line.startswith(b"id: ") else last
            if line.startswith((b"event: tailrace.live", b"event: tailrace.disconnect")):
                break
    return last


class Loops(Bench):
    """One service, its log and those who read it."""

    def measure(self, records: int, behind: int, streams: int, subjects: int, tries: int) -> None:
        """Let somebody resume alone, and beside the loops."""
        topic = self._topic()
        to = Sessions(self._kafka.bootstrap, topic, 10_000, 1, linger_ms=5, name="h")
        for _ in range(records):
            to.produce(time.time())
        to.flush()
        with self._service(topic, tail_max_bytes="1MiB", warmup_seconds=0) as service:
            here = read_until_live(service, token("*"), threading.Event(), query="?from=tail")
            back = ".".join(
                [word if number < 2 else str(max(0, int(word) - behind // PARTITIONS))
                 for number, word in enumerate(here.split("."))]
            )  # fmt: skip
            print(f"{records} records; somebody lacks {behind}; {streams} streams of each of {subjects} subjects")
            self._tell("alone", service, back, tries)
            with self._looping(service, streams, subjects):
                time.sleep(self._seconds)
                self._tell("beside the loops", service, back, tries)

    def _tell(self, word: str, service: ServiceProcess, back: str, tries: int) -> None:
        took, before, begin = [], counters(service)[SCANNED], time.monotonic()
        for _ in range(tries):
            start = time.monotonic()
            read_until_live(service, token("*", subject="victim"), threading.Event(), last_id=back)
            took.append(time.monotonic() - start)
            time.sleep(0.2)
        rate = (counters(service)[SCANNED] - before) / (time.monotonic() - begin)
        milliseconds = " ".join(f"{1000 * each:.0f}" for each in took)
        print(f"  {word}: median {1000 * statistics.median(took):.0f} ms, most {1000 * max(took):.0f} ms;", end=" ")
        print(f"{rate:.0f} records/s read again [{milliseconds}]", flush=True)

    @contextmanager
    def _looping(self, service: ServiceProcess, streams: int, subjects: int) -> Iterator[None]:
        over = threading.Event()

        def loop(subject: int) -> None:
            while not over.is_set():
                read_until_live(service, token("*", subject=f"mallory{subject}"), over, query="?from=earliest")

        threads = [threading.Thread(target=loop, args=(number % subjects,)) for number in range(streams * subjects)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            over.set()
            service.kill()  # which ends what they read
            for thread in threads:
                thread.join()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--behind", type=int, default=50_000, help="records that somebody lacks")
    parser.add_argument("--streams", type=int, default=4, help="of each looping subject")
    parser.add_argument("--subjects", type=int, default=1, help="that loop")
    parser.add_argument("--tries", type=int, default=8)
    parser.add_argument("--seconds", type=float, default=4.0, help="for which the loops go on before")
    options = parser.parse_args()
    take_our_core()
    with closing(KafkaCluster()) as kafka, tempfile.TemporaryDirectory() as folder:
        kafka.start()
        loops = Loops(kafka, Path(folder), options.seconds)
        loops.measure(options.records, options.behind, options.streams, options.subjects, options.tries)


if __name__ == "__main__":
    main()
