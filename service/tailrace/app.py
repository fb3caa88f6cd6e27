"""The routes over a running service, and errors made into answers: one app for clients, one for operators.

Knows what `service` has made and nothing of how; what a stream does is `sse`'s and `websocket`'s.
"""

from __future__ import annotations

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

from tailrace import auth, health
from tailrace.admission import Admission
from tailrace.errors import BadRequest, ComeBack, Refused, Unauthenticated
from tailrace.service import Service
from tailrace.sse import ComeBackStream, EventStream
from tailrace.websocket import WebSocketEndpoint

_HERE = Path(__file__).parent
CONTRACTS = next(path for path in (_HERE / "openapi", _HERE.parents[1] / "openapi") if path.is_dir())
"""The contracts: beside the package where it is installed, in the repository where it is developed."""


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
            await Response(status_code=204)(scope, receive, send)
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

    async def contract(request: Request) -> Response:  # noqa: ARG001  Starlette's signature
        return Response(content, media_type="application/yaml")

    return Route(f"/{name}", contract)


async def _not_a_websocket(request: Request) -> Response:
    """Say how a WebSocket is asked for: RFC 9110 section 15.5.22; HTTP/2 knows no upgrade."""
    if request.scope["http_version"] == "2":
        told = "this is a WebSocket's address: ask by extended CONNECT (RFC 8441)"
        return JSONResponse({"error": BadRequest.code, "detail": told}, 400)
    told = "this is a WebSocket's address: ask with Upgrade: websocket and Connection: Upgrade (RFC 6455)"
    headers = {"upgrade": "websocket", "connection": "upgrade"}
    return JSONResponse({"error": BadRequest.code, "detail": told}, 426, headers)


def public_app(service: Service, more: Sequence[BaseRoute] = ()) -> Starlette:
    """Make the clients' app; ``more`` are routes beside the contract's, such as the console's."""
    cookie = _Cookie(service.admission)
    endpoint = WebSocketEndpoint(service.admission.admit, service.admission.check_origin, service.admission.note)
    return Starlette(
        routes=[
            Route("/v1/sessions/{session:path}/events", _Events(service.admission), methods=["GET"]),
            WebSocketRoute("/v1/sessions/{session:path}/ws", endpoint),
            Route("/v1/sessions/{session:path}/ws", _not_a_websocket, methods=["GET"]),
            Route("/v1/cookie", cookie.answer, methods=["POST", "DELETE"]),
            _contract("openapi.yaml"),
            _contract("asyncapi.yaml"),
            *more,
        ],
        middleware=_cors(service.settings.allowed_origins),
        exception_handlers=_HANDLERS,
    )


def admin_app(service: Service) -> Starlette:
    """Make the operator's app."""
    consumer, subscriptions = service.consumer, service.subscriptions
    routes = health.routes(
        waiting=lambda: consumer.waiting,
        degraded=lambda: consumer.degraded,
        draining=lambda: subscriptions.draining,
    )
    return Starlette(routes=[*routes, health.metrics_route(service.metrics)], exception_handlers=_HANDLERS)


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
    return JSONResponse({"error": name, "detail": error.detail}, error.status_code, error.headers)


_HANDLERS = {Refused: _on_refused, HTTPException: _on_http_exception}
