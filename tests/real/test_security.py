"""TLS, SASL and rights, from the settings to an event: what an operator writes, and what is said when it is wrong."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from certificates import make_certificate
from kafka_cluster import PASSWORD, USER, KafkaCluster
from real.clients import Client
from real.producing import Numbers, ask, fresh, heard, until_all
from real.service import SECRET, ServiceProcess, run, unready
from real.transports import sse, websocket

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.kafka

PARTITIONS = 2
MANY = 10


@pytest.fixture
def topic(kafka: KafkaCluster) -> str:
    """A topic that `USER` may read."""
    if not kafka.ours:
        pytest.fail("these tests need a listener with TLS and SASL, which TEST_KAFKA_BOOTSTRAP may not have: unset it")
    return readable(kafka)


def readable(kafka: KafkaCluster) -> str:
    """Make a topic that `USER` may read."""
    name = fresh("secure")
    kafka.create_topic(name, PARTITIONS)
    for operation in ("READ", "DESCRIBE"):
        kafka.allow(name, operation)
    return name


def secure(kafka: KafkaCluster, **changed: str) -> dict[str, Any]:
    """The settings that reach the broker by TLS and SASL."""
    return {
        "kafka_security_protocol": "SASL_SSL",
        "kafka_sasl_mechanism": "PLAIN",
        "kafka_sasl_username": USER,
        "kafka_sasl_password": PASSWORD,
        "kafka_ssl_ca_file": kafka.ca_file,
        **changed,
    }


def mutual(kafka: KafkaCluster) -> dict[str, Any]:
    """The settings that reach the broker by TLS with a certificate on both sides."""
    return {
        "kafka_security_protocol": "SSL",
        "kafka_ssl_ca_file": kafka.ca_file,
        "kafka_ssl_cert_file": kafka.client_certificate.cert_file,
        "kafka_ssl_key_file": kafka.client_certificate.key_file,
    }


async def check(kafka: KafkaCluster, topics: str, **changed: str) -> tuple[int, str]:
    """`tailrace check`: its status and its words."""
    settings = {"kafka_topics": topics, "jwt_secret": SECRET, **secure(kafka, **changed)}
    done = await asyncio.to_thread(run, "check", kafka_bootstrap_servers=kafka.secure_bootstrap, **settings)
    assert done.stderr == ""
    return done.returncode, done.stdout


async def until_said(service: ServiceProcess, status: str, words: str = "") -> None:
    """Wait until ``/readyz`` has this status, and ``words`` in its sentences."""
    await asyncio.to_thread(service.wait_until, lambda: service.status() == status and words in service.words())


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"])
async def test_from_settings_to_an_event(kafka: KafkaCluster, topic: str, session: str, mechanism: str) -> None:
    """With each mechanism through TLS: `check` finds nothing wrong, the service gets ready, events arrive."""
    if mechanism != "PLAIN":
        kafka.add_scram(mechanism)
    status, words = await check(kafka, topic, kafka_sasl_mechanism=mechanism)
    assert (0, True) == (status, f"topic {topic} has {PARTITIONS} partitions" in words)
    with ServiceProcess(kafka.secure_bootstrap, topic, **secure(kafka, kafka_sasl_mechanism=mechanism)) as service:
        async with Numbers(kafka, topic) as numbers, Client([service], [sse], ask(service, session)) as client:
            await numbers.say(session, MANY)
            await until_all([client], numbers, session)
        assert numbers.all_to(session) == heard(client.events)
        assert PASSWORD not in service.log


async def test_a_certificate_of_ones_own(kafka: KafkaCluster, topic: str, session: str) -> None:
    """Where the broker asks for a certificate, the configured one opens it: the service gets ready, events arrive."""
    kafka.allow(topic, "READ", user="*")
    with ServiceProcess(kafka.mutual_bootstrap, topic, **mutual(kafka)) as service:
        async with Numbers(kafka, topic) as numbers, Client([service], [sse], ask(service, session)) as client:
            await numbers.say(session, MANY)
            await until_all([client], numbers, session)
    assert numbers.all_to(session) == heard(client.events)


@pytest.mark.parametrize("shown", ["none", "a stranger's"])
async def test_no_certificate_of_ones_own(kafka: KafkaCluster, topic: str, tmp_path: Path, shown: str) -> None:
    """Without it, or with one that the broker does not trust, `/readyz` says who refuses, and why."""
    settings = mutual(kafka)
    del settings["kafka_ssl_cert_file"], settings["kafka_ssl_key_file"]
    if shown != "none":
        stranger = make_certificate(tmp_path)
        settings |= {"kafka_ssl_cert_file": stranger.cert_file, "kafka_ssl_key_file": stranger.key_file}
    with unready(ServiceProcess(kafka.mutual_bootstrap, topic, **settings)) as service:
        await until_said(service, "waiting", f"authentication with the broker {kafka.mutual_bootstrap} failed")
        assert "ALERT_CERTIFICATE" in service.words()


@pytest.mark.parametrize("protocol", ["PLAINTEXT", "SSL", "SASL_PLAINTEXT"])
async def test_a_wrong_security_protocol(kafka: KafkaCluster, topic: str, protocol: str) -> None:
    """At a port that expects TLS and SASL, anything less is answered with a hint at the setting."""
    without = {"PLAINTEXT": ("sasl", "ssl"), "SSL": ("sasl",), "SASL_PLAINTEXT": ("ssl",)}[protocol]
    settings = secure(kafka, kafka_security_protocol=protocol)
    settings = {key: value for key, value in settings.items() if not any(word in key for word in without)}
    done = await asyncio.to_thread(
        run,
        "check",
        kafka_bootstrap_servers=kafka.secure_bootstrap,
        kafka_topics=topic,
        jwt_secret=SECRET,
        **settings,
    )
    assert (1, True) == (done.returncode, "does TAILRACE_KAFKA_SECURITY_PROTOCOL fit this port?" in done.stdout)


async def test_sasl_where_none_is_expected(kafka: KafkaCluster, topic: str) -> None:
    """At a port without SASL that is what is said."""
    settings = secure(kafka, kafka_security_protocol="SASL_PLAINTEXT")
    del settings["kafka_ssl_ca_file"]
    where = {"kafka_bootstrap_servers": kafka.bootstrap, "kafka_topics": topic}
    done = await asyncio.to_thread(run, "check", jwt_secret=SECRET, **where, **settings)
    assert (1, True) == (done.returncode, "it does not expect SASL" in done.stdout)


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256"])
async def test_a_wrong_password(kafka: KafkaCluster, topic: str, mechanism: str) -> None:
    """`check` and `/readyz` say which broker refuses, and that it is the credentials; neither tells the password."""
    wrong = {"kafka_sasl_password": "not-hers", "kafka_sasl_mechanism": mechanism}
    sentence = f"authentication with the broker {kafka.secure_bootstrap} failed"
    status, words = await check(kafka, topic, **wrong)
    assert (1, True, False) == (status, sentence in words, "not-hers" in words)
    with unready(ServiceProcess(kafka.secure_bootstrap, topic, **secure(kafka, **wrong))) as service:
        await until_said(service, "waiting", sentence)
        assert (503, False) == (service.health(), "not-hers" in service.log + service.words())
        assert [sentence in line for line in service.log.splitlines() if "WARNING" in line.upper()] == [True]


async def test_an_untrusted_certificate(kafka: KafkaCluster, topic: str, tmp_path: Path) -> None:
    """A broker whose certificate the CA did not sign: that is what is said."""
    stranger = str(make_certificate(tmp_path).cert_file)
    status, words = await check(kafka, topic, kafka_ssl_ca_file=stranger)
    assert (1, True) == (status, "self-signed certificate" in words)
    with unready(ServiceProcess(kafka.secure_bootstrap, topic, **secure(kafka, kafka_ssl_ca_file=stranger))) as service:
        await until_said(service, "waiting", "self-signed certificate")


async def test_no_right_at_the_start(kafka: KafkaCluster, topic: str, session: str) -> None:
    """A topic that may not be read is named, with the right that is missing; once granted, all goes on by itself."""
    kafka.forbid(topic)
    right = f"topic {topic} may not be read: grant this user Describe and Read on the topic"
    status, words = await check(kafka, topic)
    assert (1, True) == (status, right in words)
    with unready(ServiceProcess(kafka.secure_bootstrap, topic, **secure(kafka))) as service:
        await until_said(service, "waiting", right)
        kafka.allow(topic, "READ")
        await until_said(service, "ready")
        async with Numbers(kafka, topic) as numbers, Client([service], [websocket], ask(service, session)) as client:
            await numbers.say(session, MANY)
            await until_all([client], numbers, session)
    assert numbers.all_to(session) == heard(client.events)


async def test_a_right_taken_away(kafka: KafkaCluster, topic: str, session: str) -> None:
    """The topic that may no longer be read is named, and waits; the others go on; given back, nothing is missing."""
    other = readable(kafka)
    with ServiceProcess(kafka.secure_bootstrap, f"{topic},{other}", **secure(kafka)) as service:
        async with (
            Numbers(kafka, topic) as hidden,
            Numbers(kafka, other) as shown,
            Client([service], [sse], ask(service, session)) as by_sse,
            Client([service], [websocket], ask(service, session)) as by_websocket,
        ):
            clients = [by_sse, by_websocket]
            kafka.forbid(topic)
            await until_said(service, "degraded", f"topic {topic}")
            await hidden.say(session, MANY)
            await shown.say(session, MANY)
            for client in clients:
                await client.until_events(2 * MANY)
            assert [shown.all_to(session)] * 2 == [heard(client.events) for client in clients]
            kafka.allow(topic, "READ")
            for client in clients:
                await client.until_events(4 * MANY)
            await until_said(service, "ready")
    assert [hidden.all_to(session)] * 2 == [heard(client.events[2 * MANY :]) for client in clients]
    assert [[200], [101]] == [client.answers for client in clients]
