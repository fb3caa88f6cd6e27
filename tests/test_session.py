"""Which names a session may have."""

from __future__ import annotations

import pytest

from tailrace.session import MAX_SESSION_BYTES, Unaddressed, session_of, session_problem


@pytest.mark.parametrize("name", ["a", "org/7/chat/3", "a..b", "...", "~", " ", "日本", "a%2Fb", "a*b", "*/a"])
def test_legal_sessions(name: str) -> None:
    """Names may have segments, dots and any visible character."""
    assert session_problem(name) is None


@pytest.mark.parametrize(
    "name,problem",
    [
        ("", "1 to 256 characters"),
        ("x" * 257, "1 to 256 characters"),
        ("a\x00", "control characters"),
        ("a\x7f", "control characters"),
        ("a\u0085b", "control characters"),
        ("a\u2028b", "control characters"),
        ("/a", "segments"),
        ("a/", "segments"),
        ("a/./b", "segments"),
        ("..", "segments"),
        ("*", "does not end in '*'"),
        ("chat/a*", "does not end in '*'"),
    ],
)
def test_illegal_sessions(name: str, problem: str) -> None:
    """The sentence says which rule is broken."""
    assert problem in (session_problem(name) or "")


def test_a_name_that_is_too_long_is_not_decoded() -> None:
    """Its length is looked at first, whatever else is wrong with it."""
    with pytest.raises(Unaddressed, match="session_illegal"):
        session_of(b"\xff" * (MAX_SESSION_BYTES + 1))
