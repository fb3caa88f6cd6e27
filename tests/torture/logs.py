"""What a replica may write to its log: a line for what was done to it, and nothing else. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

HARMLESS = frozenset({"debug", "info"})
EXPECTED = (
    r"topic \S+ was deleted and made again",
    r"jumping from \d+ to \d+ in partition \d+ of topic \S+: retention",
    r"(a replay jumps|jumping) from \d+ to \d+.*: .* cannot be read.*",
    r"the broker \S+ .*",
)
"""Messages of the level ``warning`` and above that faults are told by."""
SHOWN_CHARACTERS = 2000


def unexpected(log: str) -> Iterator[str]:
    """Give the lines that nothing explains, shortened."""
    for line in log.splitlines():
        if not is_expected(line):
            yield line[:SHOWN_CHARACTERS]


def is_expected(line: str) -> bool:
    """Whether the line is JSON, and harmless or about what was done."""
    try:
        told: dict[str, Any] = json.loads(line)
    except ValueError:
        return False
    return told["level"] in HARMLESS or any(re.fullmatch(each, told["message"]) for each in EXPECTED)
