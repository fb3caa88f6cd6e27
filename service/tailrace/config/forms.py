"""How the value of a setting may be written, and what it is read as.

Knows no setting by name: `settings` gives each one its form. A form takes a variable's text or what a TOML file can
hold, and raises `ValueError` with the end of a sentence that begins with the setting's name: "must be ...".
"""

import re
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator

UNITS = {"": 1, "KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


@dataclass(frozen=True, slots=True)
class Address:
    """Where to listen. ``host`` is a name or an address without brackets; port 0 means any free port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> "Address":
        """Read ``host:port``, an IPv6 host in brackets. Raises `ValueError`."""
        match = re.fullmatch(r"(?:\[([0-9a-fA-F:.%]+)\]|([^\s:\[\]/]+)):(\d{1,5})", text)
        if match is None or int(match[3]) > 65535:
            raise ValueError("must be host:port, an IPv6 host in brackets, a port of at most 65535")
        return cls(match[1] or match[2], int(match[3]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def _address(value: object) -> object:
    return Address.parse(value) if isinstance(value, str) else value


def _switch(value: object) -> object:
    switch = {"true": True, "false": False}.get(value) if isinstance(value, str) else value
    if not isinstance(switch, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - pydantic collects only ValueError
    return switch


def _bytes(value: object) -> object:
    """Read ``65536``, ``64KiB`` or ``64 KiB``; what is no text is left to the field."""
    if not isinstance(value, str):
        return value
    match = re.fullmatch(r"(\d{1,15}) ?(KiB|MiB|GiB|)", value.strip())
    if match is None:
        raise ValueError("must be a number of bytes, or of KiB, MiB or GiB such as 256MiB")
    return int(match[1]) * UNITS[match[2]]


def _list(value: object) -> object:
    """Split at commas; what is no text (an array in the file) is left to the field."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _distinct(values: tuple[str, ...]) -> tuple[str, ...]:
    twice = sorted({value for value in values if values.count(value) > 1})
    if twice:
        raise ValueError(f"must name each only once, but repeats {', '.join(twice)}")
    return values


def _topics(topics: tuple[str, ...]) -> tuple[str, ...]:
    """Kafka's own rule for a topic's name (``org.apache.kafka.common.internals.Topic``)."""
    wrong = [topic for topic in topics if topic in {".", ".."} or not re.fullmatch(r"[a-zA-Z0-9._-]{1,249}", topic)]
    if wrong or not topics:
        raise ValueError(
            "must be comma-separated topic names, each 1 to 249 letters, digits, dots, dashes, underscores"
        )
    return topics


def _servers(text: str) -> str:
    if re.search(r"@|//", text):  # as other programs take it, often with a password in it
        raise ValueError(
            "must be host:port without protocol, name or password; those are settings of their own: "
            "TAILRACE_KAFKA_SECURITY_PROTOCOL, TAILRACE_KAFKA_SASL_USERNAME and TAILRACE_KAFKA_SASL_PASSWORD"
        )
    servers = [part.strip() for part in text.split(",") if part.strip()]
    if not servers:
        raise ValueError("must be host:port, several with commas between them")
    return ",".join(str(Address.parse(server)) for server in servers)


def _origin(text: str) -> str:
    """Write an origin as a browser sends it: lower case, no default port, no path (RFC 6454 section 6.2)."""
    match = re.fullmatch(r"(https?)://([a-z0-9._-]+|\[[0-9a-f:.]+\])(:\d{1,5})?", text.lower())
    if match is None or (match[3] and int(match[3][1:]) > 65535):
        raise ValueError("must be comma-separated origins, each scheme://host[:port] with http or https and no path")
    return match[0].removesuffix(DEFAULT_PORTS[match[1]])


def _host(text: str) -> str:
    """Write a host's name as a request's ``Host`` has it, without its port; addresses need no listing."""
    name = text.lower().removesuffix(".")
    if not re.fullmatch(r"\*|[a-z0-9_]([a-z0-9._-]*[a-z0-9_])?", name):
        raise ValueError("must be comma-separated names of hosts without ports, or * for any")
    return name


def _session_from(text: str) -> str:
    if not re.fullmatch(r"key|header:\S+", text):
        raise ValueError("must be key or header:<name>")
    return text


Switch = Annotated[bool, BeforeValidator(_switch)]
Bytes = Annotated[int, BeforeValidator(_bytes)]
Bind = Annotated[Address, BeforeValidator(_address)]
Names = Annotated[tuple[str, ...], BeforeValidator(_list), AfterValidator(_distinct)]
Topics = Annotated[Names, AfterValidator(_topics)]
Origins = Annotated[tuple[Annotated[str, AfterValidator(_origin)], ...], BeforeValidator(_list)]
Hosts = Annotated[tuple[Annotated[str, AfterValidator(_host)], ...], BeforeValidator(_list)]
Servers = Annotated[str, AfterValidator(_servers)]
SessionFrom = Annotated[str, AfterValidator(_session_from)]
Algorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]
Algorithms = Annotated[tuple[Algorithm, ...], BeforeValidator(_list)]
