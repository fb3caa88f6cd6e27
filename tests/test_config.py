"""Settings: how they are written, where they come from, and what is said when they are wrong."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tailrace.config import Address, Settings, load, markdown, warnings
from tailrace.config.table import NONE, REQUIRED, rows
from tailrace.errors import ConfigurationError

SECRET = "a secret for tests that is long enough"
LEAST = {"TAILRACE_KAFKA_TOPICS": "tokens", "TAILRACE_JWT_SECRET": SECRET}
TOPICS = "must be comma-separated topic names, each 1 to 249 letters, digits, dots, dashes, underscores"
ORIGINS = "must be comma-separated origins, each scheme://host[:port] with http or https and no path"
ADDRESS = "must be host:port, an IPv6 host in brackets, a port of at most 65535"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a settings file of the developer's out of the tests."""
    monkeypatch.chdir(tmp_path)


def settings(**variables: str) -> Settings:
    """Load the least that is needed, and ``variables`` without their prefix."""
    return load({**LEAST, **{f"TAILRACE_{name}": value for name, value in variables.items()}})


def problems(environ: dict[str, str], file: Path | None = None) -> list[str]:
    """Give what is wrong with the settings."""
    with pytest.raises(ConfigurationError) as caught:
        load(environ, file)
    return caught.value.problems


def problem(**variables: str) -> str:
    """Give the only thing that is wrong with the least settings and ``variables``."""
    (only,) = problems({**LEAST, **{f"TAILRACE_{name}": value for name, value in variables.items()}})
    return only


def test_the_least_settings_are_topics_and_a_key() -> None:
    """Everything else has a default."""
    made = settings()
    assert (made.kafka_topics, made.bind) == (("tokens",), Address("127.0.0.1", 8080))


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("KAFKA_TOPICS", " a , b.c,", ("a", "b.c")),
        ("KAFKA_BOOTSTRAP_SERVERS", "one:9092, [::1]:9093", "one:9092,[::1]:9093"),
        ("BIND", "[::1]:8080", Address("::1", 8080)),
        ("BIND", "localhost:0", Address("localhost", 0)),
        ("TAIL_MAX_BYTES", "64MiB", 64 * 1024**2),
        ("REPLAY_MAX_PASSES", "64", 64),
        ("REPLAY_MAX_READERS", "1", 1),
        ("REPLAY_MAX_BYTES", "1MiB", 1024**2),
        ("REPLAY_MAX_RECORDS", "5000000", 5_000_000),
        ("TAIL_MAX_BYTES", "2 GiB", 2 * 1024**3),
        ("MAX_EVENT_BYTES", "64KiB", 65536),
        ("MAX_EVENT_BYTES", "1000", 1000),
        ("HEARTBEAT_SECONDS", "1.5", 1.5),
        ("MAX_CONNECTIONS", "5", 5),
        ("JWT_ALGORITHMS", "HS256,HS512", ("HS256", "HS512")),
        ("JWT_ISSUER", "", None),
        ("LOG_LEVEL", "debug", "debug"),
        (
            "ALLOWED_ORIGINS",
            "HTTPS://App.example:443,http://localhost:80,http://[::1]:3000,https://a.example:8443",
            ("https://app.example", "http://localhost", "http://[::1]:3000", "https://a.example:8443"),
        ),
    ],
)
def test_how_values_are_written(name: str, text: str, expected: object) -> None:
    """Lists have commas, sizes have units, addresses a port; what is empty is not set."""
    assert expected == getattr(settings(**{name: text}), name.lower())


@pytest.mark.parametrize(
    "name, text, expected",
    [
        ("KAFKA_TOPICS", "a b", TOPICS),
        ("KAFKA_TOPICS", ".", TOPICS),
        ("KAFKA_TOPICS", ",", TOPICS),
        ("KAFKA_TOPICS", "a,b,a", "must name each only once, but repeats a"),
        ("KAFKA_BOOTSTRAP_SERVERS", ",", "must be host:port, several with commas between them"),
        ("BIND", "8080", ADDRESS),
        ("BIND", "::1:8080", ADDRESS),
        ("BIND", "a:65536", ADDRESS),
        ("REPLAY_MAX_PASSES", "65", "must be less than or equal to 64"),
        ("REPLAY_MAX_PASSES", "0", "must be greater than or equal to 1"),
        ("REPLAY_MAX_READERS", "0", "must be greater than or equal to 1"),
        ("REPLAY_MAX_BYTES", "0", "must be greater than or equal to 1"),
        ("REPLAY_MAX_RECORDS", "0", "must be greater than or equal to 1"),
        ("TAIL_MAX_BYTES", "1MB", "must be a number of bytes, or of KiB, MiB or GiB such as 256MiB"),
        ("TAIL_MAX_BYTES", "1000", "must be greater than or equal to 1048576"),
        ("MAX_EVENT_BYTES", "1GiB", "must not be larger than TAILRACE_TAIL_MAX_BYTES"),
        ("MAX_BATCH_BYTES", "1KiB", "must be greater than or equal to 1048576"),
        ("HEARTBEAT_SECONDS", "0", "must be greater than or equal to 1"),
        ("DRAIN_SECONDS", "nan", "must be a finite number"),
        ("DRAIN_SECONDS", "soon", "must be a number"),
        ("MAX_CONNECTIONS", "many", "must be a whole number"),
        ("VALUE", "hex", "must be 'text' or 'base64'"),
        ("SESSION_FROM", "header:", "must be key or header:<name>"),
        ("JWT_ALGORITHMS", "HS256,ES256", "must be of the HS family with a secret, and of another with a public key"),
        ("JWT_PUBLIC_KEY_FILE", "/no/key.pem", "must name a file that exists"),
        ("ALLOWED_ORIGINS", "https://a/", ORIGINS),
        ("ALLOWED_ORIGINS", "*", ORIGINS),
        ("ALLOWED_ORIGINS", "null", ORIGINS),
        ("ALLOWED_ORIGINS", "https://a:99999", ORIGINS),
    ],
)
def test_a_wrong_value_is_named_with_what_is_expected(name: str, text: str, expected: str) -> None:
    """The sentence has the variable, the expectation and the value."""
    assert f"TAILRACE_{name} {expected} (it is {text!r})" in problems({**LEAST, f"TAILRACE_{name}": text})


def test_everything_wrong_is_told_at_once() -> None:
    """Missing, wrong, misspelt and contradictory settings come together."""
    found = problems({"TAILRACE_BIND": "x", "TAILRACE_VALU": "text", "TAILRACE_TLS_KEY_FILE": __file__})
    assert found == [
        "TAILRACE_VALU is not a setting: did you mean TAILRACE_VALUE?",
        "TAILRACE_TLS_CERT_FILE must be set, because TAILRACE_TLS_KEY_FILE is",
        "exactly one of TAILRACE_JWT_SECRET and TAILRACE_JWT_PUBLIC_KEY_FILE must be set, and neither is",
        "TAILRACE_KAFKA_TOPICS must be set: topics to read, comma-separated",
        f"TAILRACE_BIND {ADDRESS} (it is 'x')",
    ]


def test_a_long_value_is_cut() -> None:
    """A value is shown to be recognised, not in full."""
    assert problem(VALUE="x" * 1000).endswith(f"(it is '{'x' * 79}…)")


def test_a_secret_is_never_shown() -> None:
    """Neither a problem nor a repr holds a secret, or a piece of one."""
    assert problem(JWT_SECRET="hunter2") == "TAILRACE_JWT_SECRET must have at least 32 bytes (RFC 7518 section 3.2)"
    assert SECRET not in repr(settings())
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate({"kafka_topics": "a", "jwt_secret": "hunter2"})
    assert "hunter2" not in str(caught.value)


@given(st.sampled_from(sorted(Settings.model_fields)), st.text(max_size=40))
def test_any_text_is_a_value_or_a_configuration_error(key: str, text: str) -> None:
    """No value of any variable makes `load` raise anything else."""
    with suppress(ConfigurationError):
        assert isinstance(load({**LEAST, f"TAILRACE_{key.upper()}": text}), Settings)


@pytest.mark.parametrize(
    "given_settings, expected",
    [
        (
            {"TLS_CERT_FILE": __file__},
            ["TAILRACE_TLS_KEY_FILE must be set, because TAILRACE_TLS_CERT_FILE is"],
        ),
        (
            {"KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            ["TAILRACE_KAFKA_SASL_MECHANISM must be set if TAILRACE_KAFKA_SECURITY_PROTOCOL is SASL_…, and only then"],
        ),
        (
            {"KAFKA_SASL_MECHANISM": "PLAIN", "KAFKA_SECURITY_PROTOCOL": "SASL_SSL"},
            [
                "TAILRACE_KAFKA_SASL_USERNAME must be set, because TAILRACE_KAFKA_SASL_MECHANISM is",
                "TAILRACE_KAFKA_SASL_PASSWORD must be set, because TAILRACE_KAFKA_SASL_MECHANISM is",
            ],
        ),
        (
            {"KAFKA_SSL_CA_FILE": __file__},
            ["TAILRACE_KAFKA_SSL_CA_FILE does nothing unless TAILRACE_KAFKA_SECURITY_PROTOCOL is SSL or SASL_SSL"],
        ),
        (
            {"JWT_PUBLIC_KEY_FILE": __file__},
            ["exactly one of TAILRACE_JWT_SECRET and TAILRACE_JWT_PUBLIC_KEY_FILE must be set, and both are"],
        ),
    ],
)
def test_settings_that_belong_together(given_settings: dict[str, str], expected: list[str]) -> None:
    """A pair comes whole, SASL comes with its protocol, and there is one key."""
    assert expected == problems({**LEAST, **{f"TAILRACE_{name}": value for name, value in given_settings.items()}})


def test_sasl_over_tls_is_complete_with_four_settings() -> None:
    """Mechanism, name and password, under a protocol that uses them."""
    made = settings(
        KAFKA_SECURITY_PROTOCOL="SASL_SSL",
        KAFKA_SASL_MECHANISM="SCRAM-SHA-512",
        KAFKA_SASL_USERNAME="tailrace",
        KAFKA_SASL_PASSWORD="hunter2",
    )
    assert made.kafka_sasl_password is not None
    assert made.kafka_sasl_password.get_secret_value() == "hunter2"


def test_a_file_gives_what_the_environment_does_not() -> None:
    """The default file is read where it exists, arrays and numbers are TOML's own, and the environment wins."""
    Path("tailrace.toml").write_text('kafka_topics = ["a", "b"]\nmax_connections = 7\nvalue = "base64"\n')
    made = load({"TAILRACE_JWT_SECRET": SECRET, "TAILRACE_VALUE": "text", "TAILRACE_KAFKA_TOPICS": ""})
    assert (made.kafka_topics, made.max_connections, made.value) == (("a", "b"), 7, "text")


def test_a_file_may_be_named(tmp_path: Path) -> None:
    """By variable or by argument, and the argument wins."""
    (one := tmp_path / "one.toml").write_text("max_connections = 1")
    (two := tmp_path / "two.toml").write_text("max_connections = 2")
    environ = {**LEAST, "TAILRACE_CONFIG_FILE": str(one)}
    assert (load(environ).max_connections, load(environ, two).max_connections) == (1, 2)


def test_a_key_in_the_file_is_named_with_its_file() -> None:
    """Somebody who wrote a file looks in the file."""
    Path("tailrace.toml").write_text('max_connections = "many"\ndrain_seconds = true\nbnd = "x"\n[kafka]\nsecret = "s"')
    assert problems(LEAST) == [
        "bnd in tailrace.toml is not a setting: did you mean bind?",
        "kafka in tailrace.toml is not a setting: did you mean kafka_bootstrap_servers?",
        "drain_seconds in tailrace.toml must not be true or false (it is True)",
        "max_connections in tailrace.toml must be a whole number (it is 'many')",
    ]


def test_an_unknown_key_in_the_file_is_an_error() -> None:
    """Even when it looks like nothing we know."""
    Path("tailrace.toml").write_text("colour = 1")
    assert problems(LEAST) == ["colour in tailrace.toml is not a setting"]


@pytest.mark.parametrize(
    "content, expected",
    [
        (None, "the settings file t.toml cannot be read: No such file or directory"),
        (b"a = ", "the settings file t.toml is not valid TOML: "),
        (b"a = '\xff'", "the settings file t.toml is not valid TOML: "),
    ],
)
def test_a_file_that_cannot_be_read_is_named(content: bytes | None, expected: str) -> None:
    """A file that was asked for must be there, and be TOML."""
    if content is not None:
        Path("t.toml").write_bytes(content)
    (only,) = problems({**LEAST, "TAILRACE_CONFIG_FILE": "t.toml"})
    assert only.startswith(expected)


@pytest.mark.parametrize(
    "name, meant",
    [
        ("KAFKA_TOPIC", "KAFKA_TOPICS"),
        ("TOPICS", "KAFKA_TOPICS"),
        ("HEARTBEAT", "HEARTBEAT_SECONDS"),
        ("JWT_PUBLIC_KEY", "JWT_PUBLIC_KEY_FILE"),
        ("ALLOWED_ORIGIN", "ALLOWED_ORIGINS"),
        ("CONFIG", "CONFIG_FILE"),
    ],
)
def test_a_variable_that_looks_misspelt_is_an_error(name: str, meant: str) -> None:
    """The likely one is named, and the value is not."""
    assert f"TAILRACE_{name} is not a setting: did you mean TAILRACE_{meant}?" == problem(**{name: "hunter2"})


def test_other_strange_variables_are_warnings() -> None:
    """What looks like no setting of ours may be somebody else's."""
    environ = {**LEAST, "TAILRACE_IMAGE": "x", "OTHER": "y"}
    assert warnings(load(environ), environ) == ["TAILRACE_IMAGE is not a setting of tailrace: ignored"]
    assert load(environ) == load(LEAST)


def test_what_kubernetes_injects_is_ignored() -> None:
    """A Service named tailrace makes no noise."""
    injected = ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8080_TCP", "PORT_8080_TCP_ADDR")
    environ = {**LEAST, **{f"TAILRACE_{name}": "tcp://10.0.0.1:8080" for name in injected}}
    assert (load(environ).max_connections, warnings(load(environ), environ)) == (10_000, [])


def test_no_setting_is_taken_for_a_misspelling_of_another() -> None:
    """Every setting's own name is accepted beside all others."""
    environ = {row[0]: "" for row in rows()} | LEAST
    assert warnings(load(environ), environ) == []


def test_a_public_key_takes_no_secret_algorithms() -> None:
    """The algorithms must be of the key's kind; which kind of public key it is, the verifier sees."""
    environ = {"TAILRACE_KAFKA_TOPICS": "a", "TAILRACE_JWT_PUBLIC_KEY_FILE": __file__}
    assert load({**environ, "TAILRACE_JWT_ALGORITHMS": "ES256"}).jwt_algorithms == ("ES256",)
    assert len(problems({**environ, "TAILRACE_JWT_ALGORITHMS": "HS256"})) == 1


def test_the_process_environment_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what is handed over counts."""
    monkeypatch.setenv("TAILRACE_VALUE", "base64")
    monkeypatch.setenv("VALUE", "base64")
    assert settings().value == "text"


def test_settings_are_frozen() -> None:
    """Nobody changes them after the start."""
    made: Any = settings()
    with pytest.raises(ValidationError):
        made.value = "base64"


@pytest.mark.parametrize("text, expected", [("key", None), ("header:session-id", "session-id")])
def test_the_session_header(text: str, expected: str | None) -> None:
    """None means that the key names the session."""
    assert expected == settings(SESSION_FROM=text).session_header


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, 64 * 1024**2),
        ({"MAX_EVENT_BYTES": "8MiB"}, 128 * 1024**2),
        ({"MAX_EVENT_BYTES": "8MiB", "MAX_BATCH_BYTES": "9MiB"}, 9 * 1024**2),
    ],
)
def test_what_a_batch_may_take(given: dict[str, str], expected: int) -> None:
    """What was set, else room for sixteen events, and 64 MiB at least."""
    assert expected == settings(**given).batch_bytes


def test_a_batch_has_room_for_an_event() -> None:
    """Or none of the largest would ever be delivered."""
    with pytest.raises(ConfigurationError, match="TAILRACE_MAX_BATCH_BYTES must not be smaller than TAILRACE_MAX_EV"):
        settings(MAX_EVENT_BYTES="4MiB", MAX_BATCH_BYTES="3MiB")


@pytest.mark.parametrize("text", ["[::1]:8080", "localhost:80"])
def test_an_address_is_written_as_it_is_read(text: str) -> None:
    """IPv6 keeps its brackets."""
    assert text == str(Address.parse(text))


def test_the_table_documents_every_setting() -> None:
    """Each row has a variable, a default as one would write it, and a meaning."""
    made = {name: (default, meaning) for name, default, meaning in rows()}
    assert made["TAILRACE_TAIL_MAX_BYTES"] == ("256MiB", "memory for the newest events of all sessions")
    assert (made["TAILRACE_KAFKA_TOPICS"][0], made["TAILRACE_JWT_SECRET"][0]) == (REQUIRED, NONE)
    assert all(default and meaning for default, meaning in made.values())


def test_the_table_in_markdown() -> None:
    """One line per setting under a head, with variables and defaults as code."""
    lines = markdown().splitlines()
    assert "| `TAILRACE_BIND` | `127.0.0.1:8080` | public listener, `host:port` |" in lines
    assert len(lines) == 2 + len(rows())


def test_defaults_are_what_the_table_says() -> None:
    """A default that is written out gives the same settings."""
    written = {name: default for name, default, _ in rows() if default not in {REQUIRED, NONE}}
    written.pop("TAILRACE_CONFIG_FILE")
    assert load(LEAST) == load({**LEAST, **written})
