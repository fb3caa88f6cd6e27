"""The operator's connection settings, checked, and one connection to one broker.

Knows hosts, TLS and SASL; knows nothing of topics. A `Link` serves one purpose (a long poll must not hold up a
question), opens its connection when it is first asked and again after any trouble, and gives every foreign error one
of our names. `client` keeps the links.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aiokafka.conn import AIOKafkaConnection, collect_hosts, create_conn
from aiokafka.errors import BrokerResponseError, IncompatibleBrokerVersion, KafkaConnectionError

from tailrace.errors import ConfigurationError
from tailrace.kafka.exchange import Exchange
from tailrace.kafka.troubles import AUTHENTICATION_CODES, AuthenticationFailed, BrokerError, BrokerUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable

    from tailrace.errors import KafkaTrouble
    from tailrace.kafka.metadata import Address

BACKSTOP_SECONDS = 120.0
"""aiokafka's own limit for one answer. Ours is always shorter: `Link.ask` takes it from the caller."""

_DOES_IT_FIT = "does TAILRACE_KAFKA_SECURITY_PROTOCOL fit this port?"
_SASL_WORDS = {
    33: "it does not offer this TAILRACE_KAFKA_SASL_MECHANISM",
    34: f"it does not expect SASL; {_DOES_IT_FIT}",
}

_PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaConnection:
    """How to reach the cluster; each field is the setting ``TAILRACE_KAFKA_<FIELD>``.

    Raises `ConfigurationError` with every trouble at once. Files are read when `Kafka` is made.
    """

    bootstrap_servers: str
    security_protocol: str = "PLAINTEXT"
    sasl_mechanism: str | None = None
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)
    ssl_ca_file: str | None = None
    ssl_cert_file: str | None = None
    ssl_key_file: str | None = None
    client_id: str = "tailrace"

    def __post_init__(self) -> None:
        problems = []
        if not _addresses(self.bootstrap_servers):
            problems.append("TAILRACE_KAFKA_BOOTSTRAP_SERVERS: expected host:port, or several with commas between")
        if self.security_protocol not in _PROTOCOLS:
            problems.append(f"TAILRACE_KAFKA_SECURITY_PROTOCOL: expected one of {', '.join(_PROTOCOLS)}")
        if self.security_protocol.startswith("SASL"):
            if self.sasl_mechanism not in _MECHANISMS:
                problems.append(f"TAILRACE_KAFKA_SASL_MECHANISM: expected one of {', '.join(_MECHANISMS)}")
            if not self.sasl_username or self.sasl_password is None:
                problems.append("TAILRACE_KAFKA_SASL_USERNAME and _SASL_PASSWORD: both are needed with SASL")
        if self.ssl_key_file and not self.ssl_cert_file:
            problems.append("TAILRACE_KAFKA_SSL_CERT_FILE: needed beside TAILRACE_KAFKA_SSL_KEY_FILE")
        if problems:
            raise ConfigurationError(problems)

    @property
    def bootstrap(self) -> list[Address]:
        """The addresses to begin with, in the operator's order."""
        return _addresses(self.bootstrap_servers)

    def options(self) -> dict[str, Any]:
        """What aiokafka wants to know; reads the TLS files, and raises `ConfigurationError` when it cannot."""
        sasl = self.security_protocol.startswith("SASL")
        return {
            "client_id": self.client_id,
            "security_protocol": self.security_protocol,
            "ssl_context": self._ssl_context() if self.security_protocol.endswith("SSL") else None,
            "sasl_mechanism": self.sasl_mechanism if sasl else None,
            "sasl_plain_username": self.sasl_username if sasl else None,
            "sasl_plain_password": self.sasl_password if sasl else None,
            "request_timeout_ms": int(BACKSTOP_SECONDS * 1000),
        }

    def _ssl_context(self) -> ssl.SSLContext:
        name, path = "CA", self.ssl_ca_file
        try:
            context = ssl.create_default_context(cafile=self.ssl_ca_file)
            if self.ssl_cert_file:
                name, path = "CERT", self.ssl_cert_file
                context.load_cert_chain(self.ssl_cert_file, self.ssl_key_file)
        except OSError as error:
            problem = f"TAILRACE_KAFKA_SSL_{name}_FILE: {path} cannot be used: {error.strerror or error}"
            raise ConfigurationError([problem]) from error
        return context


def _addresses(servers: str) -> list[Address]:
    """Host and port of each server; empty when any of them makes no sense."""
    try:
        found = [(host, port) for host, port, _ in collect_hosts(servers, randomize=False)]
    except ValueError:
        return []
    return found if all(host and 0 < port < 65536 for host, port in found) else []


class Link:
    """One connection to one broker for one purpose; one request at a time, because a broker answers in order.

    Lives until `close`. ``report`` is told of trouble, and None when it is over. ``closing`` is given
    a future for each socket that is being closed, which TLS does not do at once; it leaves the set when done.
    """

    def __init__(
        self,
        address: Address,
        options: dict[str, Any],
        report: Callable[[str, KafkaTrouble | None], None],
        closing: set[asyncio.Future[None]],
    ) -> None:
        self.address = address
        self._name = "{}:{}".format(*address)
        self._options = options
        self._report = report
        self._closing = closing
        self._turn = asyncio.Lock()
        self._exchange: Exchange | None = None
        self._answered = False
        self._troubled = False
        self._closed = False

    async def ask(self, request: Any, seconds: float) -> Any:
        """Send the request and give its answer; ``seconds`` bound it all: its turn, connecting, the answer.

        Raises `BrokerUnavailable`, `AuthenticationFailed` or `BrokerError`.
        """
        try:
            if self._is_free():  # the rule, and then the exchange's own timer is enough
                async with self._turn:
                    answer = await self._asked(request, seconds)
            else:
                async with asyncio.timeout(seconds), self._turn:
                    answer = await self._asked(request, seconds)
        except Exception as error:
            self._troubled = True
            trouble = self._renamed(error, seconds)
            self._report(self._name, trouble)
            raise trouble from error
        self._answered = True
        if self._troubled:
            self._troubled = False
            self._report(self._name, None)
        return answer

    def close(self) -> None:
        """Close now; what is being asked fails."""
        self._closed = True
        self._disconnect()

    async def _asked(self, request: Any, seconds: float) -> Any:
        try:
            if self._exchange is None or not self._exchange.connected:
                self._exchange = await self._open()
            return await self._exchange.ask(request, seconds)
        except BaseException:
            # Whatever is still under way would be taken for the next answer, or hold it up for a whole long poll.
            self._disconnect()
            raise

    def _is_free(self) -> bool:
        return self._exchange is not None and self._exchange.connected and not self._turn.locked()

    async def _open(self) -> Exchange:
        connection = await create_conn(*self.address, **self._options, on_close=self._wait_for)
        if self._closed:
            connection.close()
            raise ConnectionAbortedError("the client is closed")
        return Exchange(connection)

    def _disconnect(self) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.close()

    def _wait_for(self, connection: AIOKafkaConnection, _reason: object) -> None:
        """Called within every close of a connection that had a socket; closing once more only gives the future."""
        closed = connection.close()
        self._closing.add(closed)
        closed.add_done_callback(self._closing.discard)

    def _renamed(self, error: Exception, seconds: float) -> KafkaTrouble:
        match error:
            case ssl.SSLCertVerificationError():
                return AuthenticationFailed(self._name, error.verify_message)
            case KafkaConnectionError(__cause__=ssl.SSLError() as alert):
                return AuthenticationFailed(self._name, f"it ended TLS with {alert.reason}")
            case BrokerResponseError() if error.errno in AUTHENTICATION_CODES:
                return AuthenticationFailed(self._name, _SASL_WORDS.get(error.errno) or str(error))
            case IncompatibleBrokerVersion() | NotImplementedError():
                return BrokerError(35, "UnsupportedVersion", f"broker {self._name}, which must be Kafka 2.3 or newer")
            case TimeoutError():
                reason = f"no answer within {seconds:g} s"
            case KafkaConnectionError() | ConnectionResetError() if not self._answered and not self._closed:
                # What a broker does that is spoken to without the TLS or the SASL that it expects, or with it in vain.
                reason = f"it ended the connection without an answer; {_DOES_IT_FIT}"
            case _:
                reason = str(error) or type(error).__name__
        return BrokerUnavailable(self._name, reason)
