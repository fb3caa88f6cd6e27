"""The service as its own process: started, stopped, killed and started again on the same ports, as an operator does.

Everything here blocks; a test whose clients must go on meanwhile calls it by `asyncio.to_thread`. What the process
says on stderr is kept, and told when it does not start or does not end as it should.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx

from certificates import Certificate, make_certificate
from tailrace.auth import issue

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SECRET = "a secret for tests, of no use to anybody"
READY_SECONDS = 60.0
END_SECONDS = 30.0
POLL_SECONDS = 0.02

COMMAND = (sys.executable, "-c", "from tailrace.start import main; main()")
"""What the console script ``tailrace`` does, wherever the package lies."""


class ServiceProcess:
    """``tailrace serve`` on free loopback ports. Settings by their keys; enter it to start, leave it to end it.

    With ``tls`` it speaks TLS with a certificate of its own. Attributes: ``host_port`` of the public listener, ``log``.
    """

    command: tuple[str, ...] = COMMAND
    arguments: tuple[str, ...] = ("serve",)

    def __init__(self, bootstrap: str, topics: str, *, tls: bool = False, **settings: object) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tailrace-service-"))
        self._process: subprocess.Popen[bytes] | None = None
        public, admin, self._reserved = neighbours()
        self.host_port = f"127.0.0.1:{public}"
        self.admin_url = f"http://127.0.0.1:{admin}"
        self.certificate: Certificate | None = make_certificate(self._folder) if tls else None
        self._environment = environment(
            kafka_bootstrap_servers=bootstrap,
            kafka_topics=topics,
            bind=self.host_port,
            admin_bind=self.admin_url.removeprefix("http://"),
            **{
                "jwt_secret": SECRET,
                "drain_seconds": 0.2,
                "heartbeat_seconds": 1,
                "max_connections_per_subject": 1000,
                **settings,
            },
        )
        if self.certificate is not None:
            self._environment["TAILRACE_TLS_CERT_FILE"] = str(self.certificate.cert_file)
            self._environment["TAILRACE_TLS_KEY_FILE"] = str(self.certificate.key_file)

    @classmethod
    def of_dev(cls, bootstrap: str) -> Self:
        """``tailrace dev`` over the broker that ``tailrace dev --broker-only`` runs elsewhere."""
        process = cls(bootstrap, "")
        process.arguments = ("dev", "--kafka", bootstrap, "--port", process.host_port.partition(":")[2])
        return process

    @property
    def url(self) -> str:
        """The public address, without a slash at its end."""
        return f"http{'s' if self.certificate else ''}://{self.host_port}"

    @property
    def pid(self) -> int:
        """The running process's id."""
        assert self._process is not None
        return self._process.pid

    @property
    def log(self) -> str:
        """All that the process has said on stderr, over its restarts."""
        return self._log.read_text() if self._log.exists() else ""

    def start(self, *, ready: bool = True) -> None:
        """Start the process, and wait until it is ready; without ``ready`` only until it listens."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.command, *self.arguments],
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        path = "/readyz" if ready else "/livez"
        self.wait_until(lambda: self.health(path) == 200)

    def stop(self) -> int:
        """SIGTERM; gives the exit code."""
        self.signal(signal.SIGTERM)
        return self.ended()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, and do not wait for what comes of it."""
        assert self._process is not None
        self._process.send_signal(number)

    def ended(self) -> int:
        """Wait for the process's end; gives the exit code."""
        assert self._process is not None
        try:
            return self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()
            raise RuntimeError(f"the service did not end:\n{self.log}") from None

    def kill(self) -> None:
        """SIGKILL: a crash."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def restart(self, *, crash: bool = False) -> None:
        """End the process, politely or not, and start it again on the same ports."""
        if crash:
            self.kill()
        else:
            self.stop()
        self.start()

    def close(self) -> None:
        """Leave nothing behind."""
        self.kill()
        self._reserved.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def health(self, path: str = "/readyz") -> int:
        """Ask the admin listener; 0 where nothing answers."""
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.admin_url}{path}", trust_env=False, verify=False).status_code  # TLS costs 20 ms
        return 0

    def answer(self) -> dict[str, Any]:
        """Ask how it is."""
        return dict(httpx.get(f"{self.admin_url}/readyz", trust_env=False).json())

    def status(self) -> str:
        """Ask how it is, in its own word."""
        return str(self.answer()["status"])

    def words(self) -> str:
        """Ask what it waits for, or what is wrong, in its sentences for an operator."""
        told = self.answer()
        return "\n".join([*told.get("waiting_for", []), *told.get("troubles", [])])

    def metric(self, name: str) -> float:
        """Scrape one number, a metric without labels."""
        lines = httpx.get(f"{self.admin_url}/metrics", trust_env=False).text.splitlines()
        return next(float(line.split()[-1]) for line in lines if line.startswith(f"{name} "))

    def wait_until(self, condition: Callable[[], bool]) -> None:
        """Poll until ``condition`` holds, or raise with the process's own words."""
        assert self._process is not None
        give_up = time.monotonic() + READY_SECONDS
        while not condition():
            if self._process.poll() is not None or time.monotonic() > give_up:
                words = f"it says {self.answer()}; " if self._process.poll() is None else ""
                raise RuntimeError(
                    f"the service did not get there ({words}exit code {self._process.poll()}):\n{self.log}"
                )
            time.sleep(POLL_SECONDS)

    def token(self, *sessions: str, subject: str = "tester", ttl_seconds: int = 600) -> str:
        """Give a JWT for these sessions, as the service's key signs it."""
        return token(*sessions, subject=subject, ttl_seconds=ttl_seconds)

    @property
    def _log(self) -> Path:
        return self._folder / "stderr.log"


def neighbours() -> tuple[int, int, socket.socket]:
    """Give two free ports side by side, as ``tailrace dev`` takes them; nobody else gets them before the socket closes.

    They lie below those that Linux gives to outgoing connections, so none takes them while the service restarts; the
    socket has an abstract name (unix(7)) that says so to other tests.
    """
    while True:
        port = random.randrange(20_000, 32_000, 2)
        reserved = socket.socket(socket.AF_UNIX)
        with contextlib.suppress(OSError):
            reserved.bind(f"\0tailrace-test-ports-{port}")
            if is_free(port) and is_free(port + 1):
                return port, port + 1, reserved
        reserved.close()


def is_free(port: int) -> bool:
    """Whether a listener may have the port."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(("127.0.0.1", port))
        return True
    return False


def token(
    *sessions: str, subject: str = "tester", ttl_seconds: int = 600, secret: str = SECRET, audience: str = "tailrace"
) -> str:
    """Give a JWT; negative ``ttl_seconds`` makes one that has expired."""
    return issue(
        secret,
        sessions=sessions,
        subject=subject,
        ttl_seconds=ttl_seconds,
        audience=audience,
        issuer=None,
        now=time.time(),
    )


def environment(**settings: object) -> dict[str, str]:
    """Give this process's environment with these settings, and no others, for the service."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("TAILRACE_")}
    return {**kept, **{f"TAILRACE_{key.upper()}": str(value) for key, value in settings.items()}}


def run(*arguments: str, **settings: object) -> subprocess.CompletedProcess[str]:
    """Run one of the other commands to its end."""
    folder = tempfile.gettempdir()  # not the checkout, which may hold a settings file
    command = [*COMMAND, *arguments]
    return subprocess.run(
        command, env=environment(**settings), cwd=folder, capture_output=True, text=True, timeout=60, check=False
    )


@contextlib.contextmanager
def unready(service: ServiceProcess) -> Iterator[ServiceProcess]:
    """Run a service that does not get ready, because Kafka is away."""
    try:
        service.start(ready=False)
        yield service
    finally:
        service.close()
