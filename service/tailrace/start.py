"""The first thing that runs: what a signal means before there is anything to end politely.

To import the commands takes a second. A container's first process has no default for signals: a SIGTERM in that second
would be lost, and the container be killed half a minute later. For every other process the default of most signals is
to end it at once. What each means to us from the first moment on::

    SIGTERM, SIGINT              end: at once as long as nobody is served, politely while `server` serves
    SIGHUP                       ignored; at a terminal, whose end it tells of, it ends the process
    SIGPIPE, SIGXFSZ             ignored, as Python does: a write fails with an error that is handled where it is made
    those of `MEANINGLESS`       ignored: nobody here waits for them, and one sent by mistake must not cut every client
    SIGQUIT, SIGABRT             the kernel's default: they are sent to have an end, and a core dump, at once
    SIGSEGV, SIGBUS, SIGFPE,     the kernel's default: the process, or what it asked of the kernel, is broken
      SIGILL, SIGTRAP, SIGSYS
    SIGXCPU                      the kernel's default: a limit that somebody has set
    SIGKILL, SIGSTOP             nobody can change what they mean
    SIGCHLD, SIGCONT, SIGURG,    the kernel's default, which ends nothing
      SIGWINCH, SIGTSTP, SIGTTIN, SIGTTOU

Imports nothing before that is settled.
"""

from __future__ import annotations

import os
import signal
from types import FrameType

MEANINGLESS = (
    *("SIGUSR1", "SIGUSR2"),  # other daemons rotate logs or say how they are at these, so scripts send them around
    *("SIGALRM", "SIGVTALRM", "SIGPROF"),  # timers that a process sets for itself; we set none
    *("SIGIO", "SIGPOLL"),  # input, told to those who asked to be told; two names of one on Linux
    *("SIGPWR", "SIGSTKFLT", "SIGEMT"),  # power, and faults that no kernel reports any more
)
"""By name, because not every system has all of them. The real-time signals, which have numbers only, belong here."""


def main() -> None:
    """Run the command line: the console script ``tailrace``."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    for meaningless in _meaningless():
        signal.signal(meaningless, signal.SIG_IGN)
    if not os.isatty(0):  # else it says that the terminal has gone, and with it whoever could press Ctrl-C
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
    from tailrace.cli import main as commands  # noqa: PLC0415  see above

    commands()


def _meaningless() -> list[int]:
    """Return the numbers of `MEANINGLESS` that this system has, and of its real-time signals."""
    named = [int(getattr(signal, name)) for name in MEANINGLESS if hasattr(signal, name)]
    return [*named, *range(signal.SIGRTMIN, signal.SIGRTMAX + 1)] if hasattr(signal, "SIGRTMIN") else named


def _leave(number: int, _frame: FrameType | None) -> None:
    os._exit(128 + number)
