"""All settings: name, form, default and the argument for it, meaning.

Knows neither the environment nor the file: `loading` hands over what they say. What does nothing is not here.
"""

from pathlib import Path
from typing import Literal

from pydantic import Field, FilePath, SecretStr, ValidationInfo, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from tailrace.config.forms import (
    Address,
    Algorithms,
    Bind,
    Bytes,
    Hosts,
    Origins,
    Servers,
    SessionFrom,
    Switch,
    Topics,
)

PREFIX = "TAILRACE_"
FILE_VARIABLE = "TAILRACE_CONFIG_FILE"
DEFAULT_FILE = Path("tailrace.toml")

MIN_SECRET_BYTES = 32
"""A key for HS256 has at least the bytes of its hash (RFC 7518 section 3.2); `auth` checks the longer hashes."""

LEAST_BATCH_BYTES, EVENTS_IN_BATCH = 64 * 1024**2, 16
"""What a batch of Kafka may take where nothing is set; so many of the largest events fit into it in any case."""


class Settings(BaseSettings):
    """All settings; `load` makes the one that the process lives with. A description is the setting's documentation."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, hide_input_in_errors=True)

    kafka_bootstrap_servers: Servers = Field(
        "127.0.0.1:9092",  # where a Kafka on the same machine listens
        description="brokers to ask first, comma-separated",
    )
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = Field(
        "PLAINTEXT",  # Kafka's own default
        description="`PLAINTEXT`, `SSL`, `SASL_PLAINTEXT` or `SASL_SSL`",
    )
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = Field(
        None, description="`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`"
    )
    kafka_sasl_username: str | None = Field(None, description="who tailrace is to the brokers")
    kafka_sasl_password: SecretStr | None = Field(None, description="its password")
    kafka_ssl_ca_file: FilePath | None = Field(None, description="PEM: who may sign for the brokers, if not the system")
    kafka_ssl_cert_file: FilePath | None = Field(None, description="PEM: the certificate shown to the brokers")
    kafka_ssl_key_file: FilePath | None = Field(None, description="PEM: its private key")
    kafka_isolation_level: Literal["read_committed", "read_uncommitted"] = Field(
        "read_committed",  # what a producer took back must not reach a person's screen
        description="`read_committed` or `read_uncommitted`",
    )
    kafka_topics: Topics = Field(description="topics to read, comma-separated")
    kafka_group_id: str | None = Field(
        None, description="a group that only shows lag in Kafka's tools: offsets are committed to it, and never read"
    )
    session_from: SessionFrom = Field(
        "key",  # records that share a key share a partition, so a session is in order as a whole
        description="where a record names its session: `key`, or `header:<name>`",
    )
    value: Literal["text", "base64"] = Field(
        "text",  # it is what EventSource can carry without more bytes
        description="how values go out: `text` (UTF-8) or `base64`",
    )
    bind: Bind = Field(
        Address("127.0.0.1", 8080),  # nobody is served by accident: a public address is asked for
        description="public listener, `host:port`",
    )
    admin_bind: Bind = Field(
        Address("127.0.0.1", 9080),  # health is for the operator, so it has a port that no proxy publishes
        description="admin listener, `host:port`",
    )
    admin_allowed_hosts: Hosts = Field(
        (),  # probes and scrapes come to an address; a page of another site comes by a name that was pointed here
        description="names by which the admin listener may be asked, comma-separated, `*` for any; "
        "addresses, localhost and its own always may",
    )
    tls_cert_file: FilePath | None = Field(
        None, description="PEM chain: TLS, and with it HTTP/2 by ALPN; without it, HTTP/2 by prior knowledge"
    )
    tls_key_file: FilePath | None = Field(None, description="PEM: its private key")
    hsts_seconds: int = Field(
        30 * 24 * 60 * 60,  # a browser that comes once a month never asks in clear text; a mistake is over after one
        ge=0,
        description="with TLS here: for how long browsers ask this host, at any port, by TLS only; 0: not any more",
    )
    jwt_secret: SecretStr | None = Field(None, description="key for HS256, 32 bytes or more; this or the public key")
    jwt_public_key_file: FilePath | None = Field(None, description="PEM public key or certificate; this or the secret")
    jwt_algorithms: Algorithms = Field(
        (),  # a key is good for one family: the key says which
        description="accepted algorithms, comma-separated; empty: by the key's type",
    )
    jwt_audience: str = Field(
        "tailrace",  # a token made for another service must not open this one (RFC 8725 section 3.9)
        min_length=1,
        description="what `aud` must contain",
    )
    jwt_issuer: str | None = Field(None, description="what `iss` must be; empty: not looked at")
    tail_max_bytes: Bytes = Field(
        256 * 1024**2,  # some 290 000 events of 250 bytes: 29 s at 10 000 a second
        ge=1024**2,
        description="memory for the newest events of all sessions",
    )
    max_event_bytes: Bytes = Field(
        1024**2,  # Kafka's own default for a batch
        ge=1,
        description="a larger event is delivered as `tailrace.skipped`",
    )
    max_batch_bytes: Bytes | None = Field(
        None,  # Kafka's largest batch of well-compressed text; sixteen of the largest events, where those are larger
        ge=1024**2,
        description="a batch of Kafka that takes more, unpacked, is passed over, with a `tailrace.reset`; empty: "
        "64MiB, or 16 x `TAILRACE_MAX_EVENT_BYTES` if that is more",
    )
    warmup_seconds: float = Field(
        30,  # a client that was cut off by the restart is back within it
        ge=0,
        le=3600,
        description="how much of the past is read before the service is ready",
    )
    replay_max_passes: int = Field(
        4,  # each may take as much of the event loop as live reading leaves it
        ge=1,
        le=64,
        description="partitions read again at once, for clients that lack what memory does not hold",
    )
    replay_max_readers: int = Field(
        10_000,  # everyone, after a long outage: they share the passes
        ge=1,
        description="clients that may wait for it; one more is told to come back",
    )
    replay_max_bytes: Bytes = Field(
        64 * 1024**2,  # a quarter of the tail; of it each has an even share, and at most four writes
        ge=1,
        description="of what was read for all of them, may lie until they take it",
    )
    replay_max_records: int = Field(
        1_000_000,  # some ten seconds of reading
        ge=1,
        description="records of a partition read for one resume; a client that lacks more is told, and given these",
    )
    replay_max_records_per_subject: int = Field(
        6_000_000,  # a hundred thousand a second, for as long as it likes: what one of four passes may read
        ge=1,
        description="records read again for one `sub` in a minute; what it lacks beyond that waits",
    )
    heartbeat_seconds: float = Field(
        15,  # below the 30 s after which the strictest usual proxies cut a silent connection, with room for one miss
        ge=1,
        le=3600,
        description="a connection without traffic for so long gets a heartbeat",
    )
    drain_seconds: float = Field(
        10,  # a third of the 30 s that Kubernetes gives a pod
        ge=0,
        le=3600,
        description="over how long the streams end at a shutdown",
    )
    send_timeout_seconds: float = Field(
        10,  # longer than a phone needs to change cells, shorter than anyone waits
        ge=1,
        le=3600,
        description="a client that takes nothing, or next to nothing, for so long is cut",
    )
    max_connections: int = Field(
        10_000,  # at some 25 kB each, about as much memory as the tail
        ge=1,
        description="streams at once; one more is told to come back",
    )
    max_connections_per_subject: int = Field(
        32,  # a person's tabs and devices, and no more
        ge=1,
        description="the same for one `sub`",
    )
    admission_share: float = Field(
        0.2,  # some 400 clients a second while streams need the rest, and all that an idle core can do
        ge=0.01,
        le=0.9,
        description="of the event loop's time for requests that are not admitted (yet), while streams need the rest",
    )
    allowed_origins: Origins = Field(
        (),  # the page comes from the same host until somebody says otherwise
        description="pages that may ask: for cookies, WebSocket and CORS, comma-separated; empty: same host",
    )
    cookie_secure: Switch = Field(
        True,  # without it, one request over plain HTTP gives a token to the network
        description="`false` only for plain HTTP while a page is developed: a cookie without `Secure` and `__Host-`",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",  # one line per change of state; clients that come and go are told at debug
        description="`debug`, `info`, `warning` or `error`",
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto",  # a person at a terminal reads text, a collector reads JSON
        description="`text`, `json`, or `auto`: text at a terminal",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the signature is pydantic-settings'
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take what `load` hands over, so that nothing comes from the process's environment behind its back."""
        return (init_settings,)

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object, info: ValidationInfo) -> object:
        is_switch = cls.model_fields[info.field_name or ""].annotation is bool
        if isinstance(value, bool) and not is_switch:  # TOML's true would pass for the number 1
            raise ValueError("must not be true or false")
        return value

    @field_validator("jwt_secret")
    @classmethod
    def _long_enough(cls, secret: SecretStr | None) -> SecretStr | None:
        if secret is None:
            return None
        text = secret.get_secret_value()
        if not text.isascii() and any("\ud800" <= each <= "\udfff" for each in text):  # so Python reads other bytes
            raise ValueError("must be text in UTF-8")
        if len(text.encode()) < MIN_SECRET_BYTES:
            raise ValueError(f"must have at least {MIN_SECRET_BYTES} bytes (RFC 7518 section 3.2)")
        return secret

    @field_validator("jwt_algorithms")
    @classmethod
    def _fit_the_key(cls, algorithms: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        is_secret, is_public = (info.data.get(key) is not None for key in ("jwt_secret", "jwt_public_key_file"))
        if is_secret != is_public and any(each.startswith("HS") != is_secret for each in algorithms):
            raise ValueError("must be of the HS family with a secret, and of another with a public key")
        return algorithms

    @field_validator("max_event_bytes")
    @classmethod
    def _fits_the_tail(cls, size: int, info: ValidationInfo) -> int:
        if size > info.data.get("tail_max_bytes", size):
            raise ValueError("must not be larger than TAILRACE_TAIL_MAX_BYTES")
        return size

    @field_validator("max_batch_bytes")
    @classmethod
    def _holds_an_event(cls, size: int | None, info: ValidationInfo) -> int | None:
        if size is not None and size < info.data.get("max_event_bytes", size):
            raise ValueError("must not be smaller than TAILRACE_MAX_EVENT_BYTES")
        return size

    @property
    def batch_bytes(self) -> int:
        """What one batch may take: what was set, or by the rule."""
        return self.max_batch_bytes or max(LEAST_BATCH_BYTES, EVENTS_IN_BATCH * self.max_event_bytes)

    @property
    def session_header(self) -> str | None:
        """The header that names the session; None when the key does."""
        return self.session_from.removeprefix("header:") if self.session_from != "key" else None


def variable(key: str) -> str:
    """Return the variable's name for a setting's key: ``bind`` is ``TAILRACE_BIND``."""
    return PREFIX + key.upper()
