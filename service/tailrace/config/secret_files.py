"""A secret may come in a file in place of the setting: ``<NAME>_FILE``, for every setting that is a secret.

Orchestrators give secrets as files. Others want none in the environment, which every child process inherits and which
dumps show. Reads the files, and nothing else of the world.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from tailrace.config.settings import Settings

MAX_SECRET_BYTES = 64 * 1024
"""The most that is read of a file: more than any key has, and an end to a file without one, such as a device."""


@dataclass(frozen=True, slots=True)
class Given:
    """The value of one setting, and the name under which it was written."""

    name: str
    value: object = field(repr=False)


def is_secret(field: FieldInfo) -> bool:
    """Whether the values of a setting must never be shown."""
    return SecretStr in (field.annotation, *get_args(field.annotation))


SECRETS = tuple(key for key, field in Settings.model_fields.items() if is_secret(field))
FILES = {f"{key}_file": key for key in SECRETS}
"""The secret that each of these keys stands for."""
KEYS = (*Settings.model_fields, *FILES)
"""Everything that may be given."""


def with_files_read(source: Mapping[str, Given]) -> tuple[dict[str, Given], dict[str, str]]:
    """Put the content of each secret's file in its place; also give what is wrong, by the secret's key.

    Both forms at once are wrong within one source; between two the later source wins, as for all settings.
    """
    given = {key: each for key, each in source.items() if key not in FILES}
    problems = {}
    for file_key, key in FILES.items():
        if file_key not in source:
            continue
        named = source[file_key]
        if key in source:
            problems[key] = f"{source[key].name} and {named.name} must not both be set"
            continue
        name, secret = f"{named.name}{_shown(named.value)}", ""
        try:
            secret = _content(named.value)
        except ValueError as error:
            problems[key] = f"{name} {error}"
        given[key] = Given(name, secret)
    return given, problems


MAX_PATH_PIECE_CHARACTERS = 32
"""Between two slashes. A secret in base64 may begin with one, and has another after 64 characters on average."""


def _shown(value: object) -> str:
    """Write what was given in parentheses, where it looks like a path: it may be the secret itself, by mistake."""
    return f" ({value})" if looks_like_path(value) else ""


def looks_like_path(value: object) -> bool:
    """Whether ``value`` names a file that exists, or reads like one that was meant to."""
    path = Path(str(value))
    try:
        if path.exists() or (len(path.parts) > 1 + path.is_absolute() and path.parent.is_dir()):
            return True
    except (OSError, ValueError):  # too long for a name, for one
        return False
    return path.is_absolute() and max(map(len, path.parts)) <= MAX_PATH_PIECE_CHARACTERS


def _content(path: object) -> str:
    """Read a secret; one line break at the end is an editor's. Raises `ValueError` with the end of a sentence."""
    if not isinstance(path, str):
        raise ValueError("must name a file")  # noqa: TRY004 - one kind for all that can be wrong
    try:
        with Path(path).open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        text = content.decode()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:  # whose message would quote the secret
        raise ValueError("must hold text in UTF-8") from None
    if len(content) > MAX_SECRET_BYTES:
        raise ValueError(f"must hold at most {MAX_SECRET_BYTES} bytes")
    secret = text.removesuffix("\n").removesuffix("\r")
    if not secret:
        raise ValueError("must not be empty")
    return secret
