"""The first thing that runs: a signal in the second before the commands are there."""

from __future__ import annotations

import os
import pty
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tailrace import start

SLOW = """
import signal
import sys
import threading

class Slow:
    def find_spec(self, name, path=None, target=None):
        if name == "tailrace.cli":
            print("importing", flush=True)
            threading.Event().wait()

sys.meta_path.insert(0, Slow())
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, and what it runs, would hand on that it is ignored
from tailrace.start import main
main()
"""
"""Never gets as far as the commands."""


@contextmanager
def importing(stdin: int = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    """Run a process that imports the commands, for ever."""
    with subprocess.Popen(
        [sys.executable, "-c", SLOW], stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            process.stdout.readline()
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_before_anything_has_begun(number: signal.Signals) -> None:
    """It ends the process at once, without a word: also one whose signals have no default, as a container's first."""
    with importing() as process:
        process.send_signal(number)
        assert (process.communicate()[1], process.returncode) == ("", 128 + number)


def test_hang_up_without_a_terminal() -> None:
    """It is nothing to end for: nobody has gone."""
    with importing() as process:
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGRTMIN, signal.SIGRTMAX])
def test_signal_without_a_meaning(number: int) -> None:
    """It is ignored from the first moment on; its default would end the process."""
    with importing() as process:
        process.send_signal(number)
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 128 + signal.SIGTERM


def test_signal_that_asks_for_an_end_and_a_dump() -> None:
    """SIGQUIT keeps its default: whoever sends it wants no politeness."""
    with importing() as process:
        resource.prlimit(process.pid, resource.RLIMIT_CORE, (0, 0))
        process.send_signal(signal.SIGQUIT)
        assert process.wait() == -signal.SIGQUIT


def test_every_signal_is_accounted_for() -> None:
    """The table has each signal of this system: it is ignored, or the text says what it means."""
    told = set(re.findall(r"SIG[A-Z0-9]+", start.__doc__ or "")) | set(start.MEANINGLESS)
    aliases = {"SIGCLD", "SIGIOT", "SIGRTMIN", "SIGRTMAX"}
    assert {each for each in vars(signal) if re.fullmatch(r"SIG[A-Z0-9]+", each)} - aliases <= told


def test_hang_up_of_the_terminal() -> None:
    """Whoever could have pressed Ctrl-C has gone."""
    ours, theirs = pty.openpty()
    with importing(theirs) as process:
        process.send_signal(signal.SIGHUP)
        assert process.wait() == -signal.SIGHUP
    os.close(ours)
    os.close(theirs)


def test_then_the_commands_run() -> None:
    """With the arguments of the process."""
    command = [sys.executable, "-c", "from tailrace.start import main; main()", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("tailrace ")
