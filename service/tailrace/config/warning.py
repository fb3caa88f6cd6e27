"""What may be meant, but is more often a slip: told at the start and by `tailrace check`, and then passed over.

Looks at the environment, the settings and the rights of files; knows neither Kafka nor who is served.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from tailrace.config.exposure import exposure
from tailrace.config.loading import Sources, likely, sources, strangers
from tailrace.config.secret_files import FILES, SECRETS
from tailrace.config.settings import Settings

KEY_FILES = ("tls_key_file", "kafka_ssl_key_file")
"""Settings that name the file of a private key."""


def warnings(settings: Settings, environ: Mapping[str, str], file: Path | None = None) -> list[str]:
    """Say what an operator should look at; ``settings`` are those that `load` made of the same arguments."""
    written = sources(environ, file)
    strange = (f"{name} is not a setting of tailrace: ignored" for name in strangers(environ) if not likely(name))
    exposed = (f"{name}: {told}" for name, path in _files(written) if (told := exposure(path)) is not None)
    return [*strange, *dict.fromkeys(exposed), *_in_clear_text(settings)]


def _files(written: Sources) -> Iterator[tuple[str, str]]:
    """Return each file that holds a secret or a private key, and by what name it was given."""
    if written.path is not None and not set(SECRETS).isdisjoint(written.in_file):
        yield "the settings file holds a secret", str(written.path)
    given = written.given[0] | written.given[1]
    yield from ((given[key].name, str(given[key].value)) for key in (*KEY_FILES, *FILES) if key in given)


def _in_clear_text(settings: Settings) -> Iterator[str]:
    if not settings.cookie_secure:
        yield "TAILRACE_COOKIE_SECURE is false: browsers send the token in clear text, too; only good for development"
