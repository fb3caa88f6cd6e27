"""The routes over a running service, and errors made into answers: one app for clients, one for operators.

Knows what `service` has made and nothing of how; what a stream does is `sse`'s and `websocket`'s.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from tailrace import auth, health, hosts
from tailrace.admission import Admission
from tailrace.errors import BadRequest, ComeBack, Refused, Unauthenticated
from tailrace.hosts import HostGuard
from tailrace.service import Service
from tailrace.sse import ComeBackStream, EventStream
from tailrace.websocket import WebSocketEndpoint

_HERE = Path(__file__).parent
CONTRACTS = next(path for path in (_HERE / "openapi", _HERE.parents[1] / "openapi") if path.is_dir())
"""The contracts: beside the package where it is installed, in the repository where it is developed."""


CONTRACT_SECONDS = 300
"""How long a cache may keep a contract without asking whether there is a newer one."""
_LOOPBACK_ONLY = "tailrace dev is asked by localhost or a loopback address only, and not by the name in Host"
_NOT_ALLOWED = (
    "the admin listener is asked by an address, by localhost or by a name in TAILRACE_ADMIN_ALLOWED_HOSTS, "
    "and not by the name in Host"
)

# The routes.


class _Events:
    """``GET /v1/sessions/{session}/events``."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            subscription = await self._admission.admit(scope)
        except Refused as why:
            self._admission.note(why)
            if not isinstance(why, ComeBack):
                raise
            await ComeBackStream(why)(scope, receive, send)
            return
        if subscription.over:
            subscription.close()
            await Response(status_code=204, headers={"cache-control": "no-store"})(scope, receive, send)
            return
        await EventStream(subscription)(scope, receive, send)


class _Cookie:
    """``POST`` and ``DELETE /v1/cookie``: what a native EventSource, which cannot send a header, reads with."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def answer(self, request: Request) -> Response:
        """Set or remove; one route, so that a 405 names both methods."""
        return self.set(request) if request.method == "POST" else self.remove()

    def set(self, request: Request) -> Response:
        """Put the Bearer token into the cookie."""
        credential = auth.token_from_headers(request.scope["headers"], cookie_name=None)
        if credential is None or credential.source != "bearer":
            raise Unauthenticated("no Bearer token came")
        principal = self._admission.principal(request.scope)
        return self._answer(
            auth.set_cookie(
                credential.token, name=self._admission.cookie_name, expires_at=principal.expires_at, now=time.time()
            )
        )

    def remove(self) -> Response:
        """Take the cookie back; anyone may forget."""
        return self._answer(auth.remove_cookie(self._admission.cookie_name))

    @staticmethod
    def _answer(cookie: str) -> Response:
        return Response(status_code=204, headers={"set-cookie": cookie, "cache-control": "no-store"})


def _contract(name: str) -> Route:
    content = (CONTRACTS / name).read_bytes()
    headers = {
        "etag": f'"{hashlib.sha256(content).hexdigest()[:32]}"',  # of the content: the same at every replica
        "cache-control": f"public, max-age={CONTRACT_SECONDS}",
        "vary": "Origin",  # pages of other origins may get headers more
    }

    async def contract(request: Request) -> Response:
        if _has(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        return Response(content, media_type="application/yaml", headers=headers)

    return Route(f"/{name}", contract)


def _has(request: Request, etag: str) -> bool:
    """Whether the client has this version already (RFC 9110 section 13.1.2)."""
    known = [each.strip().removeprefix("W/") for each in ",".join(request.headers.getlist("if-none-match")).split(",")]
    return "*" in known or etag in known


async def _not_a_websocket(request: Request) -> Response:
    """Say how a WebSocket is asked for: RFC 9110 section 15.5.22; HTTP/2 knows no upgrade."""
    if request.scope["http_version"] == "2":
        told = "this is a WebSocket's address: ask by extended CONNECT (RFC 8441)"
        return JSONResponse({"error": BadRequest.code, "detail": told}, 400, {"cache-control": "no-store"})
    told = "this is a WebSocket's address: ask with Upgrade: websocket and Connection: Upgrade (RFC 6455)"
    headers = {"upgrade": "websocket", "connection": "upgrade", "cache-control": "no-store"}
    return JSONResponse({"error": BadRequest.code, "detail": told}, 426, headers)


def public_app(service: Service, more: Sequence[BaseRoute] = (), *, loopback_only: bool = False) -> Starlette:
    """Make the clients' app; ``more`` are routes beside the contract's, such as the console's.

    With ``loopback_only`` it answers no request that names another host: for routes that ask for no token.
    """
    cookie = _Cookie(service.admission)
    endpoint = WebSocketEndpoint(service.admission.admit, service.admission.check_origin, service.admission.note)
    guard = Middleware(HostGuard, rule=hosts.loopback_only, told=_LOOPBACK_ONLY)
    return _starlette(
        [
            Route("/v1/sessions/{session:path}/events", _Events(service.admission), methods=["GET"]),
            WebSocketRoute("/v1/sessions/{session:path}/ws", endpoint),
            Route("/v1/sessions/{session:path}/ws", _not_a_websocket, methods=["GET"]),
            Route("/v1/cookie", cookie.answer, methods=["POST", "DELETE"]),
            _contract("openapi.yaml"),
            _contract("asyncapi.yaml"),
            *more,
        ],
        [*([guard] if loopback_only else []), *_cors(service.settings.allowed_origins)],
    )


def admin_app(service: Service) -> Starlette:
    """Make the operator's app. Nothing in it asks for a token, so it looks at the name by which it is asked."""
    settings = service.settings
    known = hosts.listed([*settings.admin_allowed_hosts, settings.admin_bind.host])
    consumer, subscriptions = service.consumer, service.subscriptions
    routes = health.routes(
        waiting=lambda: consumer.waiting,
        degraded=lambda: consumer.degraded,
        draining=lambda: subscriptions.draining,
    )
    guard = Middleware(HostGuard, rule=known, told=_NOT_ALLOWED)
    return _starlette([*routes, health.metrics_route(service.metrics)], [guard])


def _starlette(routes: Sequence[BaseRoute], middleware: Sequence[Middleware]) -> Starlette:
    """Make an app whose errors all have one form; a slash too many is an address that does not exist.

    Starlette would redirect it, to plain HTTP and to whatever host the request names.
    """
    app = Starlette(routes=routes, middleware=middleware, exception_handlers=_HANDLERS)
    app.router.redirect_slashes = False
    return app


def _cors(origins: Sequence[str]) -> list[Middleware]:
    """Let pages of the listed origins ask, and read error answers too; the Fetch standard wants headers by name."""
    if not origins:
        return []
    return [
        Middleware(
            CORSMiddleware,
            allow_origins=list(origins),
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Last-Event-ID"],
            allow_credentials=True,
            max_age=600,
        )
    ]


# Errors made into answers.


async def _on_refused(request: Request, error: Exception) -> Response:  # noqa: ARG001  Starlette's signature
    """Answer by RFC 6750 section 3: no detail where no token came, and what should be tried again says when."""
    assert isinstance(error, Refused)  # noqa: S101  registered for it
    headers = {"cache-control": "no-store"}
    if error.status == 401:
        told = "" if type(error) is Unauthenticated else f', error="{error.code}", error_description="{error.detail}"'
        headers["www-authenticate"] = f'Bearer realm="tailrace"{told}'
    elif error.status == 403:
        headers["www-authenticate"] = f'Bearer realm="tailrace", error="{error.code}"'
    if isinstance(error, ComeBack):
        headers["retry-after"] = str(max(1, round(error.retry_after_seconds)))
    return JSONResponse({"error": error.code, "detail": error.detail}, error.status, headers)


async def _on_http_exception(request: Request, error: Exception) -> Response:  # noqa: ARG001
    """Answer what Starlette refuses, such as an unknown address or method, in the same form."""
    assert isinstance(error, HTTPException)  # noqa: S101  registered for it
    name = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, BadRequest.code)
    headers = {**(error.headers or {}), "cache-control": "no-store"}
    return JSONResponse({"error": name, "detail": error.detail}, error.status_code, headers)


_HANDLERS = {Refused: _on_refused, HTTPException: _on_http_exception}
