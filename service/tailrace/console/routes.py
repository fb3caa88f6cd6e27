"""Where the live page is served, and the token it asks for: development only, because it is given to whoever asks."""

from __future__ import annotations

import time
from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from tailrace.auth import issue
from tailrace.console import CONTENT_SECURITY_POLICY, page

TOKEN_SECONDS = 900
"""Life of the page's token: short enough that one sees it renewed."""


def routes(*, sessions: Sequence[str], secret: str, audience: str) -> list[Route]:
    """Serve the page at ``/`` and tokens for ``sessions`` at ``/console/token``."""

    async def show(request: Request) -> Response:  # noqa: ARG001  Starlette's signature
        headers = {"content-security-policy": CONTENT_SECURITY_POLICY, "cache-control": "no-store"}
        return Response(page(), media_type="text/html", headers=headers)

    async def token(request: Request) -> Response:  # noqa: ARG001
        made = issue(
            secret,
            sessions=sessions,
            subject="console",
            ttl_seconds=TOKEN_SECONDS,
            audience=audience,
            issuer=None,
            now=time.time(),
        )
        content = {"token": made, "sessions": list(sessions), "expires_in_seconds": TOKEN_SECONDS}
        return JSONResponse(content, headers={"cache-control": "no-store"})

    return [Route("/", show), Route("/console/token", token)]
