"""The commands: serve, dev, token, check, position.

Reads the settings once and hands them to `app`; owns nothing that lives longer than a command. Every error of the
configuration is told at once, on stderr, and ends with status 2.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer
from starlette.types import ASGIApp

from tailrace import __version__, check, config, dev, issuing, log, server
from tailrace.app import admin_app, public_app
from tailrace.auth import MAX_NUMERIC_DATE
from tailrace.config import Settings
from tailrace.console import routes as console
from tailrace.consumer import IDLE_WAIT_MS
from tailrace.errors import BadRequest, ConfigurationError
from tailrace.position import NO_TOPIC, parse
from tailrace.server import EXIT_SECONDS, SPARE_SOCKETS, STALL_SECONDS, Patience, Server, Site
from tailrace.service import Service, running

logger = logging.getLogger(__name__)

USAGE_ERROR = 2
DEV_SECRET = "tailrace dev: for this machine's loopback only"  # noqa: S105
"""Known to everyone, and good for nothing: `dev` binds to loopback, and its console gives tokens to all who ask.
Always the same, so that a page's cookie outlives a restart; `config` refuses it to a service."""

main = typer.Typer(
    name="tailrace",
    help="Fans Kafka sessions out to browsers over SSE and WebSocket, and resumes them exactly from Kafka offsets.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings; without it, ./tailrace.toml where there is one."),
]


def _show_version(value: bool) -> None:
    if value:
        typer.echo(f"tailrace {__version__}")
        raise typer.Exit


@main.callback()
def _tailrace(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Hold what all commands share."""


@main.command()
def serve(config_file: ConfigFile = None) -> None:
    """Run the service, with TAILRACE_* variables and the settings file."""
    with _configuration_errors():
        settings = config.load(os.environ, config_file)
        log.configure(settings.log_level, settings.log_format)
        for warning in config.warnings(settings, os.environ, config_file):
            logger.warning(warning)
        server.run(lambda: _serve(settings, _announce))


@main.command(name="dev")
def dev_(
    port: Annotated[int, typer.Option(help="Port of the page; the admin listener takes the next one. 0: any.")] = 8080,
    kafka: Annotated[
        str | None,
        typer.Option(metavar="HOST:PORT", help="Read from the broker that --broker-only started."),
    ] = None,
    broker_only: Annotated[
        bool,
        typer.Option("--broker-only", help="Run only broker and producer, to outlive services."),
    ] = False,
) -> None:
    """Run the service with an embedded broker, a demo producer and the live page."""
    with _configuration_errors():
        if broker_only:
            dev.hold(dev.TOPIC, dev.PARTITIONS, _announce_broker)
        else:
            server.run(lambda: _dev(port, kafka))


@main.command()
def token(
    session: Annotated[list[str], typer.Option(help="Session that may be read, or its beginning and '*'; repeatable.")],
    ttl: Annotated[int, typer.Option(min=1, max=MAX_NUMERIC_DATE, help="Seconds until it runs out.")] = 3600,
    subject: Annotated[str, typer.Option(help="Who it is for.")] = "cli",
    config_file: ConfigFile = None,
) -> None:
    """Print a JWT signed with TAILRACE_JWT_SECRET; only one that the service would take."""
    with _configuration_errors():
        settings = config.load({"TAILRACE_KAFKA_TOPICS": "any", **os.environ}, config_file)
        made = issuing.issued(settings, session, subject, ttl)
    for warning in issuing.doubts(session, ttl):
        typer.echo(f"warning: {warning}", err=True)
    typer.echo(made)


@main.command(name="check")
def check_(config_file: ConfigFile = None) -> None:
    """Validate the settings, reach the brokers and the topics, and say in plain words what is wrong."""
    with _configuration_errors():
        settings = config.load(os.environ, config_file)
        log.configure("error", settings.log_format)
        warnings = config.warnings(settings, os.environ, config_file)
        findings = [*(check.Finding(check.WARNING, each) for each in warnings), *asyncio.run(check.findings(settings))]
    for finding in findings:
        typer.echo(f"{finding.level:<8}{finding.text}")
    if any(finding.level == check.ERROR for finding in findings):
        raise typer.Exit(1)


@main.command()
def position(id_: Annotated[str, typer.Argument(metavar="ID", help="An event id, as a client received it.")]) -> None:
    """Explain an event id."""
    try:
        parsed = parse(id_)
    except BadRequest as error:
        typer.echo(f"error: {error.detail}", err=True)
        raise typer.Exit(USAGE_ERROR) from None
    for number, (epoch, offsets) in enumerate(parsed.groups):
        name = f"topic {number + 1} of {len(parsed.groups)}, in the order of names"
        typer.echo(f"{name}: it did not exist yet" if epoch == NO_TOPIC else f"{name}: epoch {epoch}")
        for partition, offset in enumerate(offsets):
            own = f"   <- the event: offset {offset - 1}" if parsed.mark == (number, partition) else ""
            typer.echo(f"  partition {partition}: next offset {offset}{own}")
    if parsed.ended:
        typer.echo("the session had ended here")


async def _serve(
    settings: Settings,
    announce: Callable[[str, Sequence[tuple[str, int]]], None],
    app_of: Callable[[Service], ASGIApp] = public_app,
    idle_wait_ms: int = IDLE_WAIT_MS,
) -> None:
    async with running(settings, idle_wait_ms=idle_wait_ms) as service:
        public = Site(
            app_of(service),
            settings.bind.host,
            settings.bind.port,
            settings.tls_cert_file,
            settings.tls_key_file,
            max_sockets=settings.max_connections + SPARE_SOCKETS,
            hsts_seconds=settings.hsts_seconds,
        )
        admin = Site(admin_app(service), settings.admin_bind.host, settings.admin_bind.port)
        scheme = "http" if settings.tls_cert_file is None else "https"
        stall_seconds = max(STALL_SECONDS, 2 * settings.send_timeout_seconds)  # a subscription cuts its client itself
        here = Server(
            [public, admin],
            drain=service.drain,
            patience=Patience(stall_seconds=stall_seconds),
            on_limit=service.metrics.count_limit,
            admission_share=settings.admission_share,
        )
        await here.run(started=lambda places: announce(scheme, places))
        server.leave_within(EXIT_SECONDS)


async def _dev(port: int, kafka: str | None) -> None:
    if kafka is not None:
        await _serve_demo(port, kafka)
        return
    async with dev.demo() as demo:
        await _serve_demo(port, demo.bootstrap)


async def _serve_demo(port: int, bootstrap: str) -> None:
    settings = config.load(
        {
            **dev.environment(bootstrap),
            "TAILRACE_BIND": f"127.0.0.1:{port}",
            "TAILRACE_ADMIN_BIND": f"127.0.0.1:{port + 1 if port else 0}",
            "TAILRACE_JWT_SECRET": DEV_SECRET,
            "TAILRACE_COOKIE_SECURE": "false",  # plain HTTP on loopback, in whatever browser there is
            "TAILRACE_DRAIN_SECONDS": "0.2",
        },
        Path(os.devnull),
        demo=True,
    )
    log.configure("info", "auto")
    more = console.routes(sessions=dev.SESSIONS, secret=DEV_SECRET, audience=settings.jwt_audience)
    await _serve(
        settings, _announce_page, lambda service: public_app(service, more, loopback_only=True), dev.MAX_WAIT_MS
    )


def _announce(scheme: str, places: Sequence[tuple[str, int]]) -> None:
    (host, port), (admin_host, admin_port) = places
    logger.info("listening on %s://%s:%d, health on http://%s:%d", scheme, host, port, admin_host, admin_port)


def _announce_page(scheme: str, places: Sequence[tuple[str, int]]) -> None:
    _announce(scheme, places)
    typer.echo("\n  Open {}://{}:{}/ and watch tokens stream. Ctrl-C stops it.\n".format(scheme, *places[0]))


def _announce_broker(bootstrap: str) -> None:
    typer.echo(f"\n  The demo's broker is up. In another terminal:\n\n      tailrace dev --kafka {bootstrap}\n")


@contextmanager
def _configuration_errors() -> Iterator[None]:
    """Tell every trouble with the configuration, and leave with status 2; leave quietly on Ctrl-C."""
    try:
        try:
            yield
        except* ConfigurationError as group:
            problems = [problem for error in _leaves(group) for problem in error.problems]
            for problem in problems:
                typer.echo(f"error: {problem}", err=True)
            sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        sys.exit(130)


def _leaves(group: BaseExceptionGroup[ConfigurationError]) -> Iterator[ConfigurationError]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error
