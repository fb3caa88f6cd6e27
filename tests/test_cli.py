"""The commands, as a person at a terminal meets them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from asgi import SECRET
from commands import ANY_PORT, listening, process
from tailrace import __version__
from tailrace.auth import Verifier
from tailrace.cli import _configuration_errors, main
from tailrace.dev import EmbeddedBroker
from tailrace.errors import ConfigurationError

REQUIRED = {"TAILRACE_KAFKA_TOPICS": "t", "TAILRACE_JWT_SECRET": SECRET}
NOBODY = {**REQUIRED, "TAILRACE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
PATIENCE_SECONDS = 30.0


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where there is no settings file, with no setting in the environment."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TAILRACE_")]:
        monkeypatch.delenv(name)


def run(*arguments: str, **environ: str) -> Result:
    """Run a command in this process."""
    return CliRunner().invoke(main, arguments, env=environ)


def ask(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_SECONDS) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


# All of them -------------------------------------------------------------------------------------------------------


def test_without_a_command_it_says_what_there_is() -> None:
    """All commands, each with a sentence."""
    text = run().output
    assert [] == [name for name in ("serve", "dev", "token", "check", "position") if name not in text]


@pytest.mark.parametrize("command", ["serve", "dev", "token", "check", "position"])
def test_each_command_helps(command: str) -> None:
    """With its own sentence."""
    answer = run(command, "--help")
    assert (0, True) == (answer.exit_code, "Usage:" in answer.output)


def test_the_version() -> None:
    """The package's own."""
    assert f"tailrace {__version__}\n" == run("--version").output


@pytest.mark.parametrize("command", ["serve", "check"])
def test_all_problems_of_the_settings_are_told_at_once(command: str) -> None:
    """On stderr, by name, with status 2 and no traceback; a secret's value is not shown."""
    answer = run(command, TAILRACE_JWT_SECRET="too short", TAILRACE_BIND="nowhere", TAILRACE_DRAIN_SECOND="1")
    assert 2 == answer.exit_code
    names = re.findall(r"^error: (\w+)", answer.stderr, re.MULTILINE)
    assert {
        "TAILRACE_JWT_SECRET",
        "TAILRACE_BIND",
        "TAILRACE_DRAIN_SECOND",
        "TAILRACE_KAFKA_TOPICS",
    } == set(names)
    assert ("", False, False) == (answer.stdout, "Traceback" in answer.stderr, "too short" in answer.stderr)


def test_a_settings_file_that_is_not_there_is_a_problem() -> None:
    """One that was named must exist."""
    answer = run("serve", "--config", "none.toml", **REQUIRED)
    assert (2, True) == (answer.exit_code, "none.toml cannot be read" in answer.stderr)


def test_problems_from_several_tasks_are_told_together(capsys: pytest.CaptureFixture[str]) -> None:
    """However deep the groups that they come in."""
    deep = ExceptionGroup("", [ExceptionGroup("", [ConfigurationError(["one", "two"])]), ConfigurationError(["three"])])
    with pytest.raises(SystemExit) as ended, _configuration_errors():
        raise deep
    assert (2, "error: one\nerror: two\nerror: three\n") == (ended.value.code, capsys.readouterr().err)


# token -------------------------------------------------------------------------------------------------------------


def test_a_token_is_good_for_the_service_that_has_the_secret() -> None:
    """Its sessions, subject and life are those that were asked for; no topic has to be configured."""
    arguments = ["--session", "chat/7", "--session", "org/*", "--ttl", "60", "--subject", "ada"]
    answer = run("token", *arguments, TAILRACE_JWT_SECRET=SECRET)
    principal = Verifier.from_secret(SECRET, audience="tailrace").verify(answer.stdout.strip())
    assert ("ada", ("chat/7", "org/*")) == (principal.subject, principal.sessions)


def test_a_token_carries_the_configured_audience_and_issuer(tmp_path: Path) -> None:
    """From the settings file too."""
    (tmp_path / "tailrace.toml").write_text(f'jwt_secret = "{SECRET}"\njwt_audience = "us"\njwt_issuer = "me"\n')
    text = run("token", "--session", "s").stdout.strip()
    assert "cli" == Verifier.from_secret(SECRET, audience="us", issuer="me").verify(text).subject


def test_a_public_key_cannot_sign(tmp_path: Path) -> None:
    """The sentence says what can."""
    file = tmp_path / "key.pem"
    file.touch()
    answer = run("token", "--session", "s", TAILRACE_JWT_PUBLIC_KEY_FILE=str(file))
    assert (2, "error: TAILRACE_JWT_SECRET: expected, to sign with; a public key cannot sign\n") == (
        answer.exit_code,
        answer.stderr,
    )


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--session", ""], "--session '' fits no session: a session has 1 to 256 characters"),
        (["--session", "x" * 257], "fits no session: a session has 1 to 256 characters"),
        (["--session", "x" * 257 + "*"], "fits no session: a session has 1 to 256 characters"),
        (["--session", "a\nb"], r"--session 'a\nb' fits no session: a session has no control characters"),
        (["--session", "a//b*"], "fits no session: a session has no empty, '.' or '..' segments"),
        (["--session", "s", "--subject", "a\nb"], "the token's claim sub is not 1 to 256 printable characters"),
        (["--session", "s", "--subject", ""], "the token's claim sub is not 1 to 256 printable characters"),
        (["--session", "s", "--subject", "x" * 257], "the token's claim sub is not 1 to 256 printable characters"),
        (["--session", "s", "--ttl", "253402300799"], "the token's claim exp is not a date in seconds since 1970"),
        (["--session", "s"] * 1001, "the token's claim sessions is not a list of at most 1000 strings"),
        (["--session", "x" * 250, "--session", "y" * 250] * 20, "the token is longer than 8192 characters"),
    ],
    ids=lambda each: "" if isinstance(each, list) else None,
)
def test_a_token_that_the_service_would_refuse_is_not_made(arguments: list[str], expected: str) -> None:
    """It is looked at as the service will: what is wrong is told here, with status 2, and nothing is printed."""
    answer = run("token", *arguments, TAILRACE_JWT_SECRET=SECRET)
    assert (2, "", True) == (answer.exit_code, answer.stdout, expected in answer.stderr)


def test_a_ttl_beyond_all_dates_is_a_usage_error() -> None:
    """However large the number."""
    assert 2 == run("token", "--session", "s", "--ttl", "9" * 400, TAILRACE_JWT_SECRET=SECRET).exit_code


def test_a_token_is_signed_as_the_service_expects_it() -> None:
    """With the first algorithm that it accepts."""
    long = "another secret for tests, which has as many bytes as HS512 wants for a key"
    answer = run("token", "--session", "s", TAILRACE_JWT_SECRET=long, TAILRACE_JWT_ALGORITHMS="HS512")
    verifier = Verifier.from_secret(long, algorithms=["HS512"], audience="tailrace")
    assert "cli" == verifier.verify(answer.stdout.strip()).subject


@pytest.mark.parametrize(
    "arguments, expected",
    [
        (["--session", "*"], "warning: this token reads every session"),
        (["--session", "s", "--ttl", "86401"], "warning: whoever has this token can come back for 1.0 days"),
        (["--session", "a*b"], "warning: only a last * stands for more: in 'a*b' the others are meant as they are"),
        (["--session", "a*", "--ttl", "86400"], ""),
    ],
)
def test_a_token_that_may_be_a_slip_is_made_with_a_warning(arguments: list[str], expected: str) -> None:
    """On stderr, so that the token alone can be taken from stdout."""
    answer = run("token", *arguments, TAILRACE_JWT_SECRET=SECRET)
    assert (0, 1) == (answer.exit_code, len(answer.stdout.splitlines()))
    assert expected in answer.stderr if expected else answer.stderr == ""


def test_a_token_must_name_a_session() -> None:
    """One for nothing would only puzzle."""
    assert 2 == run("token", TAILRACE_JWT_SECRET=SECRET).exit_code


# position ----------------------------------------------------------------------------------------------------------


def test_a_position_is_explained() -> None:
    """Topic by topic, partition by partition, with the event's own record."""
    answer = run("position", "v1.9f3a2c1d.1843.-1790~0.end")
    assert [
        "topic 1 of 2, in the order of names: epoch 9f3a2c1d",
        "  partition 0: next offset 1843",
        "  partition 1: next offset 1790   <- the event: offset 1789",
        "topic 2 of 2, in the order of names: it did not exist yet",
        "the session had ended here",
    ] == answer.stdout.splitlines()


def test_a_position_of_no_event_names_none() -> None:
    """It is where a reader was, and its session goes on."""
    expected = ["topic 1 of 1, in the order of names: epoch 9f3a2c1d", "  partition 0: next offset 7"]
    assert expected == run("position", "v1.9f3a2c1d.7").stdout.splitlines()


def test_a_position_that_cannot_be_read_is_a_usage_error() -> None:
    """With what is wrong, and where."""
    answer = run("position", "v1.9f3a2c1d.x")
    assert (2, "error: the event id has 'x' where an offset is expected\n") == (answer.exit_code, answer.stderr)


# check -------------------------------------------------------------------------------------------------------------


def test_check_ends_with_1_when_something_is_wrong() -> None:
    """What it found is on stdout, one line each, warnings about the environment first."""
    answer = run("check", **NOBODY, TAILRACE_ZEPHYR="1")
    assert 1 == answer.exit_code
    assert ["warning", "ok", "error"] == [line.split()[0] for line in answer.stdout.splitlines()]


def test_check_ends_with_0_when_all_is_right() -> None:
    """Over the embedded broker."""
    with EmbeddedBroker() as broker:
        broker.create_topic("t", 1)
        answer = run("check", **REQUIRED, TAILRACE_KAFKA_BOOTSTRAP_SERVERS=broker.bootstrap)
    assert (0, True) == (answer.exit_code, "topic t has 1 partitions" in answer.stdout)


def test_ctrl_c_while_it_waits_is_no_traceback() -> None:
    """The broker takes the connection and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_SECONDS)
        broker = f"127.0.0.1:{silent.getsockname()[1]}"
        with process("check", **{**NOBODY, "TAILRACE_KAFKA_BOOTSTRAP_SERVERS": broker}) as child:
            connection, _ = silent.accept()
            child.send_signal(signal.SIGINT)
            text = child.communicate(timeout=PATIENCE_SECONDS)[1]
            connection.close()
    assert (130, "") == (child.returncode, text)


# serve -------------------------------------------------------------------------------------------------------------


def test_it_listens_before_kafka_answers_and_says_what_it_waits_for() -> None:
    """Startup waits for nothing; a signal ends it with 0."""
    with process("serve", **NOBODY, **ANY_PORT) as child:
        public, admin, _ = listening(child)
        status, text = ask(f"{admin}/readyz")
        assert (503, "waiting", 200) == (status, json.loads(text)["status"], ask(f"{public}/openapi.yaml")[0])
        child.send_signal(signal.SIGTERM)
        assert 0 == child.wait(PATIENCE_SECONDS)


def test_other_signals_are_harmless() -> None:
    """A hang-up, of which a service without a terminal has nothing to learn, a broken pipe, a stray one: it serves on,
    and ends by SIGTERM with 0."""
    with process("serve", **NOBODY, **ANY_PORT) as child:
        _, admin, _ = listening(child)
        for number in (
            signal.SIGHUP,
            signal.SIGPIPE,
            signal.SIGUSR1,
            signal.SIGUSR2,
            signal.SIGALRM,
            signal.SIGRTMIN + 3,
        ):
            child.send_signal(number)
        assert ask(f"{admin}/livez")[0] == 200
        child.send_signal(signal.SIGTERM)
        assert child.wait(PATIENCE_SECONDS) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_waits_for_kafka_ends_it(number: signal.Signals) -> None:
    """The broker takes the connection and says nothing; nobody is subscribed: at once, with 0."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(PATIENCE_SECONDS)
        broker = f"127.0.0.1:{silent.getsockname()[1]}"
        environ = {**NOBODY, **ANY_PORT, "TAILRACE_KAFKA_BOOTSTRAP_SERVERS": broker}
        with process("serve", **environ) as child, silent.accept()[0]:
            listening(child)
            child.send_signal(number)
            text = child.communicate(timeout=PATIENCE_SECONDS)[1]
            assert (child.returncode, "Traceback" in text) == (0, False)


def test_a_variable_that_does_nothing_is_a_warning() -> None:
    """It looks like a setting, and is none."""
    with process("serve", **NOBODY, **ANY_PORT, TAILRACE_ZEPHYR="1") as child:
        assert child.stderr is not None
        assert "TAILRACE_ZEPHYR is not a setting of tailrace: ignored" in child.stderr.readline()
        listening(child)
        child.send_signal(signal.SIGTERM)
        assert 0 == child.wait(PATIENCE_SECONDS)


def test_a_port_in_use_is_a_sentence_and_no_traceback() -> None:
    """As any other trouble with the configuration."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        bind = f"127.0.0.1:{taken.getsockname()[1]}"
        with process("serve", **{**NOBODY, **ANY_PORT, "TAILRACE_BIND": bind}) as child:
            text = child.communicate(timeout=PATIENCE_SECONDS)[1]
    assert (2, False, True) == (child.returncode, "Traceback" in text, f"error: cannot listen on {bind}" in text)


# dev ---------------------------------------------------------------------------------------------------------------


def test_dev_serves_the_page_and_tokens_for_it() -> None:
    """With a broker and a producer of its own; Ctrl-C ends all of it."""
    with process("dev", "--port", "0") as child:
        public, _, _ = listening(child)
        facts: dict[str, Any] = json.loads(ask(f"{public}/console/token")[1])
        assert (200, True) == (ask(public)[0], bool(facts["sessions"]))
        child.send_signal(signal.SIGINT)
        text = child.communicate(timeout=PATIENCE_SECONDS)[0]
    assert (0, True) == (child.returncode, f"Open {public}/ and watch" in text)


def test_a_broker_of_its_own_outlives_services() -> None:
    """`--broker-only` says how to begin one; Ctrl-C ends it."""
    with process("dev", "--broker-only") as broker:
        assert broker.stdout is not None
        bootstrap = next(line.split()[-1] for line in broker.stdout if "--kafka" in line)
        broker.send_signal(signal.SIGINT)
        assert bootstrap.startswith("127.0.0.1:")
        assert 0 == broker.wait(PATIENCE_SECONDS)


def test_dev_reads_from_a_broker_elsewhere() -> None:
    """The one that `--broker-only` holds; the service can be killed and started again meanwhile."""
    with EmbeddedBroker() as broker, process("dev", "--port", "0", "--kafka", broker.bootstrap) as child:
        _, admin, _ = listening(child)
        assert 200 == ask(f"{admin}/livez")[0]
        child.send_signal(signal.SIGTERM)
        assert 0 == child.wait(PATIENCE_SECONDS)
