"""The token that `tailrace token` prints: signed with the service's secret, and only if the service would take it.

For operators at a terminal. Looks at what it has made with the service's own verifier, so that no check is written
twice.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from tailrace import auth
from tailrace.config import Settings
from tailrace.errors import ConfigurationError, InvalidToken
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
    unfit = {each: why for each in sessions if (why := auth.entry_problem(each)) is not None}
    made = auth.issue(
        settings.jwt_secret.get_secret_value(),
        sessions=[each for each in sessions if each not in unfit],  # so that what else is wrong is told, too
        subject=subject,
        ttl_seconds=ttl_seconds,
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        now=time.time(),
        algorithm=next(iter(settings.jwt_algorithms), ALGORITHM),
    )
    problems = [f"--session {each!r} fits no session: {why}" for each, why in unfit.items()]
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
