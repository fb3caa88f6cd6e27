"""The child process of `tailrace.dev.demo`: ``python -m tailrace.dev TOPIC PARTITIONS``.

Writes one JSON line with its broker's address, then holds until its input ends or a signal comes.
"""

from __future__ import annotations

import json
import os
import sys
import threading

from tailrace.dev.holding import hold


def main(topic: str, partitions: str) -> None:
    """Announce, and hold."""
    stop = threading.Event()

    def until_input_ends() -> None:
        while os.read(0, 4096):  # not sys.stdin: its lock, held by a waiting thread, aborts the interpreter's end
            pass
        stop.set()

    def announce(bootstrap: str) -> None:
        threading.Thread(target=until_input_ends, daemon=True).start()
        print(json.dumps({"bootstrap": bootstrap, "topic": topic}), flush=True)  # noqa: T201 - the parent reads it

    hold(topic, int(partitions), announce, stop)


if __name__ == "__main__":
    main(*sys.argv[1:])
