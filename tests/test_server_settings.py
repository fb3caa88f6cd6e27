"""What is set, and what is refused at the start."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from certificates import make_certificate
from tailrace.errors import ConfigurationError
from tailrace.server.settings import check_hypercorn, hypercorn_config, tls_context


def test_nothing_of_a_request_is_logged_by_hypercorn() -> None:
    """Hypercorn logs neither accesses nor errors: a query may hold a token."""
    config = hypercorn_config()
    assert (config.log.access_logger, config.log.error_logger) == (None, None)


def test_server_is_not_named() -> None:
    """Responses do not say which server made them; browsers are told not to guess what they are."""
    names = [name.decode() for name, _ in hypercorn_config().response_headers("h11")]
    assert names == ["date", "x-content-type-options"]


def test_tls_is_asked_for_where_a_site_says_so() -> None:
    """For this host alone (RFC 6797); 0 takes it back."""
    said = [dict(hypercorn_config(seconds).response_headers("h2")) for seconds in (60, 0)]
    assert [each[b"strict-transport-security"] for each in said] == [b"max-age=60", b"max-age=0"]


def test_another_hypercorn_is_refused() -> None:
    """A Hypercorn of another line is an error that names both versions."""
    with pytest.raises(ConfigurationError, match=r"Hypercorn 0\.19\.0 is installed, but tailrace works with 0\.18\.\*"):
        check_hypercorn("0.19.0")


def test_the_installed_hypercorn_is_the_right_one() -> None:
    """The pinned version passes the check."""
    check_hypercorn()


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
