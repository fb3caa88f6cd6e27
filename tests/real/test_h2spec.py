"""h2spec, the conformance test of HTTP/2 and HPACK, against our listener: in clear text and over TLS, strict rules too.

Its Go module is pinned in ``h2spec/``, sums included, and built here, so it needs Go. Where there is none the tests are
skipped, but never in CI.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

from certificates import make_certificate
from serving import OK, Receive, Send, serving

SOURCE = Path(__file__).parent / "h2spec"
COMMAND = "github.com/summerwind/h2spec/cmd/h2spec"
PATIENCE_SECONDS = 10
"""How long h2spec waits for each answer; those that we owe it come at once."""
CASES = 146
"""All that this version has; none is left out."""

FAILURES = {
    # In clear text HTTP/1.1 and HTTP/2 share a port, and whoever does not begin with the preface speaks HTTP/1.1. So
    # "INVALID CONNECTION PREFACE" is a bad request, answered 400 and the end of the connection, as HTTP/1.1 has it.
    # h2spec waits for the end, and trips over the answer, which is no frame.
    False: {"http2/3.5 Sends invalid connection preface"},
    # Over TLS ALPN has said that it is HTTP/2.
    True: set(),
}
"""What fails, by whether it is over TLS, and why that is right."""


@pytest.fixture(scope="module")
def h2spec(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the command."""
    go = shutil.which("go")
    if go is None:
        say = pytest.fail if "CI" in os.environ else pytest.skip
        say("no Go here, so HTTP/2 is not held to h2spec: apt-get install golang-go")
    path = tmp_path_factory.mktemp("h2spec") / "h2spec"
    built = subprocess.run(
        [go, "build", "-buildvcs=false", "-o", path, COMMAND], cwd=SOURCE, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    return path


async def answer(scope: Any, receive: Receive, send: Send) -> None:
    """Answer a request when it is whole, with enough of a body to shut a small window."""
    while (await receive()).get("more_body"):
        pass
    body = b"" if scope["method"] == "HEAD" else b"x" * 100
    await send({**OK, "headers": [(b"content-length", b"100")]})
    await send({"type": "http.response.body", "body": body})


def not_passed(report: ET.ElementTree[Any]) -> set[str]:
    """Give section and name of each case that failed, ended in an error or was left out."""
    return {f"{case.get('package')} {case.get('classname')}" for case in report.iter("testcase") if len(case)}


@pytest.mark.parametrize("secure", [False, True], ids=["clear", "TLS"])
async def test_h2spec(h2spec: Path, tmp_path: Path, secure: bool) -> None:
    """Every case passes, but for those of the table above."""
    report, certificate = tmp_path / "report.xml", make_certificate(tmp_path) if secure else None
    flags = ["--strict", "--timeout", str(PATIENCE_SECONDS), "--junit-report", str(report)]
    async with serving(answer, certificate=certificate) as here:
        flags += ["--port", str(here.port), *(["--tls", "--insecure"] if secure else [])]
        process = await asyncio.create_subprocess_exec(h2spec, *flags, stdout=asyncio.subprocess.PIPE)
        told, _ = await process.communicate()
    found = ET.parse(report)
    assert FAILURES[secure] == not_passed(found), told.decode()
    assert CASES == len(list(found.iter("testcase")))
