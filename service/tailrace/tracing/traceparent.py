"""The record header ``traceparent``: whose child the event's span will be.

Pure, and bounded: a producer may write anything into a header. Only sampled contexts are of use here, so all others are
None, as malformed ones are. `event` calls it once for each record that has the header.
"""

from __future__ import annotations

import re

from tailrace.event import Trace

LENGTH = 55
"""Of version 00: ``00-<32 hex digits>-<16 hex digits>-<2 hex digits>`` (W3C Trace Context, section 3.2)."""

_SAMPLED = b"13579bdf"
"""Last hex digits with bit 0 set. Bit 1, a random trace id (level 2), may be set beside it, and SDKs do."""

_FIELDS = re.compile(rb"(?!ff)[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")


def parse_traceparent(raw: bytes) -> Trace | None:
    """Read a ``traceparent``; None unless it is well-formed and sampled.

    Of a later version what 00 has is read, as its section 3.2.4 asks. At most `LENGTH` + 1 bytes are looked at.
    """
    if len(raw) < LENGTH or raw[LENGTH - 1] not in _SAMPLED:
        return None
    if len(raw) > LENGTH and (raw[:2] == b"00" or raw[LENGTH] != 0x2D):
        return None
    fields = _FIELDS.match(raw)
    return None if fields is None else Trace(int(fields[1], 16), int(fields[2], 16))
