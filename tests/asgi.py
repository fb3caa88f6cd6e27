"""One ASGI conversation, driven by hand: what the application is told, and what it sends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import httpx

from builders import FakeReplays, make_tail
from changes import Changes
from tailrace import auth
from tailrace.admission import Admission
from tailrace.auth import Verifier
from tailrace.errors import KafkaTrouble
from tailrace.subscription import Subscriptions, Terms
from tailrace.tail import Tail
from tailrace.timers import Wheel

if TYPE_CHECKING:
    from starlette.types import ASGIApp

SECRET = "a secret that is for tests, and for nothing else"
EVENTS = "/v1/sessions/s/events"
"""Where session ``s`` is read."""
SOCKET = "/v1/sessions/s/ws"
"""The same, over WebSocket."""
LEFT = {"type": "websocket.disconnect", "code": 1001}


def token(*sessions: str, subject: str = "ada", ttl_seconds: float = 600) -> str:
    """Sign a token for ``sessions``, by default for all."""
    facts: dict[str, Any] = {"audience": "tailrace", "issuer": None, "now": time.time()}
    return auth.issue(SECRET, sessions=sessions or ["*"], subject=subject, ttl_seconds=ttl_seconds, **facts)


def bearer(*sessions: str, subject: str = "ada") -> dict[str, str]:
    return {"authorization": f"Bearer {token(*sessions, subject=subject)}"}


def scope(
    session: str = "s",
    *,
    kind: str = "http",
    method: str = "GET",
    query: str = "",
    headers: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Make what the router hands to an endpoint: a request for ``session`` over plain HTTP to ``tailrace.test``."""
    given = {"host": "tailrace.test", **(headers or {})}
    return {
        "type": kind,
        "method": method,
        "scheme": "http" if kind == "http" else "ws",
        "path_params": {"session": session},
        "query_string": query.encode(),
        "headers": [(name.encode(), value.encode()) for name, value in given.items()],
        "subprotocols": [name.strip() for name in given.get("sec-websocket-protocol", "").split(",") if name.strip()],
    }


async def ask(
    app: ASGIApp,
    path: str,
    *,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    site: str = "http://tailrace.test",
) -> httpx.Response:
    """Send one request and give the whole answer, so not for streams that go on."""
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=site) as client:
        return await client.request(method, path, headers=headers)


def raw_scope(path: str, headers: Mapping[str, str], **more: Any) -> dict[str, Any]:
    """Make what a server hands to the whole application."""
    return {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(name.encode(), value.encode()) for name, value in {"host": "tailrace.test", **headers}.items()],
        "subprotocols": [],
        **more,
    }


class FakeAsking:
    """Says where the log ends, and where it was at a time: what a test has set, and what happens meanwhile."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        """``ends``, or the time that was asked for."""
        self.log_ends: Sequence[Sequence[int]] = [[1 << 40]]
        self.offsets: Sequence[Sequence[int]] = [[0]]
        self.trouble: KafkaTrouble | None = None
        self.untold: set[int] = set()
        self.on_question: Callable[[], None] = lambda: None
        self.pause: Callable[[], Awaitable[object]] = lambda: asyncio.sleep(0)

    async def ends(self) -> Sequence[Sequence[int]]:
        await self._think("ends")
        return self.log_ends

    async def since(self, when_ms: int) -> Sequence[Sequence[int]]:
        await self._think(str(when_ms))
        if self.trouble is not None:
            raise self.trouble
        return self.offsets

    def is_told(self, topic: int) -> bool:
        return topic not in self.untold

    async def _think(self, question: str) -> None:
        self.asked.append(question)
        await self.pause()
        self.on_question()


class Front:
    """A tail and who may read it; what Kafka would say is set by hand."""

    def __init__(self, tail: Tail | None = None, *allowed_origins: str, **terms: Any) -> None:
        self.tail = tail or make_tail()
        self.waiting: list[str] = []
        self.kafka_answers = True
        self.refreshes = 0
        self.on_refresh: Callable[[], None] = lambda: None
        self.wheel = Wheel()
        self.replays = FakeReplays()
        self.asking = FakeAsking()
        self.subscriptions = Subscriptions(
            self.tail, self.wheel, Terms(**terms), lambda: self.waiting, replays=self.replays
        )
        self.admission = Admission(
            self.subscriptions,
            Verifier.from_secret(SECRET, audience="tailrace"),
            allowed_origins=allowed_origins,
            refreshed=self._refreshed,
            asking=self.asking,
        )

    async def _refreshed(self) -> bool:
        await asyncio.sleep(0)
        self.refreshes += 1
        self.on_refresh()
        return self.kafka_answers


class Exchange:
    """What an application receives, and everything that it sent."""

    def __init__(self, *messages: Mapping[str, Any]) -> None:
        self.sent: list[dict[str, Any]] = []
        self._inbox: asyncio.Queue[Mapping[str, Any]] = asyncio.Queue()
        self._changes = Changes()
        for message in messages:
            self.say(message)

    def say(self, message: Mapping[str, Any]) -> None:
        """Let the application receive ``message``."""
        self._inbox.put_nowait(message)

    async def receive(self) -> Any:
        return await self._inbox.get()

    async def send(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.sent.append(message)
        self._changes.tell()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait for ``condition``, looked at after each message that was sent."""
        await self._changes.until(lambda: bool(condition()))

    @property
    def body(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()

    @property
    def texts(self) -> list[str]:
        """The text frames that were sent over a WebSocket."""
        return [message["text"] for message in self.sent if message["type"] == "websocket.send"]

    @property
    def kinds(self) -> list[str]:
        """What was sent, by the last word of its type."""
        return [message["type"].rpartition(".")[2] for message in self.sent]
