"""Operators' slips, one test each: what somebody who wants to do harm could make of them, and that it comes to nothing.

Against the real server or the real command, as they are run; the single rules are in the tests beside the modules.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from certificates import make_certificate
from commands import ANY_PORT, listening, process
from framing import HANDSHAKE
from idle_service import idle_service, token
from serving import Serving, serving
from tailrace.app import admin_app, public_app
from tailrace.cli import DEV_SECRET

PATIENCE_SECONDS = 60.0
NOBODY = {"TAILRACE_KAFKA_TOPICS": "t", "TAILRACE_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1"}
GOOD = {"TAILRACE_JWT_SECRET": "a secret for tests that is long enough"}
FOREIGN = "evil.example"


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where there is no settings file of the developer's."""
    monkeypatch.chdir(tmp_path)


def said(*arguments: str, **environ: str) -> tuple[int, str]:
    """Run a command to its end; give its status and all that it said."""
    with process(*arguments, **environ) as child:
        output, errors = child.communicate(timeout=PATIENCE_SECONDS)
    return child.returncode, output + errors


def ask(url: str, *, host: str | None = None, method: str = "GET") -> httpx.Response:
    headers = {} if host is None else {"host": host, "origin": f"http://{host}"}
    return httpx.request(method, url, headers=headers, trust_env=False, timeout=PATIENCE_SECONDS)


@asynccontextmanager
async def whole() -> AsyncIterator[Serving]:
    """Serve both apps."""
    one = idle_service()
    async with serving(public_app(one), admin_app(one)) as here:
        yield here


async def test_a_proxy_that_passes_no_host_makes_no_weak_cookie() -> None:
    """Its own address in Host, over plain HTTP, is what it may well say: the cookie is Secure and bound to its host."""
    async with whole() as here, httpx.AsyncClient(trust_env=False) as client:
        for host in ("127.0.0.1:8080", "localhost", "live.example"):
            headers = {"authorization": f"Bearer {token()}", "host": host}
            made = await client.post(f"{here.url}/v1/cookie", headers=headers)
            assert made.headers["set-cookie"].startswith("__Host-tailrace=")
            assert made.headers["set-cookie"].endswith("; Secure")


@pytest.mark.parametrize("name", ["serve", "check", "token"])
@pytest.mark.parametrize("secret", [DEV_SECRET, "a" * 32, " " * 34, "changeme" * 4])
def test_a_secret_that_everybody_knows_starts_nothing(name: str, secret: str) -> None:
    """No command takes it; each says how to make a good one, and does not repeat it."""
    arguments = ["--session", "s"] if name == "token" else []
    status, text = said(name, *arguments, **NOBODY, TAILRACE_JWT_SECRET=secret)
    assert (status, "token_hex(32)" in text, secret in text) == (2, True, False)


def test_a_password_among_the_brokers_is_not_shown() -> None:
    """It is an error, which says where passwords go."""
    environ = {**NOBODY, **GOOD, "TAILRACE_KAFKA_BOOTSTRAP_SERVERS": "SASL_SSL://us:hunter2@kafka:9092"}
    status, text = said("check", **environ)
    assert (status, "TAILRACE_KAFKA_SASL_PASSWORD" in text, "hunter2" in text) == (2, True, False)


def test_files_that_others_can_read_are_told_at_the_start(tmp_path: Path) -> None:
    """A secret's, a key's and the settings file, each in a warning of its own; check says the same."""
    certificate = make_certificate(tmp_path)
    (secret := tmp_path / "secret").write_text(GOOD["TAILRACE_JWT_SECRET"])
    (settings := tmp_path / "tailrace.toml").write_text('kafka_sasl_password = "unused"')
    for file in (certificate.key_file, secret, settings):
        file.chmod(0o644)
    files = {"TAILRACE_TLS_CERT_FILE": certificate.cert_file, "TAILRACE_TLS_KEY_FILE": certificate.key_file}
    environ = {**NOBODY, **ANY_PORT, "TAILRACE_JWT_SECRET_FILE": str(secret)}
    environ |= {name: str(path) for name, path in files.items()}
    environ |= {"TAILRACE_KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "TAILRACE_KAFKA_SASL_MECHANISM": "PLAIN"}
    environ |= {"TAILRACE_KAFKA_SASL_USERNAME": "us"}
    with process("serve", **environ) as child:
        warned = [line for line in listening(child)[2] if "other users of this machine can read" in line]
    assert len(warned) == 3
    assert said("check", **environ)[1].count("other users of this machine can read") == 3


async def test_a_slash_too_many_leads_nowhere() -> None:
    """No redirect to plain HTTP, and to whatever host the request names."""
    async with whole() as here, httpx.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{here.url}/v1/cookie/", headers={"host": FOREIGN})
    assert (answer.status_code, answer.json()["error"], "location" in answer.headers) == (404, "not_found", False)


def test_a_page_whose_name_leads_to_dev_gets_no_token() -> None:
    """The browser takes it for the page's own server, and says so in Host; by loopback's names it answers."""
    with process("dev", "--port", "0") as child:
        public, admin, _ = listening(child)
        for path in ("/console/token", "/", "/v1/sessions/chat/ada/ws", "/openapi.yaml"):
            assert ask(public + path, host=f"{FOREIGN}:8080").status_code == 421
        assert ask(f"{admin}/metrics", host=FOREIGN).status_code == 421
        assert ask(f"{public}/console/token", host="localhost:8080").status_code == 200
        assert ask(f"{public}/console/token").headers["cache-control"] == "no-store"


async def test_a_page_whose_name_leads_to_dev_opens_no_websocket() -> None:
    """Its origin is the name that it asks for, so that nothing but the name tells."""
    named = f"Host: {FOREIGN}\r\nOrigin: http://{FOREIGN}".encode()
    handshake = HANDSHAKE.replace(b"/ws", b"/v1/sessions/s/ws", 1).replace(b"Host: here", named)
    async with serving(public_app(idle_service(), loopback_only=True)) as here:
        answer = await here.ask(handshake)
    assert (b"HTTP/1.1 421 " in answer, b'"misdirected"' in answer) == (True, True)


async def test_a_page_whose_name_leads_to_the_admin_listener_reads_nothing() -> None:
    """Probes and scrapes by an address, by localhost, or by HTTP/1.0 without a host are answered as before."""
    async with whole() as here, httpx.AsyncClient(trust_env=False) as client:
        url = f"http://127.0.0.1:{here.ports[1]}"
        known = ["10.244.1.7:9080", "[fd00::7]:9080", "localhost:9080"]
        answers = [await client.get(f"{url}/metrics", headers={"host": host}) for host in [*known, FOREIGN]]
        here.port = here.ports[1]
        bare = await here.ask(b"GET /livez HTTP/1.0\r\n\r\n")
    assert [answer.status_code for answer in answers] == [200, 200, 200, 421]
    assert ("TAILRACE_ADMIN_ALLOWED_HOSTS" in answers[-1].json()["detail"], b" 200 " in bare) == (True, True)


async def test_no_browser_guesses_what_an_answer_is() -> None:
    """Documents, errors and what the server itself refuses; what comes in clear text says nothing of TLS."""
    asked = {
        "GET /openapi.yaml": 200,
        "GET /none": 404,
        "GET /v1/sessions/s/events": 401,
        "CONNECT /": 400,
    }
    async with whole() as here:
        for line, status in asked.items():
            answer = await here.ask(f"{line} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            head = answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
            assert head[0].split()[1] == b"%d" % status
            assert b"x-content-type-options: nosniff" in head
            assert not any(each.startswith(b"strict-transport-security:") for each in head)


async def test_no_browser_guesses_over_http2() -> None:
    """The same there: an application's answer, and what the server refuses before there is one."""
    async with whole() as here, await here.h2() as client:
        asked = {"404": (), "431": [(f"x-{number}", "y" * 4000) for number in range(9)]}
        heads = [await client.request("GET", "/none", more).head() for more in asked.values()]
    assert [head[":status"] for head in heads] == list(asked)
    assert [head["x-content-type-options"] for head in heads] == ["nosniff"] * 2


def test_a_browser_that_was_here_comes_by_tls_alone(tmp_path: Path) -> None:
    """Where TLS ends here, every answer of the public listener says so, for this host only."""
    files = make_certificate(tmp_path)
    tls = {"TAILRACE_TLS_CERT_FILE": str(files.cert_file), "TAILRACE_TLS_KEY_FILE": str(files.key_file)}
    with process("serve", **NOBODY, **ANY_PORT, **GOOD, **tls) as child:
        public, admin, _ = listening(child)
        client = httpx.Client(verify=files.client_context("http/1.1"), trust_env=False)
        said_by = [client.get(url).headers.get("strict-transport-security") for url in (f"{public}/none", admin)]
        client.close()
    assert said_by == ["max-age=2592000", None]


@pytest.mark.parametrize("arguments", [["--session", ""], ["--session", "s", "--subject", "a\nb"]])
def test_a_token_that_opens_nothing_is_not_made(arguments: list[str]) -> None:
    """Whoever gets it would find out far from here."""
    status, text = said("token", *arguments, **GOOD)
    assert (status, text.startswith("error: ")) == (2, True)
