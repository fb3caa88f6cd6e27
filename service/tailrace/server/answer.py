"""What the server answers in place of an application: an error, in the form of every error of this service.

Knows no connection; `handshake` and `streams` say what is wrong.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass

from tailrace.errors import BadRequest

Headers = Iterable[tuple[bytes, bytes]]
"""Names in lower case; gone through more than once."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An error. ``detail`` is one sentence for the client's author, ``error`` a word for programs.

    No cache may keep it, and the connection ends after it, where it speaks HTTP/1.1.
    """

    status: int
    detail: str
    more: Headers = ()
    error: str = BadRequest.code

    @property
    def body(self) -> bytes:
        """Return the content."""
        return json.dumps({"error": self.error, "detail": self.detail}).encode()

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Return all headers."""
        length = b"%d" % len(self.body)
        own = [(b"content-type", b"application/json"), (b"content-length", length), (b"cache-control", b"no-store")]
        return [*own, *self.more, (b"connection", b"close")]
