"""From the environment and a TOML file to `Settings`, or to every problem at once.

A problem is one plain sentence that names the variable, or the key and its file, and what is expected. The value is
shown where it helps, but never a secret's. Reads one file and those that hold secrets, and nothing else of the world.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from tailrace.config.placeholders import weakness
from tailrace.config.secret_files import KEYS, Given, is_secret, looks_like_path, with_files_read
from tailrace.config.settings import DEFAULT_FILE, FILE_VARIABLE, MIN_SECRET_BYTES, PREFIX, Settings, variable
from tailrace.errors import ConfigurationError

MAX_SHOWN_CHARACTERS = 80
"""Of a wrong value: enough to recognise it."""

_LIKENESS = 0.75
"""Of two names, by `difflib`: one letter off in a short name, three in a long one."""

_KUBERNETES = re.compile(r"TAILRACE_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\w+)?)")
"""What Kubernetes puts into every pod beside a Service named tailrace."""

_TELLING = re.compile(r"@|(passw|secret)\w*\W*[=:]|//[^/]*:[^/]*:", re.IGNORECASE)
"""A value in which a password may stand, as in ``user:password@host``: it is not shown, whatever the setting."""

_PYDANTIC = {
    "path_not_file": "must name a file that exists",
    "int_parsing": "must be a whole number",
    "float_parsing": "must be a number",
}
"""Pydantic's errors by type, where its own words would not do."""

_TOGETHER = (
    ("tls_cert_file", "tls_key_file"),
    ("kafka_ssl_cert_file", "kafka_ssl_key_file"),
    ("kafka_sasl_mechanism", "kafka_sasl_username", "kafka_sasl_password"),
)


@dataclass(frozen=True, slots=True)
class Sources:
    """What was written: in the file, whose ``path`` is None where there is none, and in the environment."""

    path: Path | None
    in_file: Mapping[str, Any] = field(repr=False)
    environ: Mapping[str, str] = field(repr=False)

    @property
    def given(self) -> list[dict[str, Given]]:
        """Return the settings of each source, the stronger one last. A variable that is empty counts as not set."""
        found = {key: environ for key in KEYS if (environ := self.environ.get(variable(key)))}
        return [
            {key: Given(f"{key} in {self.path}", self.in_file[key]) for key in self.in_file if key in KEYS},
            {key: Given(variable(key), text) for key, text in found.items()},
        ]


def sources(environ: Mapping[str, str], file: Path | None = None) -> Sources:
    """Read the file: ``file``, else what ``TAILRACE_CONFIG_FILE`` names, else ``./tailrace.toml`` if there is one.

    Raises `ConfigurationError` where it cannot be read.
    """
    path = file or _file_of(environ)
    return Sources(path, _read(path) if path else {}, environ)


def load(environ: Mapping[str, str], file: Path | None = None, *, demo: bool = False) -> Settings:
    """Make the settings from ``environ`` and a TOML file, `sources` says which.

    In a ``demo`` the JWT secret may be one that everybody knows. Raises `ConfigurationError` with every problem.
    """
    written = sources(environ, file)
    given: dict[str, Given] = {}
    troubles: dict[str, str] = {}
    for source in written.given:
        settings, wrong = with_files_read(source)
        given |= settings
        troubles = {key: each for key, each in troubles.items() if key not in settings} | wrong
    values = {key: each.value for key, each in given.items()}
    problems = [*_unknown_keys(written), *misspelt(environ), *troubles.values(), *_relations(values)]
    problems += [] if demo else _weaknesses(given)
    try:
        made = Settings.model_validate(values)
    except ValidationError as error:
        wrong_values = error.errors(include_url=False, include_context=False)
        problems += [_sentence(given, each) for each in wrong_values if each["loc"][0] not in troubles]
    if problems:
        raise ConfigurationError(list(dict.fromkeys(problems)))
    return made


def _file_of(environ: Mapping[str, str]) -> Path | None:
    if named := environ.get(FILE_VARIABLE):
        return Path(named)
    return DEFAULT_FILE if DEFAULT_FILE.is_file() else None


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError([f"the settings file {path} cannot be read: {error.strerror}"]) from error
    except ValueError as error:  # not TOML, or not UTF-8; neither message quotes more than one character
        raise ConfigurationError([f"the settings file {path} is not valid TOML: {error}"]) from None


def _unknown_keys(written: Sources) -> Iterator[str]:
    for key in written.in_file:
        if key not in KEYS:
            meant = likely(variable(key))
            hint = f": did you mean {meant.removeprefix(PREFIX).lower()}?" if meant else ""
            yield f"{key} in {written.path} is not a setting{hint}"


def misspelt(environ: Iterable[str]) -> Iterator[str]:
    """Name each variable that has the prefix, is no setting, and looks like one."""
    for name in strangers(environ):
        if meant := likely(name):
            yield f"{name} is not a setting: did you mean {meant}?"


def strangers(environ: Iterable[str]) -> list[str]:
    """Return the variables that have the prefix and are no settings."""
    known = {FILE_VARIABLE, *map(variable, KEYS)}
    ours = (name for name in environ if name.startswith(PREFIX) and name not in known)
    return sorted(name for name in ours if not _KUBERNETES.fullmatch(name))


def likely(name: str) -> str | None:
    """Find the setting that was meant: the one spelt most alike, else the one with all of its words, and more."""
    bare = name.removeprefix(PREFIX)
    known = [*map(str.upper, KEYS), FILE_VARIABLE.removeprefix(PREFIX)]
    alike = difflib.get_close_matches(bare, known, n=1, cutoff=_LIKENESS)
    longer = [each for each in known if set(bare.split("_")) < set(each.split("_"))]
    return PREFIX + (alike or longer)[0] if alike or longer else None


def _relations(given: Mapping[str, object]) -> Iterator[str]:
    """Say what is wrong between settings; by presence alone, so that both this and what is wrong within is told."""
    for group in _TOGETHER:
        there = [key for key in group if key in given]
        for key in group:
            if there and key not in given:
                yield f"{variable(key)} must be set, because {variable(there[0])} is"
    protocol = str(given.get("kafka_security_protocol", "PLAINTEXT"))
    if protocol.startswith("SASL") != ("kafka_sasl_mechanism" in given):
        yield "TAILRACE_KAFKA_SASL_MECHANISM must be set if TAILRACE_KAFKA_SECURITY_PROTOCOL is SASL_…, and only then"
    for key in ("kafka_ssl_ca_file", "kafka_ssl_cert_file"):
        if key in given and not protocol.endswith("SSL"):
            yield f"{variable(key)} does nothing unless TAILRACE_KAFKA_SECURITY_PROTOCOL is SSL or SASL_SSL"
    keys = [key for key in ("jwt_secret", "jwt_public_key_file") if key in given]
    if len(keys) != 1:
        found = "both are" if keys else "neither is"
        yield f"exactly one of TAILRACE_JWT_SECRET and TAILRACE_JWT_PUBLIC_KEY_FILE must be set, and {found}"


def _weaknesses(given: Mapping[str, Given]) -> Iterator[str]:
    """Say why the JWT secret is none; the settings themselves say where it is too short, or no text."""
    secret = given.get("jwt_secret", Given("", None))
    is_long = isinstance(secret.value, str) and len(secret.value.encode(errors="ignore")) >= MIN_SECRET_BYTES
    if is_long and (problem := weakness(str(secret.value))) is not None:
        yield f"{secret.name} {problem}"


def _sentence(given: Mapping[str, Given], error: ErrorDetails) -> str:
    key, *inside = map(str, error["loc"])
    setting, written = Settings.model_fields[key], given.get(key, Given(variable(key), None))
    if error["type"] == "missing":
        return f"{written.name} must be set: {setting.description}"
    message = _PYDANTIC.get(error["type"], error["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should", "must").replace("String should", "must")
    value = repr(error["input"] if inside else written.value)  # of a list the wrong item, else what was written
    mistaken = key.endswith("_file") and not looks_like_path(written.value)  # it may be what the file should hold
    silent = is_secret(setting) or _TELLING.search(value) or mistaken
    return f"{written.name} {message}" + ("" if silent else f" (it is {_shown(value)})")


def _shown(text: str) -> str:
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "…"
