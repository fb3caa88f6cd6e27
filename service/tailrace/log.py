"""One line per event on stderr: JSON for collectors, text for a person at a terminal.

Standard library only. Modules log to ``tailrace.<module>`` through a module variable named ``logger``; this file is the
only one that touches handlers and levels. Beside `config` at the bottom: everything may log, nothing need know how.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
import traceback
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    from types import TracebackType

_ORDINARY = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
"""What every log record has; the rest came in by ``extra``."""


SELDOM_SECONDS = 60.0
"""Between two lines of one reason: a producer that forgets its keys would otherwise write as much log as data."""


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that `configure` can be called again and replaces only what it made."""


def configure(level: str, log_format: str) -> None:
    """Send every log record to stderr; call once, at start, and again to change your mind.

    ``level`` is ``debug``, ``info``, ``warning`` or ``error`` and counts for tailrace; libraries speak from ``warning``
    up. ``log_format`` is ``text``, ``json``, or ``auto``: text at a terminal.
    """
    is_text = sys.stderr.isatty() if log_format == "auto" else log_format == "text"
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Text() if is_text else _Json())
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    for name, of_its_own in _levels(level.upper()).items():
        logging.getLogger(name).setLevel(of_its_own)


def _levels(level: str) -> dict[str | None, str]:
    debug = level == "DEBUG"
    return {
        None: "WARNING",
        "tailrace": level,
        "hypercorn": "DEBUG" if debug else "WARNING",  # it says at info where it listens: so do we
        "aiokafka": "DEBUG" if debug else "CRITICAL",  # an error per broker and second of an outage; ours is one line
        "opentelemetry": "DEBUG" if debug else "CRITICAL",  # the same for each batch that is lost
    }


class Seldom:
    """Logs what may happen with every record or client: the first of a reason at once, then one line a minute.

    A line tells how many like it were left out since the last. Reasons are words from the code, so there are few of
    them. ``clock`` gives seconds of any origin. Lives as long as whoever logs.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._told_at: dict[str, float] = {}
        self._left_out: Counter[str] = Counter()

    def log(self, level: int, reason: str, message: str, *values: object) -> None:
        """Write the line, with ``reason`` and ``left_out`` as extras, or count it as left out."""
        now = self._clock()
        if now - self._told_at.get(reason, -math.inf) < SELDOM_SECONDS:
            self._left_out[reason] += 1
            return
        self._told_at[reason] = now
        extra = {"reason": reason, "left_out": self._left_out.pop(reason, 0)}
        self._logger.log(level, message, *values, extra=extra)


class _Json(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message``, what came by ``extra``, ``exception``."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = _traceback(record.exc_info)
        return json.dumps(line, default=repr)  # ASCII, whatever the locale makes of stderr


class _Text(logging.Formatter):
    """Time, level, logger, message and extras on one line; a traceback below it, because a person reads it."""

    def format(self, record: logging.LogRecord) -> str:
        extras = "".join(f" {name}={value}" for name, value in _extra(record).items())
        line = f"{_time(record)} {record.levelname:<7} {record.name}: {_printable(record.getMessage() + extras)}"
        return f"{line}\n{_traceback(record.exc_info)}" if record.exc_info else line


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _extra(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _ORDINARY}


def _printable(text: str) -> str:
    """Escape control characters: what a client sent must not forge a line or speak to the terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def _traceback(
    exc_info: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
) -> str:
    return "".join(traceback.format_exception(exc_info[1])).rstrip()
