"""Who holds one of a limited number of places, and who has to leave when there is none for a newcomer.

It is the oldest holder of the source that holds most places. So a source that takes many places loses its own, and a
client of another source that has just come stays. Knows nothing of what the places are for. `server` keeps the
connections without an admitted stream here, `first_message` the sockets that owe a token.
"""

from __future__ import annotations

import ipaddress
from collections import defaultdict
from collections.abc import Hashable
from typing import Generic, TypeVar

Holder = TypeVar("Holder", bound=Hashable)

IPV6_PREFIX_BITS = 64
"""What one subscriber is given at least (RFC 6177 section 2): all of its addresses count as one."""


def source_of(client: tuple[str, int] | None) -> str:
    """Return what a client counts as: its IPv4 address, its IPv6 network, nothing where there is no address.

    Clients behind one proxy are one source.
    """
    host = client[0].partition("%")[0] if client else ""
    if ":" not in host:
        return host
    address = ipaddress.IPv6Address(host)
    if address.ipv4_mapped:
        return str(address.ipv4_mapped)
    return str(ipaddress.IPv6Network((address, IPV6_PREFIX_BITS), strict=False))


class Places(Generic[Holder]):
    """The holders, by source, the oldest of each first. All is done in constant time."""

    def __init__(self) -> None:
        self._holders: dict[str, dict[Holder, None]] = {}
        self._sources: defaultdict[int, dict[str, None]] = defaultdict(dict)
        """By how many places they hold."""
        self._most = 0
        self._all = 0

    def __len__(self) -> int:
        return self._all

    def add(self, source: str, holder: Holder) -> None:
        """Give a place to ``holder``; one that has it already keeps it."""
        holders = self._holders.setdefault(source, {})
        if holder in holders:
            return
        holders[holder] = None
        self._all += 1
        self._most = max(self._most, len(holders))
        self._move(source, len(holders) - 1, len(holders))

    def discard(self, source: str, holder: Holder) -> bool:
        """Take the place back; return whether ``holder`` had one."""
        holders = self._holders.get(source, {})
        if holder not in holders:
            return False
        del holders[holder]
        self._all -= 1
        self._move(source, len(holders) + 1, len(holders))
        if not self._sources[self._most]:
            del self._sources[self._most]
            self._most -= 1
        if not holders:
            del self._holders[source]
        return True

    def evict(self) -> Holder | None:
        """Take the place of the holder that has to leave next, and return that holder; None where there is none."""
        if not self._all:
            return None
        source = next(iter(self._sources[self._most]))
        leaver = next(iter(self._holders[source]))
        self.discard(source, leaver)
        return leaver

    def _move(self, source: str, before: int, now: int) -> None:
        if before:
            del self._sources[before][source]
            if not self._sources[before] and before != self._most:
                del self._sources[before]
        if now:
            self._sources[now][source] = None
