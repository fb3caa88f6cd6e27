"""The limit of open files, in processes of their own: it can be lowered only once."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, resource
from tailrace.server import Server, Site, run
resource.setrlimit(resource.RLIMIT_NOFILE, ({soft}, {hard}))

async def nothing(*_):
    pass

async def main():
    server = Server([Site(nothing, "127.0.0.1", 0, max_sockets=n) for n in (300, 10)], drain=nothing)
    server.stop()
    await server.run()
    print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], [each.max_sockets for each in server._listeners])

run(main)
"""


def ran(soft: int, hard: int) -> tuple[str, str]:
    """Run a server of 310 sockets under these limits; give what it printed, and what it said on stderr."""
    code = PROGRAM.format(soft=soft, hard=hard)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return ended.stdout, ended.stderr


def test_soft_limit_is_raised_to_the_hard_one() -> None:
    """What the process may have is what it takes, and nothing is said where that is enough."""
    assert ran(64, 410) == ("410 [300, 10]\n", "")


def test_too_low_a_limit_is_told_and_kept_to() -> None:
    """Fewer connections are let in than were asked for, so that Kafka never lacks a descriptor; one warning says so."""
    out, err = ran(64, 400)
    assert out == "400 [290, 10]\n"
    assert err.startswith("only 290 connections are let in, 10 too few: raise the limit of open files (ulimit -n)")


def test_somebody_is_always_let_in() -> None:
    """However low the limit, it is a server."""
    assert ran(64, 90)[0] == "90 [1, 10]\n"
