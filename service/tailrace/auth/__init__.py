"""Who may read: from what a request carries to a principal.

Pure: takes header lists and texts, gives values, and knows neither Starlette nor which sessions exist. `token` verifies
and issues JWTs and is the only file that names ``jwt``; `credential` finds the token in a request and makes the cookie;
`origin` says which pages may use a cookie or open a WebSocket.
"""

from tailrace.auth.credential import (
    BEARER_SUBPROTOCOL,
    SECURE_COOKIE,
    Credential,
    cookie_name,
    refuse_token_in_query,
    remove_cookie,
    set_cookie,
    token_from_headers,
)
from tailrace.auth.origin import check_websocket_origin, cookie_allowed, origin_allowed
from tailrace.auth.token import MAX_NUMERIC_DATE, MAX_STREAM_SECONDS, Principal, Verifier, entry_problem, issue

__all__ = [
    "BEARER_SUBPROTOCOL",
    "MAX_NUMERIC_DATE",
    "MAX_STREAM_SECONDS",
    "SECURE_COOKIE",
    "Credential",
    "Principal",
    "Verifier",
    "check_websocket_origin",
    "cookie_allowed",
    "cookie_name",
    "entry_problem",
    "issue",
    "origin_allowed",
    "refuse_token_in_query",
    "remove_cookie",
    "set_cookie",
    "token_from_headers",
]
