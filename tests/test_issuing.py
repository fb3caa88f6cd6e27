"""The token that an operator makes: one that the service would take."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tailrace.config import load
from tailrace.errors import ConfigurationError
from tailrace.issuing import doubts, issued
from tailrace.service import verifier_of

SECRET = "a secret for tests that is long enough"


def made(*sessions: str, subject: str = "ada", ttl_seconds: int = 60, **variables: Any) -> Any:
    """Issue a token, and give whom the service takes it for."""
    given = {"KAFKA_TOPICS": "t", "JWT_SECRET": SECRET, **variables}
    settings = load({f"TAILRACE_{name}": value for name, value in given.items()}, Path("/dev/null"))
    return verifier_of(settings).verify(issued(settings, sessions, subject, ttl_seconds))


@pytest.mark.parametrize("name", ["s", "chat/ada", "*", "chat/*", "x" * 256, "x" * 256 + "*", "x" * 255 + "*", "a*b*"])
def test_names_and_beginnings_of_names(name: str) -> None:
    """Whatever a session may be called, and whatever its name may begin with."""
    assert made(name).sessions == (name,)


@pytest.mark.parametrize("name", ["", "a//b", "..", "./*", "a\nb", "\x7f*", "x" * 257, "x" * 257 + "*", "a/../*"])
def test_what_no_session_is_called(name: str) -> None:
    """A token for it would be good, and open nothing."""
    with pytest.raises(ConfigurationError, match="fits no session"):
        made(name)


def test_everything_is_told_at_once() -> None:
    """Each name, and what the service would say of the rest."""
    with pytest.raises(ConfigurationError) as caught:
        made("", "a//b", subject="")
    assert len(caught.value.problems) == 3


def test_a_star_that_is_no_last_one_is_doubted() -> None:
    """As are a token for everything, and one for longer than a day."""
    assert [len(list(doubts([name], 86400))) for name in ("a*", "a*b", "a**", "*")] == [0, 1, 1, 1]
    assert "2.0 days" in next(doubts(["s"], 2 * 86400))


def test_a_public_key_signs_nothing() -> None:
    """The sentence says what would."""
    environ = {"TAILRACE_KAFKA_TOPICS": "t", "TAILRACE_JWT_PUBLIC_KEY_FILE": __file__}
    with pytest.raises(ConfigurationError, match="a public key cannot sign"):
        issued(load(environ, Path("/dev/null")), ["s"], "ada", 60)
