"""The process that attacks: ``python -m attack.attacker NAME JSON``.

Says "ready" in a line when all is prepared, begins at the next line of its standard input, and tells what it has sent,
as JSON, when its time is over. Ends by itself in any case.
"""

from __future__ import annotations

import asyncio
import json
import os
import resource
import sys
from dataclasses import asdict

import uvloop

from attack.measuring import Sent
from attack.table import ATTACKS
from attack.wires import Scene

NICE = 10
"""It shall not take the core from those who measure, nor from the service: two cores are not many."""
MORE_SECONDS = 60.0
"""After its time: for a batch that Kafka is still unpacking."""


def begin() -> None:
    """Say that all is ready, and wait for the word."""
    print(json.dumps("ready"), flush=True)
    if not sys.stdin.readline():
        sys.exit("whoever started the attack has gone")


async def attack(name: str, scene: Scene) -> Sent:
    """Attack, and return what was sent."""
    async with asyncio.timeout(None) as limit:
        started = scene.begin

        def begin_and_count() -> None:
            started()
            limit.reschedule(asyncio.get_running_loop().time() + scene.seconds + MORE_SECONDS)

        scene.begin = begin_and_count
        await ATTACKS[name].run(scene)
    tally = scene.tally
    return Sent(tally.connections, tally.requests, tally.bytes, dict(tally.notes))


def main(name: str, given: str) -> None:
    """Attack as the command line says."""
    os.nice(NICE)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    scene = Scene(**json.loads(given), begin=begin)
    print(json.dumps(asdict(uvloop.run(attack(name, scene)))), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
