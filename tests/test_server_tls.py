"""TLS: files that cannot be used, and what is spoken."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from certificates import make_certificate
from tailrace.errors import ConfigurationError
from tailrace.server.tls import tls_context


def test_missing_files_are_named(tmp_path: Path) -> None:
    """Every file that cannot be read is named, with the reason."""
    with pytest.raises(ConfigurationError) as caught:
        tls_context(tmp_path / "a.crt", tmp_path / "a.key")
    assert [
        f"cannot read {tmp_path}/a.crt: No such file or directory",
        f"cannot read {tmp_path}/a.key: No such file or directory",
    ] == caught.value.problems


def test_certificate_and_key_must_belong_together(tmp_path: Path) -> None:
    """A key of another certificate is an error that names both files."""
    one, other = make_certificate(tmp_path, "one"), make_certificate(tmp_path, "other")
    with pytest.raises(ConfigurationError, match=r"one\.crt and .*other\.key are no certificate and its key"):
        tls_context(one.cert_file, other.key_file)


def test_tls_is_1_2_or_later(tmp_path: Path) -> None:
    """HTTP/2 forbids anything below TLS 1.2."""
    one = make_certificate(tmp_path)
    assert ssl.TLSVersion.TLSv1_2 == tls_context(one.cert_file, one.key_file).minimum_version
