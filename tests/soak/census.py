"""Counts the inner state of the service, inside its process and on its loop.

Counted are tasks, timers, file descriptors, what the tail and the subscriptions hold, and the objects of every class
that is not Python's own. The tail and the caches are emptied first: what they hold is bounded, but never twice the
same; and empty, the tail shows whether anything has stayed behind of what it held.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import os
import sys
import tracemalloc
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, TypeVar

import psutil

from soak.state import CONNECTIONS, SUBSCRIPTIONS, State
from tailrace.first_message import FirstMessages
from tailrace.server.listener import Listener
from tailrace.service import Service

PYTHONS_OWN = frozenset(
    {"builtins", "types", "typing", "collections", "functools", "abc", "_thread", "weakref", "enum"}
)
"""Objects of these modules' classes are everywhere, and tell nothing by their number: their lines do."""
T = TypeVar("T")


def all_of(kind: type[T]) -> list[T]:
    """Find every object of a class."""
    return [each for each in gc.get_objects() if type(each) is kind]


def look() -> State:
    """Count what there is, quickly: is anybody there?"""
    [service] = all_of(Service)
    counts = {SUBSCRIPTIONS: len(service.subscriptions), CONNECTIONS: connections()}
    return State(counts, rss_bytes(), malloc_bytes(), 0)


def take() -> State:
    """Count everything, of a service that nobody uses; its tail is empty afterwards."""
    [service] = all_of(Service)
    empty(service)
    forget()
    collect()
    lines = allocated()  # first: a snapshot is large, and shall not be seen in what follows
    return replace(count(), lines=lines)


def count() -> State:
    """Count everything but memory by line."""
    [service] = all_of(Service)
    collect()
    counts = {
        **of_service(service),
        **{f"tasks in {name}": number for name, number in tasks().items()},
        **{f"open {name}": number for name, number in descriptors().items()},
        **{f"objects {name}": number for name, number in objects().items()},
    }
    return State(counts, rss_bytes(), malloc_bytes(), tracemalloc.get_traced_memory()[0])


def empty(service: Service) -> None:
    """Let the tail forget all events."""
    tail = service.tail
    kept, tail.max_bytes = tail.max_bytes, 0
    tail.evict()
    tail.max_bytes = kept


def forget() -> None:
    """Empty the service's caches."""
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == "tailrace":
            for each in vars(module).values():
                if hasattr(each, "cache_clear"):
                    each.cache_clear()


def of_service(service: Service) -> dict[str, int]:
    """Count what the service itself knows of."""
    tail, subscriptions = service.tail, service.subscriptions
    return {
        SUBSCRIPTIONS: len(subscriptions),
        CONNECTIONS: connections(),
        "subjects with connections": len(subscriptions._by_subject),
        "sockets waiting for a token": sum(map(len, all_of(FirstMessages))),
        "bytes in the tail": tail.bytes,
        "events in the tail": tail.events,
        "sessions in the tail": tail.sessions,
        "readers in the tail": sum(len(view.readers) for view in tail._views.values()),
        "readers ahead of the tail": len(tail.waiting),
        "sessions that wait for a turn": len(tail._touched),
        "readers that wait for a replay": service.replay.waiting,
        "passes of a replay": service.replay.at_work,
        "timers": sum(map(len, subscriptions.wheel._slots.values())),
    }


def connections() -> int:
    """Count the connections of all listeners."""
    return sum(len(listener._connections) for listener in all_of(Listener))


def tasks() -> Counter[str]:
    """Count tasks by what they run."""
    return Counter(str(getattr(task.get_coro(), "__qualname__", task.get_coro())) for task in asyncio.all_tasks())


def descriptors() -> Counter[str]:
    """Count file descriptors by what they are; connections by their state and the service's port, or the peer's."""
    found: Counter[str] = Counter()
    for descriptor in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the one by which this is listed
            name = str(descriptor.readlink())
            found[name.partition(":")[0] if name.startswith(("socket:", "pipe:")) else name] += 1
    for each in psutil.Process().net_connections("inet"):
        found[f"socket {each.status}"] += 1
    return found


def objects() -> Counter[str]:
    """Count objects by their class."""
    found: Counter[str] = Counter()
    for each in gc.get_objects():
        kind = type(each)
        if kind.__module__ not in PYTHONS_OWN:
            found[f"{kind.__module__}.{kind.__qualname__}"] += 1
    return found


def allocated() -> dict[str, tuple[int, int]]:
    """Give bytes and blocks by the line that allocated them; not what is here only to count them."""
    snapshot = tracemalloc.take_snapshot().filter_traces(
        [tracemalloc.Filter(False, tracemalloc.__file__), tracemalloc.Filter(False, __file__)]
    )
    return {str(each.traceback): (each.size, each.count) for each in snapshot.statistics("lineno")}


def collect() -> None:
    """Give back what is not in use: cycles to Python, and free memory to the system."""
    for _ in range(3):  # what a finalizer lets go of is found by the next
        gc.collect()
    ctypes.CDLL(None).malloc_trim(0)


class MallocInfo(ctypes.Structure):
    """glibc's ``mallinfo2``; other libraries have none."""

    _fields_: ClassVar = [
        (name, ctypes.c_size_t)
        for name in (
            "arena",
            "ordblks",
            "smblks",
            "hblks",
            "hblkhd",
            "usmblks",
            "fsmblks",
            "uordblks",
            "fordblks",
            "top",
        )
    ]


def malloc_bytes() -> int:
    """Give what is in use of the system's heap, in which Python has all but its small objects."""
    library = ctypes.CDLL(None)
    library.mallinfo2.restype = MallocInfo
    told = library.mallinfo2()
    return int(told.uordblks + told.hblkhd)


def rss_bytes() -> int:
    """Give the process's resident memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
