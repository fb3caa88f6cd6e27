"""Texts that repeat: decoded once, bounded in bytes, and nothing of what is refused kept."""

from __future__ import annotations

import sys

import pytest

from tailrace.names import MAX_TYPE_BYTES, MAX_TYPE_CHARACTERS, IllegalType, Names, type_of


def test_a_text_is_decoded_once() -> None:
    """All events of a session share one object."""
    names = Names(bytes.decode, 1000)
    learned = names.learn(b"chat/ada")
    assert learned is names.get(b"chat/ada")
    assert names.get(b"chat/bob") is None


def test_what_is_refused_is_not_kept() -> None:
    """However often it comes."""
    names = Names(type_of, 1000)
    for raw in (b"\xff", b"a\nb", b"x" * (MAX_TYPE_BYTES + 1)):
        with pytest.raises(IllegalType):
            names.learn(raw)
    assert (names.known, names.bytes, names.charge()) == ({}, 0, 0)


def test_bytes_are_bounded() -> None:
    """Where there is no room all are forgotten, and those in use come back."""
    names = Names(bytes.decode, 10_000)
    for number in range(1000):
        names.learn(b"session %d" % number)
        assert 0 < names.bytes <= 10_000
    assert names.get(b"session 999") == "session 999"


def test_a_text_is_charged_once() -> None:
    """Who asks takes the charge, which is what the text takes."""
    names = Names(bytes.decode, 10_000)
    names.learn(b"x" * 100)
    assert (names.charge(), names.charge()) == (sys.getsizeof("x" * 100), 0)


def test_a_type_of_the_greatest_length() -> None:
    """Four bytes a character are no more than it may have; one character more is refused, and read no further."""
    longest = "🜄" * MAX_TYPE_CHARACTERS
    assert longest == type_of(longest.encode())
    with pytest.raises(IllegalType):
        type_of(longest.encode() + b"x")
