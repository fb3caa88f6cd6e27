"""Log lines: their formats, and who may speak."""

from __future__ import annotations

import io
import json
import logging
import sys

import pytest

from tailrace import log


class Terminal(io.StringIO):
    """A stderr that a person looks at."""

    def isatty(self) -> bool:
        return True


def configured(monkeypatch: pytest.MonkeyPatch, level: str, log_format: str, stderr: io.StringIO) -> io.StringIO:
    """Configure logging to ``stderr``."""
    monkeypatch.setattr(sys, "stderr", stderr)
    log.configure(level, log_format)
    return stderr


def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time, level, logger, message and what came by ``extra`` are members; all in ASCII."""
    stderr = configured(monkeypatch, "info", "json", io.StringIO())
    logging.getLogger("tailrace.kafka").warning("broker %d is\naway", 1, extra={"topic": "tökens"})
    line = json.loads(stderr.getvalue())
    assert line.pop("time").endswith("Z")
    assert line == {"level": "warning", "logger": "tailrace.kafka", "message": "broker 1 is\naway", "topic": "tökens"}
    assert stderr.getvalue().count("\n") == 1
    assert stderr.getvalue().isascii()


def test_a_traceback_in_json_stays_on_the_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector that splits at line ends keeps the event whole."""
    stderr = configured(monkeypatch, "info", "json", io.StringIO())
    logging.getLogger("tailrace").error("it broke", exc_info=ValueError("why"))
    assert stderr.getvalue().count("\n") == 1
    assert json.loads(stderr.getvalue())["exception"].endswith("ValueError: why")


def test_text_is_one_line_whatever_the_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """Line ends and escape sequences from outside are made visible."""
    stderr = configured(monkeypatch, "info", "text", io.StringIO())
    logging.getLogger("tailrace").info("a\nb\x1b[31m", extra={"session": "c\rd"})
    assert stderr.getvalue().endswith(" INFO    tailrace: a\\nb\\x1b[31m session=c\\rd\n")


def test_text_shows_a_traceback_below(monkeypatch: pytest.MonkeyPatch) -> None:
    """A person reads it line by line."""
    stderr = configured(monkeypatch, "info", "text", io.StringIO())
    logging.getLogger("tailrace").error("it broke", exc_info=ValueError("why"))
    assert stderr.getvalue().splitlines()[-1] == "ValueError: why"


@pytest.mark.parametrize("stderr, expected", [(Terminal(), False), (io.StringIO(), True)])
def test_auto_is_text_at_a_terminal(monkeypatch: pytest.MonkeyPatch, stderr: io.StringIO, expected: bool) -> None:
    """Who looks at it decides."""
    configured(monkeypatch, "info", "auto", stderr)
    logging.getLogger("tailrace").info("hello")
    assert expected == stderr.getvalue().startswith("{")


@pytest.mark.parametrize(
    "level, expected",
    [
        ("info", ["tailrace info", "hypercorn warning", "aiokafka critical", "asyncio warning"]),
        (
            "debug",
            [
                *("tailrace debug", "tailrace info", "hypercorn debug", "hypercorn warning"),
                *("aiokafka debug", "aiokafka error", "aiokafka critical", "asyncio warning"),
            ],
        ),
        ("error", ["hypercorn warning", "aiokafka critical", "asyncio warning"]),
    ],
)
def test_who_may_speak(monkeypatch: pytest.MonkeyPatch, level: str, expected: list[str]) -> None:
    """The level is tailrace's own; libraries warn, and aiokafka's flood in an outage is for debugging."""
    stderr = configured(monkeypatch, level, "json", io.StringIO())
    for name in ("tailrace debug", "tailrace info", "hypercorn debug", "hypercorn warning"):
        _say(name)
    for name in ("aiokafka debug", "aiokafka error", "aiokafka critical", "asyncio info", "asyncio warning"):
        _say(name)
    assert expected == [json.loads(line)["message"] for line in stderr.getvalue().splitlines()]


def test_configuring_again_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls do not make two lines of one event."""
    configured(monkeypatch, "info", "text", io.StringIO())
    stderr = configured(monkeypatch, "info", "text", io.StringIO())
    logging.getLogger("tailrace").info("once")
    assert stderr.getvalue().count("once") == 1


def _say(what: str) -> None:
    name, level = what.split()
    logging.getLogger(name).log(logging.getLevelNamesMapping()[level.upper()], what)
