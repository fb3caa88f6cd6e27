"""The tree of errors: what its picture says is what the classes carry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeVar

import pytest

from tailrace import errors
from tailrace.errors import ComeBack, ConfigurationError, Farewell, Forbidden, Refused, TailraceError

LINE = re.compile(r"[├└]── (?P<name>\w+) *(?P<status>\d{3}\b)? *(?P<close_code>\d{4}\b)?")
Error = TypeVar("Error", bound=TailraceError)
TREE = {match["name"]: match for match in LINE.finditer(errors.__doc__ or "")}


def below(base: type[Error]) -> Iterator[type[Error]]:
    """Give every class of this file that stands below ``base``."""
    for found in base.__subclasses__():
        if found.__module__ == errors.__name__:
            yield found
        yield from below(found)


REFUSALS = list(below(Refused))
FAREWELLS = list(below(Farewell))


def test_the_tree_is_complete() -> None:
    """Every error stands in the picture, and the picture has no other."""
    assert TREE.keys() == {error.__name__ for error in below(TailraceError)}


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.__name__)
def test_refusals_carry_what_the_tree_says(error: type[Refused]) -> None:
    """A refusal has a status and a close code; where the tree gives one, it is that one."""
    said = TREE[error.__name__]
    assert int(said["status"] or error.status) == error.status
    assert int(said["close_code"] or error.close_code) == error.close_code


@pytest.mark.parametrize("error", FAREWELLS, ids=lambda error: error.__name__)
def test_farewells_carry_what_the_tree_says(error: type[Farewell]) -> None:
    """A farewell has the close code of the tree, and no status: the headers are long gone."""
    assert (TREE[error.__name__]["status"], int(TREE[error.__name__]["close_code"])) == (None, error.close_code)


def test_words_are_unique() -> None:
    """A client's author can tell every refusal and every farewell by its word."""
    words = [error.code for error in REFUSALS] + [error.reason for error in FAREWELLS]
    assert len(words) == len(set(words))


def test_farewells_close_codes_are_unique() -> None:
    """A WebSocket client sees little more than the code, so each says one thing."""
    codes = [error.close_code for error in FAREWELLS]
    assert len(codes) == len(set(codes))


def test_close_codes_may_be_sent() -> None:
    """RFC 6455 section 7.4: the registered ones that an endpoint may send, or 4000 to 4999."""
    codes = {error.close_code for error in REFUSALS} | {error.close_code for error in FAREWELLS}
    assert {code for code in codes if not 4000 <= code <= 4999} <= {1000, 1001, 1008, 1009, 1011, 1013}


def test_only_what_passes_by_itself_asks_to_come_back() -> None:
    """A client that is refused for its own fault would be refused again."""
    assert {error for error in REFUSALS if error.reconnect} == {ComeBack, *below(ComeBack)}


def test_detail_is_the_message() -> None:
    """A refusal reads as its detail; without one, as its word."""
    assert [str(Forbidden("not yours")), str(Forbidden())] == ["not yours", "insufficient_scope"]


def test_come_back_says_when() -> None:
    """The time to wait travels with the refusal."""
    assert ComeBack("full", retry_after_seconds=7.5).retry_after_seconds == 7.5


def test_farewell_reads_as_its_reason() -> None:
    """What is logged is what the client is told."""
    assert [str(farewell()) for farewell in FAREWELLS] == [farewell.reason for farewell in FAREWELLS]


def test_configuration_troubles_come_together() -> None:
    """All troubles are in one message, and each stands by itself in ``problems``."""
    error = ConfigurationError(["a is missing", "b is no number"])
    assert (str(error), error.problems) == ("a is missing; b is no number", ["a is missing", "b is no number"])
