"""From the environment and a TOML file to `Settings`, or to every problem at once.

A problem is one plain sentence that names the variable, or the key and its file, and what is expected. The value is
shown where it helps, but never a secret's. Reads one file, and nothing else of the world.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from tailrace.config.settings import DEFAULT_FILE, FILE_VARIABLE, PREFIX, Settings, variable
from tailrace.errors import ConfigurationError

MAX_SHOWN_CHARACTERS = 80
"""Of a wrong value: enough to recognise it."""

_LIKENESS = 0.75
"""Of two names, by `difflib`: one letter off in a short name, three in a long one."""

_KUBERNETES = re.compile(r"TAILRACE_(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT(_\w+)?)")
"""What Kubernetes puts into every pod beside a Service named tailrace."""

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


def load(environ: Mapping[str, str], file: Path | None = None) -> Settings:
    """Make the settings from ``environ`` and a TOML file.

    The file is ``file``, else what ``TAILRACE_CONFIG_FILE`` names, else ``./tailrace.toml`` if there is one. A variable
    that is empty counts as not set. Raises `ConfigurationError` with every problem there is.
    """
    path = file or _file_of(environ)
    in_file = _read(path) if path else {}
    names = {key: f"{key} in {path}" for key in in_file if key in Settings.model_fields}
    given = {key: in_file[key] for key in names}
    for key in Settings.model_fields:
        if value := environ.get(variable(key)):
            names[key], given[key] = variable(key), value
    problems = [*_unknown_keys(in_file, path), *_misspelt(environ), *_relations(given)]
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        problems += [_sentence(names, given, each) for each in error.errors(include_url=False, include_context=False)]
    if problems:
        raise ConfigurationError(list(dict.fromkeys(problems)))
    return settings


def warnings(environ: Mapping[str, str]) -> list[str]:
    """Name each variable that has the prefix but is no setting, does not look like one, and so does nothing."""
    return [f"{name} is not a setting of tailrace: ignored" for name in _strangers(environ) if not _likely(name)]


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


def _unknown_keys(in_file: Iterable[str], path: Path | None) -> Iterator[str]:
    for key in in_file:
        if key not in Settings.model_fields:
            likely = _likely(variable(key))
            hint = f": did you mean {likely.removeprefix(PREFIX).lower()}?" if likely else ""
            yield f"{key} in {path} is not a setting{hint}"


def _misspelt(environ: Iterable[str]) -> Iterator[str]:
    for name in _strangers(environ):
        if likely := _likely(name):
            yield f"{name} is not a setting: did you mean {likely}?"


def _strangers(environ: Iterable[str]) -> list[str]:
    known = {FILE_VARIABLE, *map(variable, Settings.model_fields)}
    ours = (name for name in environ if name.startswith(PREFIX) and name not in known)
    return sorted(name for name in ours if not _KUBERNETES.fullmatch(name))


def _likely(name: str) -> str | None:
    """Find the setting that was meant: the one spelt most alike, else the one with all of its words, and more."""
    bare = name.removeprefix(PREFIX)
    known = [*map(str.upper, Settings.model_fields), FILE_VARIABLE.removeprefix(PREFIX)]
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


def _sentence(names: Mapping[str, str], given: Mapping[str, object], error: ErrorDetails) -> str:
    key, *inside = map(str, error["loc"])
    field, name = Settings.model_fields[key], names.get(key, variable(key))
    if error["type"] == "missing":
        return f"{name} must be set: {field.description}"
    message = _PYDANTIC.get(error["type"], error["msg"]).removeprefix("Value error, ")
    message = message.replace("Input should", "must").replace("String should", "must")
    value = error["input"] if inside else given.get(key)  # of a list the wrong item, else what was written
    return f"{name} {message}" + ("" if _is_secret(field) else f" (it is {_shown(value)})")


def _is_secret(field: FieldInfo) -> bool:
    return SecretStr in (field.annotation, *get_args(field.annotation))


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= MAX_SHOWN_CHARACTERS else text[:MAX_SHOWN_CHARACTERS] + "…"
