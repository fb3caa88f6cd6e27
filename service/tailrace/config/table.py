"""The settings as documentation: variable, default, meaning.

Reads nothing but the class `Settings`, so that no document can say other than what the code does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tailrace.config.secret_files import is_secret
from tailrace.config.settings import DEFAULT_FILE, FILE_VARIABLE, Settings, variable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic.fields import FieldInfo

NONE = "—"
"""In place of a default, where there is none."""
REQUIRED = "required"


def rows() -> list[tuple[str, str, str]]:
    """Return each setting's variable, its default as one would write it (or `NONE`, or `REQUIRED`), and its meaning."""
    settings = [row for key, field in Settings.model_fields.items() for row in _rows(key, field)]
    return [*settings, (FILE_VARIABLE, str(DEFAULT_FILE), "a TOML file with the same keys, read if it exists")]


def _rows(key: str, field: FieldInfo) -> Iterator[tuple[str, str, str]]:
    yield variable(key), _default(field), field.description or ""
    if is_secret(field):
        yield variable(f"{key}_file"), NONE, f"a file that holds `{variable(key)}`, in place of it"


def markdown() -> str:
    """Render `rows` as a Markdown table that ends in a line end."""
    lines = [f"| `{name}` | {_code(default)} | {meaning} |" for name, default, meaning in rows()]
    return "\n".join(("| variable | default | meaning |", "| --- | --- | --- |", *lines, ""))


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return REQUIRED
    if field.default in (None, ()):
        return NONE
    if isinstance(field.default, bool):
        return str(field.default).lower()
    if isinstance(field.default, int) and field.default % 1024**2 == 0:
        return f"{field.default // 1024**2}MiB"
    return str(field.default)


def _code(default: str) -> str:
    return default if default in {NONE, REQUIRED} else f"`{default}`"
