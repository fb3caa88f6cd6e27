"""The live page: one HTML file with its own style and script, and the policy that lets nothing else run.

It knows nothing of HTTP servers, sessions or Kafka: `app` makes the responses, the page itself speaks to the service as
any browser would. Nothing is built, and nothing is loaded from elsewhere. It sits beside the data path, at ``GET /`` of
the development service.
"""

from __future__ import annotations

import base64
import hashlib
import re
from importlib.resources import files

# A browser hashes inline text with its line ends made LF, so a checkout with CRLF must not change the hashes.
_PAGE = files(__name__).joinpath("index.html").read_bytes().replace(b"\r\n", b"\n")


def _hashes_of(tag: str) -> str:
    """The CSP source of every inline ``tag`` of the page (CSP Level 3, section 2.3.1, "hash-source")."""
    inline = re.findall(rf"<{tag}>(.*?)</{tag}>".encode(), _PAGE, re.DOTALL)
    return " ".join(f"'sha256-{base64.b64encode(hashlib.sha256(text).digest()).decode()}'" for text in inline)


CONTENT_SECURITY_POLICY = "; ".join(
    (
        "default-src 'none'",
        f"script-src {_hashes_of('script')}",
        f"style-src {_hashes_of('style')}",
        "img-src data:",  # the icon, which stands in the page itself
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",  # event data can never become markup
    )
)
"""Value of the ``Content-Security-Policy`` header that the page must be served with."""


def page() -> bytes:
    """The page, UTF-8 HTML; the same bytes for as long as the process lives."""
    return _PAGE
