"""The first thing that runs: what a signal means before there is anything to end politely.

To import the commands takes a second. A container's first process has no default for signals: a SIGTERM in that second
would be lost, and the container be killed half a minute later. Imports nothing before that is settled.
"""

from __future__ import annotations

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line: the console script ``tailrace``."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    if not os.isatty(0):  # else it says that the terminal has gone, and with it whoever could press Ctrl-C
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from tailrace.cli import main as commands  # noqa: PLC0415  see above

    commands()


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
