"""What every request is answered, over every transport, by the real process: one table, one test.

The rule: who should come back is told so in a way that an EventSource and a page's WebSocket survive (200, accept and
close), everyone else gets the status or the close code that says what is wrong.
"""

from __future__ import annotations

import asyncio
import json
import signal
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from confluent_kafka import Producer

from kafka_cluster import free_ports
from real.service import ServiceProcess, token, unready
from real.transports import TRANSPORTS, Answer, Ask, Item, http, sse, sse_h2, sse_h2_to_the_end, websocket, websocket_h2
from tailrace.dev import EmbeddedBroker

if TYPE_CHECKING:
    from collections.abc import Iterator

    from real.transports import Transport

TOPIC = "t"
SESSION = "chat/ada"
GOOD = token(SESSION)
LISTED = "https://app.example.com"
MOST = 3
"""Connections of one subject."""

SSE = {"sse": sse, "sse-h2": sse_h2}
WEBSOCKET = {"websocket": websocket, "websocket-h2": websocket_h2}
every_transport = pytest.mark.parametrize("transport", TRANSPORTS.values(), ids=TRANSPORTS.keys())
every_sse = pytest.mark.parametrize("transport", SSE.values(), ids=SSE.keys())
every_websocket = pytest.mark.parametrize("transport", WEBSOCKET.values(), ids=WEBSOCKET.keys())
both_http = pytest.mark.parametrize("h2", [False, True], ids=["h1", "h2"])


@pytest.fixture(scope="module")
def broker() -> Iterator[EmbeddedBroker]:
    """A broker with the topic, in two partitions."""
    with EmbeddedBroker() as embedded:
        embedded.create_topic(TOPIC, 2)
        yield embedded


@pytest.fixture(scope="module")
def service(broker: EmbeddedBroker) -> Iterator[ServiceProcess]:
    """The service; pages of its own host may ask."""
    with ServiceProcess(broker.bootstrap, TOPIC, max_connections_per_subject=MOST) as process:
        yield process


@pytest.fixture(scope="module")
def listing(broker: EmbeddedBroker) -> Iterator[ServiceProcess]:
    """The service with a list of origins."""
    with ServiceProcess(broker.bootstrap, TOPIC, allowed_origins=LISTED) as process:
        yield process


@dataclass(frozen=True)
class Row:
    """One request that is refused for good: HTTP status, RFC 6750's error code and close code."""

    ask: Ask
    status: int
    code: str
    close_code: int


def bearer(value: str) -> Ask:
    return Ask(SESSION, value)


def named(raw: str) -> Ask:
    return Ask("", token("*"), raw_session=raw)


def asked(**query: str) -> Ask:
    return Ask(SESSION, GOOD, query=query)


REFUSED = {
    "no JWT": Row(bearer("nonsense"), 401, "invalid_token", 4401),
    "expired": Row(bearer(token(SESSION, ttl_seconds=-5)), 401, "invalid_token", 4401),
    "another audience": Row(bearer(token(SESSION, audience="another")), 401, "invalid_token", 4401),
    "another key": Row(bearer(token(SESSION, secret="x" * 32)), 401, "invalid_token", 4401),
    "no algorithm": Row(bearer("eyJhbGciOiJub25lIn0.e30."), 401, "invalid_token", 4401),
    "two words": Row(Ask(SESSION, headers={"authorization": "Bearer a b"}), 400, "invalid_request", 4400),
    "foreign session": Row(Ask("chat/grace", GOOD), 403, "insufficient_scope", 4403),
    "no session": Row(Ask("chat/grace", token()), 403, "insufficient_scope", 4403),
    "empty segment": Row(named("a%2F%2Fb"), 400, "invalid_request", 4400),
    "dot segment": Row(named("a%2F%2E%2E%2Fb"), 400, "invalid_request", 4400),
    "control character": Row(named("a%01b"), 400, "invalid_request", 4400),
    "not UTF-8": Row(named("a%FFb"), 400, "invalid_request", 4400),
    "too long": Row(named("a" * 257), 400, "invalid_request", 4400),
    "star": Row(named("chat%2F%2A"), 400, "invalid_request", 4400),
    "bad from": Row(asked(**{"from": "yesterday"}), 400, "invalid_request", 4400),
    "bad id in the query": Row(asked(last_event_id="v1.nonsense"), 400, "invalid_request", 4400),
    "bad id by its other name": Row(asked(lastEventId="17"), 400, "invalid_request", 4400),
    "token in the query": Row(Ask(SESSION, query={"token": GOOD}), 400, "invalid_request", 4400),
    "JWT in any parameter": Row(Ask(SESSION, GOOD, query={"x": GOOD}), 400, "invalid_request", 4400),
}
every_row = pytest.mark.parametrize("row", REFUSED.values(), ids=REFUSED.keys())


class TestRefused:
    @every_sse
    @every_row
    async def test_event_stream(self, service: ServiceProcess, transport: Transport, row: Row) -> None:
        """An event-stream is refused with the status and RFC 6750's code; the token is never quoted."""
        async with transport(service, row.ask) as answer:
            assert (row.status, row.code) == (answer.status, json.loads(answer.body)["error"])
        assert (row.status in {401, 403}) == (f'error="{row.code}"' in answer.headers.get("www-authenticate", ""))
        assert (row.ask.token or GOOD).encode() not in answer.body

    @every_websocket
    @every_row
    async def test_websocket(self, service: ServiceProcess, transport: Transport, row: Row) -> None:
        """A WebSocket is accepted, told why in a last frame and closed with the code."""
        async with transport(service, row.ask) as answer:
            [last] = await answer.rest()
        assert ("tailrace.disconnect", row.close_code, False) == (
            last.name,
            last.fields["code"],
            last.fields["reconnect"],
        )
        assert (row.close_code, "") == (answer.close_code, last.id)

    @every_sse
    async def test_no_token(self, service: ServiceProcess, transport: Transport) -> None:
        """Where no token came, 401 has no detail (RFC 6750 section 3)."""
        async with transport(service, Ask(SESSION)) as answer:
            assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="tailrace"')

    @both_http
    @pytest.mark.parametrize(
        "method, path, expected",
        [
            ("GET", "/", 404),
            ("GET", "/v1/sessions/events", 404),
            ("GET", "/readyz", 404),
            ("POST", "/v1/sessions/s/events", 405),
            ("GET", "/v1/cookie", 405),
            ("GET", "/openapi.yaml", 200),
            ("GET", "/asyncapi.yaml", 200),
        ],
    )
    async def test_routes(self, service: ServiceProcess, h2: bool, method: str, path: str, expected: int) -> None:
        """An unknown address is 404 and a wrong method 405; health is not for clients, the contracts are."""
        async with http(service, h2=h2) as client:
            assert expected == (await client.request(method, path)).status_code

    @every_websocket
    @pytest.mark.parametrize("route", ["events", "nothing"])
    async def test_routes_of_websockets(self, service: ServiceProcess, transport: Transport, route: str) -> None:
        """A WebSocket to an address that has none is refused before accept."""
        async with transport(service, Ask(SESSION, GOOD, route=route)) as answer:
            assert answer.status in {403, 404}

    @both_http
    async def test_websocket_address_without_upgrade(self, service: ServiceProcess, h2: bool) -> None:
        """The WebSocket's address is no stream, and says how it is asked."""
        async with http(service, h2=h2) as client:
            answer = await client.get(Ask(SESSION).path("ws"))
        assert ((400 if h2 else 426), "this is a WebSocket's address") == (
            answer.status_code,
            answer.json()["detail"].partition(":")[0],
        )

    @both_http
    async def test_head(self, service: ServiceProcess, h2: bool) -> None:
        """HEAD gets an event-stream's head, and no stream."""
        async with http(service, h2=h2) as client:
            answer = await client.head(Ask(SESSION).path("events"), headers={"authorization": f"Bearer {GOOD}"})
        assert (
            answer.status_code,
            answer.headers["content-type"].partition(";")[0],
            answer.content,
        ) == (200, "text/event-stream", b"")


class TestFirstMessage:
    @every_websocket
    async def test_token(self, service: ServiceProcess, transport: Transport) -> None:
        """A WebSocket that brought no token may send it as its first message."""
        async with transport(service, Ask(SESSION, message=json.dumps({"token": GOOD}))) as answer:
            assert (await answer.next()).name == "tailrace.ready"

    @every_websocket
    @pytest.mark.parametrize(
        "message, expected",
        [
            ("hello", 4400),
            ("[]", 4400),
            ('{"token": 7}', 4400),
            ('{"token": "nonsense"}', 4401),
            (json.dumps({"token": token("another")}), 4403),
        ],
    )
    async def test_bad(self, service: ServiceProcess, transport: Transport, message: str, expected: int) -> None:
        """A first message that is no token closes with 4400, a bad token with 4401, one for others with 4403."""
        async with transport(service, Ask(SESSION, message=message)) as answer:
            [last] = await answer.rest()
        assert (expected, expected) == (last.fields["code"], answer.close_code)

    async def test_none_in_time(self, service: ServiceProcess) -> None:
        """Without a token in ten seconds the socket is closed with 4408."""
        async with AsyncExitStack() as stack:
            answers = [await stack.enter_async_context(each(service, Ask(SESSION))) for each in WEBSOCKET.values()]
            lasts = await asyncio.gather(*(answer.rest() for answer in answers))
        assert [[last.fields["code"] for last in each] for each in lasts] == [[4408], [4408]]
        assert [answer.close_code for answer in answers] == [4408, 4408]

    @every_websocket
    async def test_talking(self, service: ServiceProcess, transport: Transport) -> None:
        """A client that says anything after it was admitted is told so, and closed with 4400."""
        async with transport(service, Ask(SESSION, GOOD, message="hello")) as answer:
            last = (await answer.rest())[-1]
        assert (
            last.name,
            last.fields["code"],
            last.fields["reconnect"],
            answer.close_code,
        ) == ("tailrace.disconnect", 4400, False, 4400)

    @every_websocket
    async def test_flood(self, service: ServiceProcess, transport: Transport) -> None:
        """A client that floods the service with what it may say, a token, is closed with 1008."""
        token_again = json.dumps({"token": GOOD})
        async with transport(service, Ask(SESSION, GOOD, message=token_again, times=200)) as answer:
            await answer.rest()
        assert answer.close_code == 1008

    async def test_no_pong(self, service: ServiceProcess) -> None:
        """A client that takes everything and answers no ping is told so, and closed with 4410."""
        ask = Ask(SESSION, GOOD, answers_pings=False)
        async with websocket_h2(service, ask) as answer:
            last = (await answer.rest())[-1]
        assert ("tailrace.disconnect", 4410, True, 4410) == (
            last.name,
            last.fields["code"],
            last.fields["reconnect"],
            answer.close_code,
        )

    @every_websocket
    async def test_subprotocol(self, service: ServiceProcess, transport: Transport) -> None:
        """A page may put the token into a subprotocol: only the other one is echoed."""
        offered = {"sec-websocket-protocol": f"tailrace.v1, tailrace.bearer.{GOOD}"}
        async with transport(service, Ask(SESSION, headers=offered)) as answer:
            assert (await answer.next()).name == "tailrace.ready"
            headers = {name.lower(): value for name, value in answer.headers.items()}
        assert headers["sec-websocket-protocol"] == "tailrace.v1"


class TestOrigin:
    @every_websocket
    @pytest.mark.parametrize("origin", ["https://evil.example.com", "null"])
    async def test_foreign(self, service: ServiceProcess, transport: Transport, origin: str) -> None:
        """A page of another site is refused before accept, whatever it brings."""
        async with transport(service, Ask(SESSION, GOOD, headers={"origin": origin})) as answer:
            assert answer.status == 403

    @every_transport
    @pytest.mark.parametrize("page", [{"sec-fetch-site": "same-origin"}, {"origin": "the service's own"}])
    async def test_cookie(self, service: ServiceProcess, transport: Transport, page: dict[str, str]) -> None:
        """The cookie counts where the browser says that an allowed page asked."""
        origin = {"origin": service.url} if "origin" in page else page
        async with transport(service, Ask(SESSION, headers={"cookie": f"__Host-tailrace={GOOD}", **origin})) as answer:
            assert (await answer.next()).name == "tailrace.ready"

    @every_sse
    @pytest.mark.parametrize("page", [{}, {"sec-fetch-site": "cross-site"}, {"origin": "https://evil.example.com"}])
    async def test_cookie_alone(self, service: ServiceProcess, transport: Transport, page: dict[str, str]) -> None:
        """A cookie that came without an allowed page is no token at all."""
        async with transport(service, Ask(SESSION, headers={"cookie": f"__Host-tailrace={GOOD}", **page})) as answer:
            assert (answer.status, answer.headers["www-authenticate"]) == (401, 'Bearer realm="tailrace"')

    @every_websocket
    async def test_cookie_without_a_page(self, service: ServiceProcess, transport: Transport) -> None:
        """Over WebSocket too: the first message is waited for."""
        ask = Ask(SESSION, headers={"cookie": f"__Host-tailrace={GOOD}"}, message="{}")
        async with transport(service, ask) as answer:
            assert [last.fields["code"] for last in await answer.rest()] == [4400]

    @every_websocket
    async def test_list(self, listing: ServiceProcess, transport: Transport) -> None:
        """With a list, the pages on it may ask, and nobody else's: not even the service's own host."""
        async with transport(listing, Ask(SESSION, GOOD, headers={"origin": LISTED})) as answer:
            assert (await answer.next()).name == "tailrace.ready"
        async with transport(listing, Ask(SESSION, GOOD, headers={"origin": listing.url})) as answer:
            assert answer.status == 403

    @both_http
    async def test_cors(self, listing: ServiceProcess, h2: bool) -> None:
        """Error answers can be read by pages on the list (CORS), and a preflight lists the two headers by name."""
        asks = {"access-control-request-method": "GET", "access-control-request-headers": "authorization,last-event-id"}
        async with http(listing, h2=h2) as client:
            path = Ask(SESSION).path("events")
            refused = await client.get(path, headers={"origin": LISTED})
            preflight = await client.options(path, headers={"origin": LISTED, **asks})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, LISTED)
        allowed = preflight.headers["access-control-allow-headers"].lower().split(", ")
        assert (preflight.status_code, {"authorization", "last-event-id"} <= set(allowed)) == (200, True)


class TestCookie:
    @both_http
    async def test_set_and_removed(self, service: ServiceProcess, h2: bool) -> None:
        """A Bearer token becomes a cookie that no script can read, and DELETE takes it back."""
        async with http(service, h2=h2) as client:
            made = await client.post("/v1/cookie", headers={"authorization": f"Bearer {GOOD}"})
            removed = await client.delete("/v1/cookie")
        assert (made.status_code, removed.status_code) == (204, 204)
        assert made.headers["set-cookie"].startswith(f"__Host-tailrace={GOOD}; Path=/; Max-Age=")
        assert made.headers["set-cookie"].endswith("; HttpOnly; SameSite=Lax; Secure")
        assert removed.headers["set-cookie"].startswith("__Host-tailrace=; Path=/; Max-Age=0")

    @both_http
    @pytest.mark.parametrize("headers", [{}, {"cookie": f"__Host-tailrace={GOOD}", "sec-fetch-site": "same-origin"}])
    async def test_needs_bearer(self, service: ServiceProcess, h2: bool, headers: dict[str, str]) -> None:
        """No cookie is made of nothing, nor of another cookie."""
        async with http(service, h2=h2) as client:
            assert (await client.post("/v1/cookie", headers=headers)).status_code == 401


async def comes_back(answer: Answer, code: int, *, websocket: bool) -> None:
    """Hold that this client is told to come back, with the code, without an id, and when."""
    [last] = await answer.rest()
    assert ("tailrace.disconnect", "", code, True) == (
        last.name,
        last.id,
        last.fields["code"],
        last.fields["reconnect"],
    )
    assert 0 < last.fields["retry_after_ms"] <= 60_000
    assert (code if websocket else None) == answer.close_code
    assert (None if websocket else last.fields["retry_after_ms"]) == answer.retry_ms


class TestComeBack:
    @every_transport
    async def test_too_many(self, service: ServiceProcess, transport: Transport) -> None:
        """Over the bound of connections for one subject: come back, 4429; another subject is served."""
        mine = Ask(SESSION, token(SESSION, subject=f"many {transport.__name__}"))
        async with AsyncExitStack() as stack:
            for _ in range(MOST):
                admitted = await stack.enter_async_context(transport(service, mine))
                assert (await admitted.next()).name == "tailrace.ready"
            async with transport(service, mine) as answer:
                await comes_back(answer, 4429, websocket=transport in WEBSOCKET.values())
            async with transport(service, Ask(SESSION, token(SESSION, subject="another"))) as answer:
                assert (await answer.next()).name == "tailrace.ready"

    async def test_kafka_away(self) -> None:
        """Where Kafka has not answered yet: come back, 1013; who may not read is told that first."""
        [nobody] = free_ports(1)
        with unready(ServiceProcess(f"127.0.0.1:{nobody}", TOPIC)) as service:
            assert service.health() == 503
            for transport in TRANSPORTS.values():
                async with transport(service, Ask(SESSION, GOOD)) as answer:
                    await comes_back(answer, 1013, websocket=transport in WEBSOCKET.values())
            async with sse(service, Ask(SESSION)) as answer:
                assert answer.status == 401

    async def test_draining(self, broker: EmbeddedBroker) -> None:
        """While the service shuts down: come back, 1001, over a new connection as well."""
        with ServiceProcess(broker.bootstrap, TOPIC, drain_seconds=3600) as service:
            async with AsyncExitStack() as stack:
                for _ in range(2):
                    admitted = await stack.enter_async_context(sse(service, Ask(SESSION, GOOD)))
                    assert (await admitted.next()).name == "tailrace.ready"
                service.signal(signal.SIGTERM)
                await asyncio.to_thread(service.wait_until, lambda: service.health() == 503)
                for transport in {**TRANSPORTS, "sse-h2": sse_h2_to_the_end}.values():
                    async with transport(service, Ask(SESSION, GOOD)) as answer:
                        await comes_back(answer, 1001, websocket=transport in WEBSOCKET.values())


class TestStream:
    @every_transport
    async def test_ready(self, service: ServiceProcess, transport: Transport) -> None:
        """The first thing on every connection says where it stands, and to which session."""
        async with transport(service, Ask(SESSION, GOOD)) as answer:
            ready = await answer.next()
        fields = {key: value for key, value in ready.fields.items() if key not in {"id", "expires_in_seconds"}}
        assert ("tailrace.ready", ready.id) == (ready.name, ready.fields["id"])
        assert fields == {
            "session": SESSION,
            "resumed": False,
            "encoding": "text",
            "continuity": "complete",
            "heartbeat_seconds": 1.0,
        }

    @every_transport
    async def test_token_runs_out(self, service: ServiceProcess, transport: Transport) -> None:
        """A stream ends when its token does: 4401, with its place, and come back."""
        async with transport(service, Ask(SESSION, token(SESSION, ttl_seconds=2))) as answer:
            last = (await answer.rest())[-1]
        assert (last.name, last.fields["code"], last.fields["reconnect"]) == ("tailrace.disconnect", 4401, True)
        assert (last.id, last.id[:3]) == (last.fields["id"], "v1.")

    @every_sse
    @pytest.mark.parametrize("last_id", ["17", "v2.9f3a2c1d.4", "v1.9f3a2c1d.4"])
    async def test_strange_header(self, service: ServiceProcess, transport: Transport, last_id: str) -> None:
        """A Last-Event-ID that is not ours is a reset, not a 400: the browser sends it by itself. Until it has been
        told so it keeps an id of our making, so that it is told so even if it is cut off before."""
        async with transport(service, Ask(SESSION, GOOD, last_id)) as answer:
            items = [await answer.next() for _ in range(3)]
        assert [item.name for item in items] == ["tailrace.ready", "tailrace.reset", "tailrace.live"]
        assert ("epoch", last_id) == (items[1].fields["reason"], items[1].fields["requested"])
        assert items[0].id == (last_id if last_id.startswith("v1.") else items[1].id)

    @every_websocket
    async def test_strange_id(self, service: ServiceProcess, transport: Transport) -> None:
        """An id of another cluster's topic is a reset over WebSocket as well."""
        async with transport(service, Ask(SESSION, GOOD, "v1.9f3a2c1d.4")) as answer:
            items = [await answer.next() for _ in range(3)]
        assert [item.name for item in items] == ["tailrace.ready", "tailrace.reset", "tailrace.live"]

    @every_transport
    async def test_ended_session(self, broker: EmbeddedBroker, service: ServiceProcess, transport: Transport) -> None:
        """A tombstone ends the session; who comes back with that id is sent away for good, until it goes on."""
        session = f"ended {transport.__name__}"
        ask = Ask(session, token(session))
        async with transport(service, ask) as answer:
            await answer.next()
            say(broker, session, "last words", None)
            items = await answer.rest()
        events = [item for item in items if item.name != "tailrace.position"]
        assert [
            (events[0].name, events[0].data),
            (events[1].name, events[1].id.endswith(".end")),
        ] == [("message", "last words"), ("tailrace.end", True)]
        async with transport(service, replace(ask, last_id=items[-1].id)) as again:
            assert await again.rest() == []
        assert (again.status, again.close_code) == (204, None) or again.close_code == 1000
        async with sse(service, ask) as witness:
            await witness.next()
            say(broker, session, "another thought")
            await event_of(witness)
        async with transport(service, replace(ask, last_id=items[-1].id)) as revived:
            assert (await event_of(revived)).data == "another thought"


async def event_of(answer: Answer) -> Item:
    """Wait for the next event that a producer made."""
    while (item := await answer.next()).name.startswith("tailrace."):
        pass
    return item


def say(broker: EmbeddedBroker, session: str, *values: str | None) -> None:
    """Produce to a session and wait until the broker has it; None ends the session."""
    producer = Producer({"bootstrap.servers": broker.bootstrap, "linger.ms": 0})
    for value in values:
        producer.produce(TOPIC, value, key=session)
    assert producer.flush(30) == 0
