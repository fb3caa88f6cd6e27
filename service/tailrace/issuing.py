"""The token that `tailrace token` prints: signed with the service's secret, and only if the service would take it.

For operators at a terminal. Looks at what it has made with the service's own verifier, and at the names with the rule
for sessions, so that no check is written twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from tailrace import auth
from tailrace.config import Settings
from tailrace.errors import ConfigurationError, InvalidToken
from tailrace.event import session_problem
from tailrace.service import verifier_of

ALGORITHM = "HS256"
"""Where the settings name none; what `auth` takes for a shared secret then, too."""
DAY_SECONDS = 24 * 60 * 60


def issued(settings: Settings, sessions: Sequence[str], subject: str, ttl_seconds: int) -> str:
    """Sign a token that may read ``sessions``: names, or beginnings of names and a ``*``.

    Raises `ConfigurationError` with everything for which the service would refuse it, or give it nothing.
    """
    if settings.jwt_secret is None:
        raise ConfigurationError(["TAILRACE_JWT_SECRET: expected, to sign with; a public key cannot sign"])
    made = auth.issue(
        settings.jwt_secret.get_secret_value(),
        sessions=sessions,
        subject=subject,
        ttl_seconds=ttl_seconds,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        now=time.time(),
        algorithm=next(iter(settings.jwt_algorithms), ALGORITHM),
    )
    problems = [f"--session {each!r} fits no session: {why}" for each in sessions if (why := _unfit(each)) is not None]
    try:
        verifier_of(settings).verify(made)
    except InvalidToken as error:
        problems.append(error.detail)
    if problems:
        raise ConfigurationError(problems)
    return made


def doubts(sessions: Sequence[str], ttl_seconds: int) -> Iterator[str]:
    """Say what of a good token may be a slip."""
    if "*" in sessions:
        yield "this token reads every session"
    for entry in sessions:
        if "*" in entry[:-1]:
            yield f"only a last * stands for more: in {entry!r} the others are meant as they are"
    if ttl_seconds > auth.MAX_STREAM_SECONDS:
        days = ttl_seconds / DAY_SECONDS
        yield f"whoever has this token can come back for {days:.1f} days, though each stream ends after a day"


def _unfit(entry: str) -> str | None:
    """Say why no session can have this name, or one that begins so."""
    if not entry.endswith("*"):
        return session_problem(entry)
    beginning = entry[:-1]
    return session_problem(f"{beginning}x") and session_problem(beginning)  # 256 characters may be a whole name
