"""What is set, and what is refused at the start."""

from __future__ import annotations

import pytest

from tailrace.errors import ConfigurationError
from tailrace.server.settings import check_hypercorn, hypercorn_config


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
