"""The commands in processes of their own, as they are run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

ANY_PORT = {"TAILRACE_BIND": "127.0.0.1:0", "TAILRACE_ADMIN_BIND": "127.0.0.1:0"}


@contextmanager
def process(*arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """Run a command in a process of its own, with no settings but ``environ``; it is gone at the end of the block."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("TAILRACE_")}
    with subprocess.Popen(
        [sys.executable, "-c", "from tailrace.start import main; main()", *arguments],
        env={**bare, "PYTHONPATH": os.pathsep.join(sys.path), **environ},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def listening(child: subprocess.Popen[str]) -> tuple[str, str, list[str]]:
    """Wait until it listens; give the addresses of both listeners, and the lines before that."""
    assert child.stderr is not None
    before: list[str] = []
    for line in child.stderr:
        if found := re.search(r"listening on (https?://[\w.:]+), health on (https?://[\w.:]+)", line):
            return found[1], found[2], before
        before.append(line)
    raise AssertionError("it ended before it listened")
