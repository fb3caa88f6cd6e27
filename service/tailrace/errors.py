"""Every error that tailrace raises on purpose, and what each becomes on the wire.

Knows nothing of HTTP libraries, Kafka or tokens: an error carries data. `app`, `sse` and `websocket` translate it once
per transport, from the class attributes below::

    TailraceError
    ├── ConfigurationError         at start: exit code 2, every trouble at once
    ├── Refused                    an answer to a client
    │   ├── BadRequest             400  4400
    │   ├── Unauthenticated        401  4401  no token came
    │   │   └── InvalidToken       401  4401
    │   ├── Forbidden              403  4403  not your session
    │   ├── ForeignOrigin          403        before accept: a page of another site
    │   ├── TokenTimeout                4408  no first message in time
    │   └── ComeBack               503  1013  the honest client should try again
    │       ├── Draining           503  1001
    │       └── TooManyConnections 429  4429
    ├── Farewell                   why a stream that was admitted ends
    │   ├── SessionEnded                1000
    │   ├── GoingAway                   1001  drain
    │   ├── TooManyFrames               1008
    │   ├── MessageTooBig               1009
    │   ├── InternalTrouble             1011
    │   ├── ReplayFull                  1013  too many wait for what lies below memory
    │   ├── BadMessage                  4400
    │   ├── TokenExpired                4401  come back with a new token
    │   ├── TooSlow                     4409
    │   └── NoPong                      4410
    └── KafkaTrouble               see `kafka`; never reaches a client

Status codes follow RFC 6750 section 3.1 and RFC 6585; close codes RFC 6455 section 7.4, 44xx being ours.
"""

from __future__ import annotations

from typing import ClassVar


class TailraceError(Exception):
    """Base of all errors that tailrace raises on purpose."""


class ConfigurationError(TailraceError):
    """The settings are wrong; ``problems`` holds one sentence per trouble, naming its key and never a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class Refused(TailraceError):
    """A request that is not admitted. ``detail`` is one sentence for the client's author; it never quotes a token."""

    status: ClassVar[int]
    close_code: ClassVar[int]
    code: ClassVar[str]
    """RFC 6750's error code, or a word of ours in its place."""
    reconnect: ClassVar[bool] = False

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.code)
        self.detail = detail


class BadRequest(Refused):
    status, close_code, code = 400, 4400, "invalid_request"


class Unauthenticated(Refused):
    status, close_code, code = 401, 4401, "unauthenticated"


class InvalidToken(Unauthenticated):
    code = "invalid_token"


class Forbidden(Refused):
    status, close_code, code = 403, 4403, "insufficient_scope"


class ForeignOrigin(Refused):
    """Answered before a WebSocket is accepted: a page that may not ask shall learn nothing."""

    status, close_code, code = 403, 4403, "foreign_origin"


class TokenTimeout(Refused):
    status, close_code, code = 401, 4408, "token_timeout"


class ComeBack(Refused):
    """Try again after ``retry_after_seconds``; the cause passes by itself."""

    status, close_code, code = 503, 1013, "not_ready"
    reconnect = True

    def __init__(self, detail: str = "", *, retry_after_seconds: float = 2.0) -> None:
        super().__init__(detail)
        self.retry_after_seconds = retry_after_seconds


class Draining(ComeBack):
    close_code, code = 1001, "draining"


class TooManyConnections(ComeBack):
    status, close_code, code = 429, 4429, "too_many_connections"


class Farewell(TailraceError):
    """Why the service ends a stream that it had admitted: what `tailrace.disconnect` says."""

    close_code: ClassVar[int]
    reason: ClassVar[str]
    reconnect: ClassVar[bool] = True

    def __init__(self) -> None:
        super().__init__(self.reason)


class SessionEnded(Farewell):
    close_code, reason, reconnect = 1000, "session ended", False


class GoingAway(Farewell):
    close_code, reason = 1001, "going away"


class TooManyFrames(Farewell):
    close_code, reason, reconnect = 1008, "too many frames", False


class MessageTooBig(Farewell):
    close_code, reason, reconnect = 1009, "message too big", False


class InternalTrouble(Farewell):
    close_code, reason = 1011, "internal error"


class ReplayFull(Farewell):
    close_code, reason = 1013, "come back later"


class BadMessage(Farewell):
    close_code, reason, reconnect = 4400, "bad message", False


class TokenExpired(Farewell):
    close_code, reason = 4401, "token expired"


class TooSlow(Farewell):
    close_code, reason = 4409, "too slow"


class NoPong(Farewell):
    """Nobody may be there any more; who does answer pings, as RFC 6455 section 5.5.2 asks, never hears of it."""

    close_code, reason = 4410, "no pong"


class KafkaTrouble(TailraceError):
    """Base of what `kafka` raises and reports; told to operators, never to clients."""
