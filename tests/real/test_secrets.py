"""Nothing that is secret leaves the process: not by its log, not by what operators are shown, not by an answer.

The secrets are the key that signs, the tokens and the password for Kafka; at the level ``info`` also the names of
sessions, which are somebody's conversations.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import quote

import httpx
import pytest
from websockets.asyncio.client import connect as connect_websocket
from websockets.typing import Subprotocol

from kafka_cluster import PASSWORD, USER, free_ports
from real.producing import fresh
from real.service import SECRET, ServiceProcess, token, unready
from real.transports import SUBPROTOCOL, TRANSPORTS, Ask, http
from tailrace.dev import EmbeddedBroker

if TYPE_CHECKING:
    from kafka_cluster import KafkaCluster

TOPIC = "t"
OTHER_SECRET = "a secret of another service, given here by mistake"
both_levels = pytest.mark.parametrize("level", ["info", "debug"])


def spellings(secret: str) -> set[str]:
    """Give what a secret looks like as it is, in an address, in base64 and in hexadecimal digits."""
    data = secret.encode()
    return {secret, quote(secret, safe=""), base64.b64encode(data).decode().rstrip("="), data.hex()}


def parts(jwt: str) -> set[str]:
    """Give what of a token must not be shown: its claims name the session, its signature makes it good."""
    _, claims, signature = jwt.split(".")
    return {claims, signature}


@dataclass
class Visit:
    """All that clients and operators did, what they used and what they were answered."""

    service: ServiceProcess
    session: str = field(default_factory=lambda: fresh("private talk"))
    answers: list[str] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)

    def token(self, secret: str = SECRET, ttl_seconds: int = 600) -> str:
        """Sign a token, and remember it."""
        self.tokens.append(token(self.session, secret=secret, ttl_seconds=ttl_seconds, subject=fresh("ada")))
        return self.tokens[-1]

    async def come_by_every_way(self) -> None:
        """Bring good and bad tokens by every way that there is."""
        bad = [self.token(OTHER_SECRET), self.token(ttl_seconds=-5), "{}.{}.{}".format(*self.token().split("."))[:-2]]
        for jwt in (self.token(), *bad):
            for ask in (
                Ask(self.session, jwt),
                Ask(self.session, headers={"cookie": f"__Host-tailrace={jwt}", "sec-fetch-site": "same-origin"}),
                Ask(self.session, query={"token": jwt, "from": "tail"}),
                Ask(self.session, jwt, last_id="v1.deadbeef.1"),
                Ask(f"{self.session}/not mine", jwt),
            ):
                await self.ask_by_every_transport(ask)
            await self.ask("websocket", Ask(self.session, message=json.dumps({"token": jwt})))
            await self._offer(jwt)
            await self._exchange(jwt)

    def look(self, *paths: str) -> str:
        """Give what an operator is shown at ``paths`` of the admin listener."""
        return "".join(httpx.get(f"{self.service.admin_url}{path}", trust_env=False).text for path in paths)

    async def ask_by_every_transport(self, ask: Ask) -> None:
        for name in TRANSPORTS:
            await self.ask(name, ask)

    async def ask(self, transport: str, ask: Ask) -> None:
        """Ask once; the first item of a stream is answer enough."""
        async with TRANSPORTS[transport](self.service, ask) as answer:
            self.answers.append(f"{answer.headers} {answer.body.decode()}")
            async for item in answer.items:
                self.answers.append(f"{item}")
                break

    async def _offer(self, jwt: str) -> None:
        url = f"ws://{self.service.host_port}{Ask(self.session).path('ws')}"
        offered = [Subprotocol(SUBPROTOCOL), Subprotocol(f"tailrace.bearer.{jwt}")]
        async with connect_websocket(url, subprotocols=offered, proxy=None, close_timeout=1) as socket:
            self.answers.append(f"{socket.response} {await socket.recv()!r}")

    async def _exchange(self, jwt: str) -> None:
        """Exchange the token for a cookie, which holds it by design: all but that is looked at."""
        async with http(self.service) as client:
            answer = await client.post("/v1/cookie", headers={"authorization": f"Bearer {jwt}"})
        headers = [(name, value) for name, value in answer.headers.items() if name != "set-cookie"]
        self.answers.append(f"{headers} {answer.text}")


def shown(texts: str, secrets: set[str]) -> set[str]:
    """Give those secrets that can be seen."""
    return {secret for secret in secrets if secret in texts}


@both_levels
async def test_clients_secrets_stay_secret(level: str) -> None:
    """Whatever clients bring, and wherever: no token, no key and, at ``info``, no session is written down."""
    with EmbeddedBroker() as broker:
        broker.create_topic(TOPIC, 1)
        with ServiceProcess(broker.bootstrap, TOPIC, log_level=level, max_connections=10) as service:
            visit = Visit(service)
            await visit.come_by_every_way()
            operators = visit.look("/readyz", "/metrics", "/livez", "/no such page")
            service.stop()
    written = operators + service.log
    secrets = spellings(SECRET).union(*map(parts, visit.tokens))
    assert set() == shown(written + "".join(visit.answers), secrets)
    assert set() == shown(operators, spellings(visit.session))
    assert level == "debug" or set() == shown(service.log, spellings(visit.session))
    assert shown("".join(visit.answers), spellings(visit.session))  # what is shown is found


@pytest.mark.kafka
@both_levels
@pytest.mark.parametrize("password", [PASSWORD, "wrong, and still a secret"], ids=["right", "wrong"])
def test_the_password_for_kafka_stays_secret(kafka: KafkaCluster, level: str, password: str) -> None:
    """Neither a login nor its failure shows it, whatever the libraries below say of their requests."""
    service = ServiceProcess(
        kafka.secure_bootstrap,
        fresh("secret"),
        log_level=level,
        kafka_security_protocol="SASL_SSL",
        kafka_ssl_ca_file=kafka.ca_file,
        kafka_sasl_mechanism="PLAIN",
        kafka_sasl_username=USER,
        kafka_sasl_password=password,
    )
    with unready(service):
        visit = Visit(service)
        service.wait_until(lambda: "has not answered yet" not in service.words())
        written = visit.look("/readyz", "/metrics")
        service.stop()
        written += service.log
    assert set() == shown(written, spellings(password) | spellings(f"\0{USER}\0{password}"))


async def test_clients_hear_nothing_of_the_brokers() -> None:
    """While Kafka is away they are told to come back; why, which brokers and which topics are the operator's."""
    [port] = free_ports(1)
    bootstrap = f"127.0.0.1:{port}"
    with unready(ServiceProcess(bootstrap, "inner-topic")) as service:
        visit = Visit(service)
        service.wait_until(lambda: bootstrap in service.words())
        await visit.ask_by_every_transport(Ask(visit.session, visit.token()))
    assert len(TRANSPORTS) == "".join(visit.answers).count("1013")
    assert set() == shown("".join(visit.answers), {bootstrap, "inner-topic"})
