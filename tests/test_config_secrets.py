"""Secrets: from files, none that everybody knows, and none that is shown."""

from __future__ import annotations

import base64
import os
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailrace.config import load, warnings
from tailrace.config.exposure import exposure, mounted_alone
from tailrace.config.loading import sources
from tailrace.config.placeholders import WORDS, weakness
from tailrace.config.secret_files import FILES, MAX_SECRET_BYTES
from tailrace.errors import ConfigurationError
from tailrace.service import connection_of, verifier_of

SECRET = "6f1d0c9a52be4f7a8c3e9b1d7f2a4c5e"
OTHER = "b8a1f3d95c7e42068d9f1b3a5c7e9d0f"
TOPIC = {"TAILRACE_KAFKA_TOPICS": "t"}
KAFKA = {
    **TOPIC,
    "TAILRACE_JWT_SECRET": SECRET,
    "TAILRACE_KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
    "TAILRACE_KAFKA_SASL_MECHANISM": "PLAIN",
    "TAILRACE_KAFKA_SASL_USERNAME": "us",
}


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep a settings file of the developer's out of the tests."""
    monkeypatch.chdir(tmp_path)


def written(name: str, content: bytes | str, mode: int = 0o600) -> str:
    """Write a file, and give its path."""
    path = Path(name)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    path.chmod(mode)
    return name


def problems(**variables: str) -> list[str]:
    """Give what is wrong with a topic and ``variables``."""
    with pytest.raises(ConfigurationError) as caught:
        load({**TOPIC, **{f"TAILRACE_{name}": value for name, value in variables.items()}})
    return caught.value.problems


# From files --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_a_secret_may_come_in_a_file(end: str) -> None:
    """The line break that an editor puts at its end is no part of it."""
    made = load({**TOPIC, "TAILRACE_JWT_SECRET_FILE": written("s", SECRET + end)})
    assert made.jwt_secret is not None
    assert made.jwt_secret.get_secret_value() == SECRET


def test_only_one_line_break_is_left_out() -> None:
    """What else is there belongs to the secret."""
    made = load({**KAFKA, "TAILRACE_KAFKA_SASL_PASSWORD_FILE": written("p", " a b \n\n")})
    assert made.kafka_sasl_password is not None
    assert made.kafka_sasl_password.get_secret_value() == " a b \n"


def test_every_secret_has_its_file() -> None:
    """Those of all settings whose value must not be shown."""
    assert {"jwt_secret_file": "jwt_secret", "kafka_sasl_password_file": "kafka_sasl_password"}.items() <= FILES.items()


def test_the_settings_file_may_name_it_too() -> None:
    """And the environment wins, whichever form it has."""
    written("tailrace.toml", f'jwt_secret_file = "{written("s", SECRET)}"')
    made = [load(TOPIC), load({**TOPIC, "TAILRACE_JWT_SECRET": OTHER})]
    assert [each.jwt_secret.get_secret_value() for each in made if each.jwt_secret] == [SECRET, OTHER]


def test_both_forms_at_once_are_an_error() -> None:
    """Nobody should have to know which wins."""
    expected = "TAILRACE_JWT_SECRET and TAILRACE_JWT_SECRET_FILE must not both be set"
    assert problems(JWT_SECRET=SECRET, JWT_SECRET_FILE=written("s", SECRET)) == [expected]
    written("tailrace.toml", 'jwt_secret = "x"\njwt_secret_file = "s"')
    assert problems() == ["jwt_secret in tailrace.toml and jwt_secret_file in tailrace.toml must not both be set"]


@pytest.mark.parametrize(
    "content, expected",
    [
        ("", "must not be empty"),
        ("\n", "must not be empty"),
        (b"\xff" * 40, "must hold text in UTF-8"),
        ("ab" * MAX_SECRET_BYTES, "must hold at most 65536 bytes"),
        ("hunter2", "must have at least 32 bytes (RFC 7518 section 3.2)"),
    ],
)
def test_what_is_wrong_with_the_file_is_told_with_its_name(content: bytes | str, expected: str) -> None:
    """And without a piece of what it holds; nothing follows from it."""
    assert problems(JWT_SECRET_FILE=written("s", content)) == [f"TAILRACE_JWT_SECRET_FILE (s) {expected}"]


def test_a_file_that_is_not_there_is_told() -> None:
    """With the reason that the system gives, and its name where that is one."""
    expected = "TAILRACE_JWT_SECRET_FILE (/run/secrets/none) cannot be read: No such file or directory"
    assert problems(JWT_SECRET_FILE="/run/secrets/none") == [expected]
    assert problems(JWT_SECRET_FILE=".") == ["TAILRACE_JWT_SECRET_FILE (.) cannot be read: Is a directory"]
    written("tailrace.toml", "jwt_secret_file = 7")
    assert problems() == ["jwt_secret_file in tailrace.toml must name a file"]


@pytest.mark.parametrize("secret", ["0123456789abcdef" * 4, "hunter2-s3cret", "/" + "x" * 43, "a/" + "b" * 40])
@pytest.mark.parametrize("name", ["JWT_SECRET_FILE", "JWT_PUBLIC_KEY_FILE", "TLS_KEY_FILE"])
def test_a_secret_in_place_of_its_file_is_not_shown(name: str, secret: str) -> None:
    """The likeliest slip with such a setting."""
    told = " ".join(problems(**{name: secret}))
    assert (f"TAILRACE_{name} " in told, secret in told) == (True, False)


def test_a_misspelt_file_variable_is_an_error() -> None:
    """The logic that knows settings knows these."""
    found = problems(JWT_SECRET=SECRET, JWT_SECRT_FILE="s", SASL_PASSWORD_FILE="s")
    assert found == [
        "TAILRACE_JWT_SECRT_FILE is not a setting: did you mean TAILRACE_JWT_SECRET_FILE?",
        "TAILRACE_SASL_PASSWORD_FILE is not a setting: did you mean TAILRACE_KAFKA_SASL_PASSWORD_FILE?",
    ]


# None that everybody knows -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "secret",
    [
        "a" * 32,
        " " * 34,
        " \t\n" * 20,
        "-_" * 20,
        "aA" * 20,
        "ab" * 20,
        "deadbeef" * 8,
        "0123456789abcdef" * 2,
        "changeme" * 4,
        "change-me-" * 4,
        "CHANGEME_CHANGEME_CHANGEME_CHANGE",
        "changeme000000000000000000000000",
        "changeme" + "1234567890" * 3,
        "ChangeThis!" * 3,
        "secret" * 6,
        "my-super-secret-key-my-super-secret-key",
        "password" + "x" * 30,
        "passwordpasswordpasswordpassword123",
        "your-256-bit-secret" * 2,
        "YOUR_JWT_SECRET_KEY_REPLACE_ME_PLEASE"[:32],
        "a-string-secret-at-least-256-bits-long",
        "a-valid-string-secret-that-is-at-least-512-bits-long-which-is-very-long",
        "!ChangeThisMercureHubJWTSecretKey!",
        "abcdefghijklmnopqrstuvwxyz123456",
        "12345678901234567890123456789012",
        "tailrace dev: for this machine's loopback only",
    ],
)
def test_a_secret_that_everybody_knows_is_refused(secret: str) -> None:
    """Whoever guesses it signs tokens for everything; the sentence says how to make a good one, and shows nothing."""
    (only,) = problems(JWT_SECRET=secret)
    assert only.startswith("TAILRACE_JWT_SECRET must not be ")
    assert "python3 -c 'import secrets; print(secrets.token_hex(32))'" in only
    assert secret not in only


def test_a_file_with_such_a_secret_is_refused_by_its_own_name() -> None:
    """Wherever the secret was written."""
    (only,) = problems(JWT_SECRET_FILE=written("s", "changeme" * 4))
    assert only.startswith("TAILRACE_JWT_SECRET_FILE (s) must not be ")


def test_a_demo_may_have_a_secret_that_everybody_knows() -> None:
    """It is for this machine's loopback, and gives tokens to whoever asks."""
    assert load({**TOPIC, "TAILRACE_JWT_SECRET": "changeme" * 4}, demo=True).jwt_secret


@given(st.integers(0, 2**64))
def test_what_a_generator_makes_is_never_refused(seed: int) -> None:
    """In hexadecimal digits, in base64, in decimal digits, or of any printable character."""
    data = random.Random(seed).randbytes(24)
    number = str(int.from_bytes(data, "big"))
    signs = "".join(chr(33 + byte % 94) for byte in data)
    assert [weakness(text) for text in (data.hex(), base64.b64encode(data).decode(), number, signs)] == [None] * 4


@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    """Without an error."""
    assert weakness(text) is None or "make one with" in str(weakness(text))


def test_a_word_does_not_hide_a_longer_one() -> None:
    """The first that fits is taken out: so a longer word stands before its own beginning."""
    assert [] == [
        (word, other) for place, word in enumerate(WORDS) for other in WORDS[place + 1 :] if other.startswith(word)
    ]


# None that is shown ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "servers",
    ["us:hunter2@kafka:9092", "SASL_SSL://us:hunter2@kafka:9092", "a:1,b:hunter2@c:2", "SASL_SSL://kafka:9092"],
)
def test_brokers_have_no_password(servers: str) -> None:
    """It is a setting of its own, which no error shows; here too the value is not shown, nor a piece of it."""
    (only,) = problems(JWT_SECRET=SECRET, KAFKA_BOOTSTRAP_SERVERS=servers)
    assert only.startswith("TAILRACE_KAFKA_BOOTSTRAP_SERVERS must be host:port without protocol, name or password")
    assert "TAILRACE_KAFKA_SASL_PASSWORD" in only
    assert "hunter2" not in only


@pytest.mark.parametrize("name", ["BIND", "ALLOWED_ORIGINS", "KAFKA_TOPICS", "LOG_LEVEL", "ADMIN_ALLOWED_HOSTS"])
@pytest.mark.parametrize("value", ["us:hunter2@kafka:9092", "https://us:hunter2@a.example", "password=hunter2 x"])
def test_a_value_with_a_password_in_it_is_not_shown(name: str, value: str) -> None:
    """Whatever the setting that it was given to by mistake."""
    assert "hunter2" not in " ".join(problems(**{"JWT_SECRET": SECRET, name: value}))


def test_a_secret_that_is_no_utf_8_is_not_shown() -> None:
    """Python hands its bytes on as characters that nothing can be signed with."""
    text = os.fsdecode(b"\xff hunter2 is too short for a secret")
    assert problems(JWT_SECRET=text) == ["TAILRACE_JWT_SECRET must be text in UTF-8"]


def test_no_object_on_the_way_shows_a_secret() -> None:
    """Neither what was written nor what is made of it, should one ever come into a log line."""
    environ = {**KAFKA, "TAILRACE_KAFKA_SASL_PASSWORD": "hunter2"}
    made, written_there = load(environ), sources(environ)
    shown = repr([made, written_there, written_there.given, connection_of(made), verifier_of(made)])
    assert ("hunter2" in shown, SECRET in shown, "TAILRACE_JWT_SECRET" in shown) == (False, False, True)


# Who else can read -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "mode, verb", [(0o600, None), (0o400, None), (0o640, None), (0o440, None), (0o644, "read"), (0o602, "write")]
)
def test_files_that_others_can_read_or_write(mode: int, verb: str | None) -> None:
    """A group is somebody's decision; all others are not."""
    path = written("s", SECRET, mode)
    expected = verb and f"other users of this machine can {verb} s (mode {mode:04o}): chmod o= s"
    assert exposure(path) == expected


def test_a_file_that_was_given_to_one_container_is_read_by_nobody_else() -> None:
    """Everybody may read it there, and nobody else is there; a file of this machine lies on no such mount."""
    path = written("s", SECRET, 0o644)
    assert (exposure(path, lambda _path: True), mounted_alone(path)) == (None, False)


def test_a_link_is_what_it_points_to() -> None:
    """As Kubernetes makes them."""
    Path("link").symlink_to(written("s", SECRET))
    assert exposure("link") is None


@pytest.mark.parametrize("path", ["none", ".", "/dev/null", "a\0b"])
def test_what_is_no_file_is_no_warning(path: str) -> None:
    """Whoever needs it says what is wrong."""
    assert exposure(path) is None


def test_each_file_with_a_secret_or_a_key_is_looked_at() -> None:
    """Named as it was given; the settings file only where it holds a secret."""
    for name in ("s", "p", "tls", "kafka"):
        written(name, SECRET, 0o644)
    files = {"KAFKA_SASL_PASSWORD_FILE": "p", "TLS_KEY_FILE": "tls", "TLS_CERT_FILE": "tls"}
    files |= {"KAFKA_SSL_KEY_FILE": "kafka", "KAFKA_SSL_CERT_FILE": "kafka"}
    environ = {**KAFKA, **{f"TAILRACE_{name}": path for name, path in files.items()}}
    named = [each.split(":")[0] for each in warnings(load(environ), environ)]
    assert named == ["TAILRACE_TLS_KEY_FILE", "TAILRACE_KAFKA_SSL_KEY_FILE", "TAILRACE_KAFKA_SASL_PASSWORD_FILE"]
    written("tailrace.toml", f'jwt_secret = "{SECRET}"', 0o644)
    assert "the settings file holds a secret: other users" in warnings(load(TOPIC), TOPIC)[0]
    written("tailrace.toml", "max_connections = 7", 0o644)
    assert warnings(load(KAFKA | {"TAILRACE_KAFKA_SASL_PASSWORD": "p"}), KAFKA) == []


def test_a_cookie_in_clear_text_is_a_warning() -> None:
    """It is for development, and easily left in place."""
    environ = {**TOPIC, "TAILRACE_JWT_SECRET": SECRET, "TAILRACE_COOKIE_SECURE": "false"}
    assert "TAILRACE_COOKIE_SECURE is false" in warnings(load(environ), environ)[0]
