"""The composition root: what lives as long as the service, the routes over it, and errors made into answers.

The only file but `cli` that sees `Settings`; everything else gets plain arguments. `running` makes the long-lived
objects in order and hands them down; `public_app` and `admin_app` are the two listeners' apps over them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
from tailrace.auth import Verifier
from tailrace.config import Settings
from tailrace.consumer import IDLE_WAIT_MS, Consumer
from tailrace.errors import BadRequest, ComeBack, Refused, Unauthenticated
from tailrace.event import Decoder
from tailrace.kafka import Kafka, KafkaConnection
from tailrace.sse import ComeBackStream, EventStream
from tailrace.subscription import Subscriptions, Terms
from tailrace.tail import Tail
from tailrace.timers import Wheel
from tailrace.websocket import WebSocketEndpoint

_HERE = Path(__file__).parent
CONTRACTS = next(path for path in (_HERE / "openapi", _HERE.parents[1] / "openapi") if path.is_dir())
"""The contracts: beside the package where it is installed, in the repository where it is developed."""


@dataclass(frozen=True, slots=True)
class Service:
    """What lives as long as the service."""

    settings: Settings
    tail: Tail
    consumer: Consumer
    subscriptions: Subscriptions
    admission: Admission

    async def drain(self) -> None:
        """End every stream politely."""
        await self.subscriptions.drain(self.settings.drain_seconds)


@asynccontextmanager
async def running(settings: Settings, *, idle_wait_ms: int = IDLE_WAIT_MS) -> AsyncIterator[Service]:
    """Run all that needs no socket of ours; a task that dies ends the block.

    ``idle_wait_ms`` is how long a fetch may wait at a quiet broker; the embedded one always waits to the end.
    Raises `ConfigurationError` for keys and files that cannot be used.
    """
    verifier = verifier_of(settings)
    wheel = Wheel()
    tail = Tail(sorted(settings.kafka_topics), settings.tail_max_bytes)
    decoder = Decoder(
        session_header=settings.session_header, encoding=settings.value, max_event_bytes=settings.max_event_bytes
    )
    kafka = Kafka(connection_of(settings), tail.topics, isolation_level=settings.kafka_isolation_level)
    consumer = Consumer(kafka, tail, decoder, warmup_seconds=settings.warmup_seconds, idle_wait_ms=idle_wait_ms)
    subscriptions = Subscriptions(tail, wheel, _terms(settings), lambda: consumer.waiting)
    admission = Admission(
        subscriptions, verifier, allowed_origins=settings.allowed_origins, refreshed=consumer.refreshed
    )
    async with asyncio.TaskGroup() as tasks:
        running_tasks = [tasks.create_task(consumer.run()), tasks.create_task(wheel.run())]
        try:
            yield Service(settings, tail, consumer, subscriptions, admission)
        finally:
            for task in running_tasks:
                task.cancel()


def verifier_of(settings: Settings) -> Verifier:
    """Make the verifier of the configured key."""
    secret, file = settings.jwt_secret, settings.jwt_public_key_file
    algorithms, audience, issuer = settings.jwt_algorithms, settings.jwt_audience, settings.jwt_issuer
    if secret is not None:
        key = secret.get_secret_value()
        return Verifier.from_secret(key, algorithms=algorithms, audience=audience, issuer=issuer)
    assert file is not None  # noqa: S101  `config` asks for exactly one
    return Verifier.from_public_key_file(file, algorithms=algorithms, audience=audience, issuer=issuer)


def connection_of(settings: Settings) -> KafkaConnection:
    """Say how to reach Kafka."""
    password = settings.kafka_sasl_password
    return KafkaConnection(
        bootstrap_servers=settings.kafka_bootstrap_servers,
        security_protocol=settings.kafka_security_protocol,
        sasl_mechanism=settings.kafka_sasl_mechanism,
        sasl_username=settings.kafka_sasl_username,
        sasl_password=None if password is None else password.get_secret_value(),
        ssl_ca_file=_text(settings.kafka_ssl_ca_file),
        ssl_cert_file=_text(settings.kafka_ssl_cert_file),
        ssl_key_file=_text(settings.kafka_ssl_key_file),
    )


def _text(file: Path | None) -> str | None:
    return None if file is None else str(file)


def _terms(settings: Settings) -> Terms:
    return Terms(
        heartbeat_seconds=settings.heartbeat_seconds,
        send_timeout_seconds=settings.send_timeout_seconds,
        max_connections=settings.max_connections,
        max_connections_per_subject=settings.max_connections_per_subject,
        encoding=settings.value,
    )


# The routes.


class _Events:
    """``GET /v1/sessions/{session}/events``."""

    def __init__(self, admission: Admission) -> None:
        self._admission = admission

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            subscription = await self._admission.admit(scope)
        except ComeBack as why:
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
        return await (self.set if request.method == "POST" else self.remove)(request)

    async def set(self, request: Request) -> Response:
        """Put the Bearer token into the cookie."""
        credential = auth.token_from_headers(request.scope["headers"], cookie_name=None)
        if credential is None or credential.source != "bearer":
            raise Unauthenticated("no Bearer token came")
        principal = self._admission.principal(request.scope)
        return self._answer(
            auth.set_cookie(
                credential.token, name=_cookie_name(request), expires_at=principal.expires_at, now=time.time()
            )
        )

    async def remove(self, request: Request) -> Response:
        """Take the cookie back; anyone may forget."""
        return self._answer(auth.remove_cookie(_cookie_name(request)))

    @staticmethod
    def _answer(cookie: str) -> Response:
        return Response(status_code=204, headers={"set-cookie": cookie, "cache-control": "no-store"})


def _cookie_name(request: Request) -> str:
    return auth.cookie_name(scheme=request.scope["scheme"], host=request.headers.get("host", ""))


def _contract(name: str) -> Route:
    content = (CONTRACTS / name).read_bytes()

    async def contract(request: Request) -> Response:  # noqa: ARG001  Starlette's signature
        return Response(content, media_type="application/yaml")

    return Route(f"/{name}", contract)


def public_app(service: Service, more: Sequence[BaseRoute] = ()) -> Starlette:
    """Make the clients' app; ``more`` are routes beside the contract's, such as the console's."""
    cookie = _Cookie(service.admission)
    endpoint = WebSocketEndpoint(service.admission.admit, service.admission.check_origin)
    return Starlette(
        routes=[
            Route("/v1/sessions/{session:path}/events", _Events(service.admission), methods=["GET"]),
            WebSocketRoute("/v1/sessions/{session:path}/ws", endpoint),
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
    return Starlette(routes=routes, exception_handlers=_HANDLERS)


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
