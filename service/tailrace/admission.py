"""Who asks, for what, and from where: a request becomes a subscription, or a named refusal.

One order for both transports: what is malformed, who asks, may they, can the service, where do they begin. Reads ASGI
scopes; what a refusal becomes on the wire is for `sse`, `websocket` and `app` to say. Lives as long as the service.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection

from starlette.datastructures import Headers, QueryParams
from starlette.types import Scope

from tailrace import auth
from tailrace.auth import Principal, Verifier
from tailrace.errors import BadRequest, ComeBack, Refused, Unauthenticated
from tailrace.event import session_problem
from tailrace.resume import Wish, is_strange, start_of, wish_of
from tailrace.subscription import Subscription, Subscriptions

logger = logging.getLogger(__name__)


class Admission:
    """Admits subscribers. ``refreshed`` asks Kafka who it is, once for all who wait; False when it does not answer."""

    def __init__(
        self,
        subscriptions: Subscriptions,
        verifier: Verifier,
        *,
        allowed_origins: Collection[str],
        refreshed: Callable[[], Awaitable[bool]],
    ) -> None:
        self._subscriptions = subscriptions
        self._verifier = verifier
        self._allowed_origins = allowed_origins
        self._refreshed = refreshed

    async def admit(self, scope: Scope, token: str | None = None) -> Subscription:
        """Admit whoever asks; ``token`` is one that came in a first message, where the request held none.

        Raises:
            Refused: with the subclass that says why.
        """
        auth.refuse_token_in_query(scope["query_string"])
        session = _session_of(scope)
        wish = wish_of(Headers(scope=scope).get("last-event-id"), QueryParams(scope["query_string"]))
        principal = self._verifier.verify(token) if token is not None else self.principal(scope)
        self._subscriptions.check(principal, session)
        await self._meet(wish)
        return self._subscriptions.admit(principal, session, start_of(wish, self._subscriptions.tail))

    def note(self, refused: Refused) -> None:
        """Count and log a refusal; call it once the client is answered with it. Its detail never quotes a token."""
        self._subscriptions.metrics.count_refused(refused.code)
        logger.debug("refused", extra={"reason": refused.code, "detail": refused.detail})

    def principal(self, scope: Scope) -> Principal:
        """Say who sent the request.

        Raises:
            Unauthenticated: no token came, or one that is not good.
            BadRequest: a token came in a way that it must not.
        """
        host = Headers(scope=scope).get("host", "")
        page = {"scheme": scope["scheme"], "host": host, "allowed_origins": self._allowed_origins}
        counts = auth.cookie_allowed(scope["headers"], **page)
        name = auth.cookie_name(scheme=scope["scheme"], host=host) if counts else None
        credential = auth.token_from_headers(scope["headers"], cookie_name=name)
        if credential is None:
            raise Unauthenticated("no token came")
        return self._verifier.verify(credential.token)

    def check_origin(self, scope: Scope) -> None:
        """Raise `ForeignOrigin` where a page opens a WebSocket that it may not."""
        host = Headers(scope=scope).get("host", "")
        auth.check_websocket_origin(
            scope["headers"], scheme=scope["scheme"], host=host, allowed_origins=self._allowed_origins
        )

    async def _meet(self, wish: Wish) -> None:
        """Ask Kafka who it is before an id of an unknown incarnation is called unknown."""
        if is_strange(wish, self._subscriptions.tail) and not await self._refreshed():
            raise ComeBack("the id names a topic that Kafka has to be asked about, and Kafka does not answer")


def _session_of(scope: Scope) -> str:
    """Give the address's session, percent-decoded once by the server."""
    session: str = scope["path_params"]["session"]
    if "\ufffd" in session:
        raise BadRequest("the session in the address is not UTF-8")
    if (problem := session_problem(session)) is not None:
        raise BadRequest(problem)
    return session
