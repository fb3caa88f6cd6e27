"""How many files this process may have open: every connection is one.

Where more connections are let in than there are descriptors, Kafka is the first to lack one, at its next reconnect.
"""

from __future__ import annotations

import resource
from contextlib import suppress


def raise_limit() -> None:
    """Raise the soft limit to the hard one: the soft one, mostly 1024, is for programs that use ``select()``."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # where no limit is the hard one, the kernel may have another
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def missing(needed: int) -> int:
    """Return how many of ``needed`` descriptors the limit does not allow."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return 0 if soft == resource.RLIM_INFINITY else max(0, needed - soft)
