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
                *("aiokafka debug", "aiokafka error", "aiokafka critical", "asyncio warning", "opentelemetry error"),
            ],
        ),
        ("error", ["hypercorn warning", "aiokafka critical", "asyncio warning"]),
    ],
)
def test_who_may_speak(monkeypatch: pytest.MonkeyPatch, level: str, expected: list[str]) -> None:
    """The level is tailrace's own; libraries warn, and the floods of some in an outage are for debugging."""
    stderr = configured(monkeypatch, level, "json", io.StringIO())
    for name in ("tailrace debug", "tailrace info", "hypercorn debug", "hypercorn warning"):
        _say(name)
    for name in ("aiokafka debug", "aiokafka error", "aiokafka critical", "asyncio info", "asyncio warning"):
        _say(name)
    _say("opentelemetry error")
    assert expected == [json.loads(line)["message"] for line in stderr.getvalue().splitlines()]


def test_configuring_again_replaces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two calls do not make two lines of one event."""
    configured(monkeypatch, "info", "text", io.StringIO())
    stderr = configured(monkeypatch, "info", "text", io.StringIO())
    logging.getLogger("tailrace").info("once")
    assert stderr.getvalue().count("once") == 1


def seldom(*times: float) -> log.Seldom:
    """Make one whose clock gives ``times``, one after the other."""
    return log.Seldom(logging.getLogger("tailrace.consumer"), iter(times).__next__)


def test_the_first_of_a_reason_is_told_at_once(caplog: pytest.LogCaptureFixture) -> None:
    """Whenever the clock began: an operator sees it when it begins; another reason is another matter."""
    often = seldom(0, 1)
    often.log(logging.WARNING, "no_session", "offset %d", 7)
    often.log(logging.WARNING, "session_illegal", "offset %d", 8)
    assert [line.getMessage() for line in caplog.records] == ["offset 7", "offset 8"]


def test_more_of_a_reason_are_counted_and_told_after_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """So a flood of bad records is two lines, not as much log as data, and the second says how many there were."""
    often = seldom(1000, 1001, 1059.9, 1060, 1120)
    for offset in range(5):
        often.log(logging.WARNING, "no_session", "offset %d", offset)
    told = [(line.getMessage(), vars(line)["reason"], vars(line)["left_out"]) for line in caplog.records]
    assert told == [("offset 0", "no_session", 0), ("offset 3", "no_session", 2), ("offset 4", "no_session", 0)]


def _say(what: str) -> None:
    name, level = what.split()
    logging.getLogger(name).log(logging.getLevelNamesMapping()[level.upper()], what)
