"""The routes, errors made into answers, and what lives as long as the service."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from asgi import EVENTS, LEFT, SECRET, SOCKET, Exchange, ask, bearer, raw_scope, token
from builders import DECODER, FakeRecord, append
from fake_kafka import FakeKafka
from tailrace.admission import Admission
from tailrace.app import CONTRACTS, admin_app, public_app
from tailrace.auth import Verifier, cookie_name
from tailrace.config import load
from tailrace.consumer import Consumer
from tailrace.errors import ComeBack, TooManyConnections
from tailrace.kafka import KafkaConnection
from tailrace.metrics import Metrics
from tailrace.replay import Bounds, Replay, Scanner
from tailrace.service import Service, connection_of, verifier_of
from tailrace.subscription import Subscriptions, Terms
from tailrace.tail import Tail
from tailrace.timers import Wheel

ORIGIN = "https://app.test"
VARIABLES = {"TAILRACE_KAFKA_TOPICS": "t", "TAILRACE_JWT_SECRET": SECRET}


class Waits:
    """What the service waits for; set by hand."""

    def __init__(self) -> None:
        self.reasons: list[str] = []

    def __call__(self) -> list[str]:
        return self.reasons


def service(waits: Waits | None = None, **variables: str) -> Service:
    """Put a service together whose consumer never runs; ``variables`` are settings without their prefix."""
    settings = load(
        {**VARIABLES, **{f"TAILRACE_{name}": value for name, value in variables.items()}}, Path("/dev/null")
    )
    tail = Tail(settings.kafka_topics, settings.tail_max_bytes)
    tail.learn(0, "9f3a2c1d", 1)
    kafka = FakeKafka(t=1)
    consumer = Consumer(kafka, tail, DECODER, warmup_seconds=0)
    scanner = Scanner(kafka, tail, refreshed=consumer.refreshed, metrics=Metrics())
    replay = Replay(scanner, tail, DECODER, Bounds())
    terms = Terms(max_connections=settings.max_connections)
    subscriptions = Subscriptions(tail, Wheel(), terms, waits or Waits(), replays=replay)
    admission = Admission(
        subscriptions,
        verifier_of(settings),
        allowed_origins=settings.allowed_origins,
        cookie_name=cookie_name(secure=settings.cookie_secure),
        refreshed=consumer.refreshed,
        asking=consumer.asking,
    )
    return Service(settings, tail, consumer, replay, subscriptions, admission, subscriptions.metrics)


async def public(path: str, *, of: Service | None = None, **about: Any) -> httpx.Response:
    return await ask(public_app(of or service()), path, **about)


# Routes ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["openapi.yaml", "asyncapi.yaml"])
async def test_the_contracts_are_served_byte_for_byte(name: str) -> None:
    """The very files that the repository holds."""
    answer = await public(f"/{name}")
    assert (200, "application/yaml") == (answer.status_code, answer.headers["content-type"])
    assert (CONTRACTS / name).read_bytes() == answer.content


@pytest.mark.parametrize("known", ["{}", "W/{}", '"other", {}', "*"])
async def test_a_contract_that_the_client_has_is_not_sent_again(known: str) -> None:
    """304, with what a cache needs to keep it longer; the tag is of the content, so one for all replicas."""
    first = await public("/openapi.yaml")
    again = await public("/openapi.yaml", headers={"if-none-match": known.format(first.headers["etag"])})
    assert (304, b"") == (again.status_code, again.content)
    assert {first.headers[name] == again.headers[name] for name in ("etag", "cache-control", "vary")} == {True}
    assert "public, max-age=300" == first.headers["cache-control"]


@pytest.mark.parametrize("known", ['"other"', "", "other"])
async def test_another_version_of_a_contract_is_sent(known: str) -> None:
    """Whatever was said of it."""
    assert 200 == (await public("/openapi.yaml", headers={"if-none-match": known})).status_code


@pytest.mark.parametrize("path", ["/v2/anything", "/v1/cookie/", "/openapi.yaml/", f"{EVENTS}/", "/livez"])
async def test_an_unknown_address_is_answered_in_json(path: str) -> None:
    """In the form of all other errors, and never stored; a slash too many is no other address for a known one."""
    answer = await public(path)
    assert (404, {"error": "not_found", "detail": "Not Found"}) == (answer.status_code, answer.json())
    assert "no-store" == answer.headers["cache-control"]


async def test_the_admin_listener_is_not_asked_by_any_name() -> None:
    """Only by an address, localhost, its own name and those that are listed; the answer says how to list one."""
    one = service(ADMIN_BIND="tailrace.internal:9080", ADMIN_ALLOWED_HOSTS="metrics.example")
    known = ("10.0.0.7:9080", "localhost:9080", "tailrace.internal:9080", "metrics.example")
    assert {200} == {(await admin("/livez", of=one, host=host)).status_code for host in known}
    answer = await admin("/metrics", of=one, host="evil.example")
    assert (421, "misdirected", "no-store") == (
        answer.status_code,
        answer.json()["error"],
        answer.headers["cache-control"],
    )
    assert "TAILRACE_ADMIN_ALLOWED_HOSTS" in answer.json()["detail"]
    assert 200 == (await admin("/livez", of=service(ADMIN_ALLOWED_HOSTS="*"), host="evil.example")).status_code


async def test_an_app_for_this_machine_is_not_asked_by_other_names() -> None:
    """As `tailrace dev` makes it: a page whose name was made to resolve to loopback gets no token."""
    app = public_app(service(), loopback_only=True)
    answers = [await ask(app, "/openapi.yaml", site=f"http://{host}") for host in ("127.0.0.1:1", "evil.example")]
    assert [200, 421] == [answer.status_code for answer in answers]


@pytest.mark.parametrize(
    "path, method, allowed",
    [
        (EVENTS, "POST", {"GET", "HEAD"}),
        ("/openapi.yaml", "PUT", {"GET", "HEAD"}),
        ("/v1/cookie", "GET", {"POST", "DELETE"}),
        (SOCKET, "POST", {"GET", "HEAD"}),
    ],
    ids=["events", "contract", "cookie", "websocket"],
)
async def test_an_unknown_method_is_answered_in_json(path: str, method: str, allowed: set[str]) -> None:
    """With those that would do."""
    answer = await public(path, method=method)
    assert (405, "method_not_allowed") == (answer.status_code, answer.json()["error"])
    assert allowed == set(answer.headers["allow"].split(", "))


async def test_a_websockets_address_says_how_it_is_asked() -> None:
    """With what 426 must carry (RFC 9110 section 15.5.22)."""
    answer = await public(SOCKET, headers=bearer())
    headers = [answer.headers[name] for name in ("upgrade", "connection")]
    assert (426, ["websocket", "upgrade"]) == (answer.status_code, headers)
    assert "Upgrade: websocket" in answer.json()["detail"]


async def test_over_http2_there_is_no_upgrade() -> None:
    """But an extended CONNECT."""
    exchange = Exchange()
    await public_app(service())(raw_scope(SOCKET, {}, http_version="2"), exchange.receive, exchange.send)
    assert (400, True) == (exchange.sent[0]["status"], "RFC 8441" in exchange.body)


async def test_other_routes_can_stand_beside_the_contracts() -> None:
    """Such as the console's."""

    async def page(_request: Request) -> Response:
        return PlainTextResponse("page")

    assert "page" == (await ask(public_app(service(), [Route("/page", page)]), "/page")).text


async def admin(path: str, *, of: Service | None = None, host: str = "127.0.0.1:9080", **about: Any) -> httpx.Response:
    return await ask(admin_app(of or service()), path, site=f"http://{host}", **about)


async def test_the_operators_routes_are_on_the_admin_app_only() -> None:
    """Health is for the operator; a client learns nothing of it."""
    one = service()
    answer = await admin("/readyz", of=one)
    assert (503, ["Kafka has not answered yet"]) == (answer.status_code, answer.json()["waiting_for"])
    assert 200 == (await admin("/livez", of=one)).status_code
    assert 404 == (await admin("/metrics/none", of=one)).status_code
    assert {404} == {(await public(path)).status_code for path in ("/livez", "/readyz")}


async def test_readyz_says_that_it_drains() -> None:
    """No new client is sent to a replica that leaves."""
    one = service()
    await one.drain()
    assert {"status": "draining"} == (await admin("/readyz", of=one)).json()


# Streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/v1/sessions/org/7/chat/events", "/v1/sessions/org%2F7%2Fchat/events"])
async def test_a_sessions_name_may_hold_slashes_encoded_or_not(path: str) -> None:
    """Decoded once: what the client hears is the session's name."""
    exchange, one = Exchange(), service()
    app = public_app(one)
    decoded = str(httpx.URL(f"http://x{path}").path)
    stream = asyncio.create_task(app(raw_scope(decoded, bearer()), exchange.receive, exchange.send))
    await exchange.until(lambda: "ready" in exchange.body)
    exchange.say({"type": "http.disconnect"})
    await stream
    assert '"session":"org/7/chat"' in exchange.body


async def test_the_websocket_is_beside_it() -> None:
    """The same admission, another transport."""
    exchange = Exchange({"type": "websocket.connect"})
    given = raw_scope("/v1/sessions/s/ws", bearer(), type="websocket", scheme="ws")
    socket = asyncio.create_task(public_app(service())(given, exchange.receive, exchange.send))
    await exchange.until(lambda: exchange.texts)
    exchange.say(LEFT)
    await socket
    assert "tailrace.ready" == json.loads(exchange.texts[0])["control"]


async def test_head_of_a_stream_is_answered_and_over() -> None:
    """It holds no place."""
    one = service()
    answer = await public(EVENTS, of=one, method="HEAD", headers=bearer())
    assert (200, b"", 0) == (answer.status_code, answer.content, len(one.subscriptions))


async def test_a_session_that_has_ended_has_no_content() -> None:
    """204 is how EventSource is told to stay away (HTML Living Standard section 9.2.3)."""
    one = service()
    append(one.tail, FakeRecord(0, value=None))
    headers = {**bearer(), "last-event-id": "v1.9f3a2c1d.1.end"}
    answer = await public(EVENTS, of=one, headers=headers)
    assert (204, b"", 0) == (answer.status_code, answer.content, len(one.subscriptions))
    assert "no-store" == answer.headers["cache-control"]


async def test_a_stream_that_should_be_tried_again_is_a_stream() -> None:
    """EventSource gives up for good on anything but 200."""
    waits = Waits()
    waits.reasons = ["Kafka has not answered yet"]
    answer = await public(EVENTS, of=service(waits), headers=bearer())
    assert (200, True) == (answer.status_code, answer.headers["content-type"].startswith("text/event-stream"))
    assert "event: tailrace.disconnect" in answer.text


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "about, status, code, challenge",
    [
        ({}, 401, "unauthenticated", 'Bearer realm="tailrace"'),
        (
            {"headers": {"authorization": "Bearer a.b.c"}},
            401,
            "invalid_token",
            'Bearer realm="tailrace", error="invalid_token", error_description="the token is not a well-formed JWT"',
        ),
        (
            {"headers": bearer("other")},
            403,
            "insufficient_scope",
            'Bearer realm="tailrace", error="insufficient_scope"',
        ),
        ({"headers": {"authorization": "Bearer"}}, 400, "invalid_request", None),
        ({"path": "/v1/sessions/a//b/events", "headers": bearer()}, 400, "invalid_request", None),
    ],
    ids=["no token", "bad token", "not theirs", "malformed", "no session"],
)
async def test_refusals_follow_rfc_6750(about: dict[str, Any], status: int, code: str, challenge: str | None) -> None:
    """Without detail where no token came; JSON, and never stored."""
    answer = await public(**{"path": EVENTS, **about})
    assert (status, code) == (answer.status_code, answer.json()["error"])
    assert (challenge, "no-store") == (answer.headers.get("www-authenticate"), answer.headers["cache-control"])


async def test_other_routes_are_told_to_come_back_with_a_status() -> None:
    """503 with the seconds; 429 where it was the client's own doing."""

    async def later(_request: Request) -> Response:
        raise ComeBack("not yet", retry_after_seconds=7.4)

    async def many(_request: Request) -> Response:
        raise TooManyConnections("too many", retry_after_seconds=0.1)

    app = public_app(service(), [Route("/later", later), Route("/many", many)])
    answers = [await ask(app, path) for path in ("/later", "/many")]
    assert [(503, "7"), (429, "1")] == [(each.status_code, each.headers["retry-after"]) for each in answers]


# The cookie --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("site", ["https://tailrace.test", "http://tailrace.test", "http://127.0.0.1:8080"])
@pytest.mark.parametrize("name, secure", [("__Host-tailrace", True), ("tailrace", False)], ids=["secure", "plain"])
async def test_a_bearer_can_be_put_into_a_cookie(site: str, name: str, secure: bool) -> None:
    """HttpOnly, SameSite=Lax, for as long as the token lives; Secure wherever it seems to be asked, unless told not."""
    given, one = token(), service(COOKIE_SECURE=str(secure).lower())
    answer = await public("/v1/cookie", of=one, method="POST", headers={"authorization": f"Bearer {given}"}, site=site)
    value, *attributes = answer.headers["set-cookie"].split("; ")
    assert (204, f"{name}={given}", "no-store") == (answer.status_code, value, answer.headers["cache-control"])
    assert {"Path=/", "HttpOnly", "SameSite=Lax"} <= set(attributes)
    assert secure == ("Secure" in attributes)
    [max_age] = [each.removeprefix("Max-Age=") for each in attributes if each.startswith("Max-Age=")]
    assert 0 < int(max_age) <= 600


async def test_the_cookie_reads_the_stream_of_the_same_page() -> None:
    """What a native EventSource, which can send no header, reads with."""
    headers = {"cookie": f"__Host-tailrace={token()}", "sec-fetch-site": "same-origin"}
    answer = await public(EVENTS, method="HEAD", headers=headers)
    assert 200 == answer.status_code
    assert 401 == (await public(EVENTS, headers={**headers, "sec-fetch-site": "cross-site"})).status_code


async def test_a_cookie_makes_no_cookie() -> None:
    """Only a Bearer does: the browser sends a cookie by itself."""
    headers = {"cookie": f"__Host-tailrace={token()}", "sec-fetch-site": "same-origin"}
    assert 401 == (await public("/v1/cookie", method="POST", headers=headers)).status_code


async def test_a_bad_token_makes_no_cookie() -> None:
    """It is verified first."""
    answer = await public("/v1/cookie", method="POST", headers={"authorization": "Bearer a.b.c"})
    assert (401, None) == (answer.status_code, answer.headers.get("set-cookie"))


async def test_anyone_may_have_the_cookie_forgotten() -> None:
    """With an age of nothing."""
    answer = await public("/v1/cookie", method="DELETE")
    assert 204 == answer.status_code
    assert answer.headers["set-cookie"].startswith("__Host-tailrace=; Path=/; Max-Age=0;")


# Other origins -----------------------------------------------------------------------------------------------------


async def test_pages_of_listed_origins_may_ask_and_read_errors_too() -> None:
    """A page that cannot read the refusal cannot fetch another token."""
    answer = await public(EVENTS, of=service(ALLOWED_ORIGINS=ORIGIN), headers={"origin": ORIGIN})
    assert (401, ORIGIN, "true") == (
        answer.status_code,
        answer.headers["access-control-allow-origin"],
        answer.headers["access-control-allow-credentials"],
    )


async def test_a_preflight_lists_our_headers_by_name() -> None:
    """A star does not cover Authorization (Fetch Standard, section 4.10)."""
    asked = {
        "origin": ORIGIN,
        "access-control-request-method": "GET",
        "access-control-request-headers": "authorization,last-event-id",
    }
    answer = await public(EVENTS, of=service(ALLOWED_ORIGINS=ORIGIN), method="OPTIONS", headers=asked)
    allowed = {name.strip() for name in answer.headers["access-control-allow-headers"].split(",")}
    assert (200, True) == (answer.status_code, {"Authorization", "Last-Event-ID"} <= allowed)


@pytest.mark.parametrize("listed", ["", ORIGIN])
async def test_pages_of_other_origins_are_told_nothing(listed: str) -> None:
    """With a list and without."""
    answer = await public(EVENTS, of=service(ALLOWED_ORIGINS=listed), headers={"origin": "https://evil.test"})
    assert "access-control-allow-origin" not in answer.headers


# What lives as long as the service ---------------------------------------------------------------------------------


async def test_a_drain_ends_every_stream_within_the_configured_time() -> None:
    """Each with its farewell, and the response ends."""
    one, exchange = service(DRAIN_SECONDS="0"), Exchange()
    stream = asyncio.create_task(public_app(one)(raw_scope(EVENTS, bearer()), exchange.receive, exchange.send))
    await exchange.until(lambda: "ready" in exchange.body)
    await one.drain()
    await stream
    assert ('"code":1001' in exchange.body, 0) == (True, len(one.subscriptions))


def test_the_key_may_be_a_secret_or_a_public_key(tmp_path: Path) -> None:
    """Whichever is configured verifies."""
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    file = tmp_path / "key.pem"
    file.write_bytes(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    environ = {"TAILRACE_KAFKA_TOPICS": "t", "TAILRACE_JWT_PUBLIC_KEY_FILE": str(file)}
    assert isinstance(verifier_of(load(environ, Path("/dev/null"))), Verifier)
    assert "ada" == verifier_of(load(VARIABLES, Path("/dev/null"))).verify(token()).subject


def test_the_settings_say_how_to_reach_kafka(tmp_path: Path) -> None:
    """Every one of them."""
    files = {name: tmp_path / name for name in ("CA", "CERT", "KEY")}
    for file in files.values():
        file.touch()
    environ = {
        **VARIABLES,
        "TAILRACE_KAFKA_BOOTSTRAP_SERVERS": "k:9093",
        "TAILRACE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "TAILRACE_KAFKA_SASL_MECHANISM": "PLAIN",
        "TAILRACE_KAFKA_SASL_USERNAME": "tailrace",
        "TAILRACE_KAFKA_SASL_PASSWORD": "a password",
        **{f"TAILRACE_KAFKA_SSL_{name}_FILE": str(file) for name, file in files.items()},
    }
    expected = KafkaConnection(
        bootstrap_servers="k:9093",
        security_protocol="SASL_SSL",
        sasl_mechanism="PLAIN",
        sasl_username="tailrace",
        sasl_password="a password",
        ssl_ca_file=str(files["CA"]),
        ssl_cert_file=str(files["CERT"]),
        ssl_key_file=str(files["KEY"]),
    )
    assert expected == connection_of(load(environ, Path("/dev/null")))
