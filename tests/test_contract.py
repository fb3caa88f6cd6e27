"""The contracts and the papers say what the code does: routes, events, close codes, settings, commands, versions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from starlette.routing import BaseRoute, Route, WebSocketRoute

from idle_service import idle_service, token
from tailrace import __version__, cli, config, control, hosts, websocket
from tailrace.app import admin_app, public_app
from tailrace.auth import BEARER_SUBPROTOCOL, credential
from tailrace.errors import ComeBack, Farewell, Refused, TokenTimeout
from tailrace.position import MAX_ID_BYTES
from tailrace.resume import From
from tailrace.server.settings import FRAMES_AT_ONCE, FRAMES_PER_SECOND, MAX_MESSAGE_BYTES
from tailrace.session import MAX_SESSION_CHARACTERS
from tailrace.subscription.pulse import MAX_UNANSWERED_PINGS

ROOT = Path(__file__).parents[1]
PAPERS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "openapi/README.md", "deploy/README.md")
README = (ROOT / "README.md").read_text()
OPENAPI = yaml.safe_load((ROOT / "openapi" / "openapi.yaml").read_text())
ASYNCAPI = yaml.safe_load((ROOT / "openapi" / "asyncapi.yaml").read_text())
PARAMETERS = OPENAPI["components"]["parameters"]
SCHEMAS = ASYNCAPI["components"]["schemas"]


def operations() -> Iterator[tuple[str, str]]:
    """Give (method, path) of everything in openapi.yaml."""
    for path, item in OPENAPI["paths"].items():
        yield from ((method.upper(), path) for method in item if method in {"get", "post", "delete"})


def routed(routes: Sequence[BaseRoute]) -> Iterator[tuple[str, str]]:
    """Give (method, path) of everything that is routed, as OpenAPI writes it; HEAD goes with GET."""
    for route in routes:
        assert isinstance(route, Route | WebSocketRoute)
        methods = route.methods or () if isinstance(route, Route) else {"GET"}
        yield from ((method, re.sub(r":\w+}", "}", route.path)) for method in set(methods) - {"HEAD"})


def kinds(base: type[Any]) -> Iterator[type[Any]]:
    """Give all classes that are made from ``base`` in `errors`, itself left out."""
    for kind in base.__subclasses__():
        if kind.__module__ == "tailrace.errors":
            yield kind
            yield from kinds(kind)


def references(part: Any) -> Iterator[str]:
    """Give every ``$ref`` below ``part``."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        part = list(part.values())
    if isinstance(part, list):
        for each in part:
            yield from references(each)


def resolved(document: Any, reference: str) -> Any:
    """Follow a reference into the document itself; KeyError where it leads nowhere."""
    for step in reference.removeprefix("#/").split("/"):
        document = document[step]
    return document


# Routes and requests.


def test_every_route_is_in_the_contract_and_the_other_way_round() -> None:
    """What is routed, on both listeners, is exactly what openapi.yaml describes."""
    service = idle_service()
    routes = [*routed(public_app(service).routes), *routed(admin_app(service).routes)]
    assert set(operations()) == set(routes)  # the WebSocket's address answers plain requests, too


def test_health_is_described_on_the_admin_listener() -> None:
    """A path has the admin server exactly if the admin app routes it."""
    admin = {path for path, item in OPENAPI["paths"].items() if "servers" in item}
    assert {path for _, path in routed(admin_app(idle_service()).routes)} == admin


def test_bounds_of_parameters() -> None:
    """Longest session, longest id and the words of ``from`` are the code's."""
    session, from_ = OPENAPI["components"]["schemas"]["Session"], PARAMETERS["from"]["schema"]
    assert session["maxLength"] == MAX_SESSION_CHARACTERS
    id_ = OPENAPI["components"]["schemas"]["EventIdOrEmpty"]
    assert id_["maxLength"] == SCHEMAS["id"]["maxLength"] == MAX_ID_BYTES
    assert (from_["enum"], from_["default"]) == ([each.value for each in From], From.NOW.value)


def test_error_words() -> None:
    """The words that an error body may hold are those of the refusals that become one."""
    words = {kind.code for kind in kinds(Refused) if not issubclass(kind, ComeBack | TokenTimeout)}
    listed = OPENAPI["components"]["schemas"]["Error"]["properties"]["error"]["enum"]
    assert set(listed) == words | {"not_found", "method_not_allowed", hosts.CODE}


def test_error_statuses() -> None:
    """Each refusal that becomes a status has it in the contract of a stream."""
    statuses = {str(kind.status) for kind in kinds(Refused) if not issubclass(kind, ComeBack)}
    events, socket = (OPENAPI["paths"][f"/v1/sessions/{{session}}/{each}"]["get"] for each in ("events", "ws"))
    assert statuses <= {*events["responses"], *socket["responses"]}


def test_cookie_names() -> None:
    """The cookies in the contract have the names that the code looks for."""
    schemes = OPENAPI["components"]["securitySchemes"]
    assert schemes["cookie"]["name"] == ASYNCAPI["components"]["securitySchemes"]["cookie"]["name"]
    assert schemes["cookie"]["name"] == credential.SECURE_COOKIE
    assert schemes["plainCookie"]["name"] == credential.PLAIN_COOKIE


@pytest.mark.parametrize("name", ["openapi.yaml", "asyncapi.yaml"])
async def test_the_service_serves_its_contracts(name: str) -> None:
    """A client reads from the service the very file that the repository holds."""
    transport = httpx.ASGITransport(public_app(idle_service()))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get(f"/{name}")
    assert (answer.headers["content-type"], answer.content) == (
        "application/yaml",
        (ROOT / "openapi" / name).read_bytes(),
    )


async def test_come_back_is_a_stream_that_ends() -> None:
    """A service that drains answers an EventSource 200, with ``retry:`` and `tailrace.disconnect`, without an id."""
    transport = httpx.ASGITransport(public_app(idle_service(draining=True)))
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
        answer = await client.get("/v1/sessions/s/events", headers={"authorization": f"Bearer {token()}"})
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    assert re.fullmatch(r'retry: \d+\n\nevent: tailrace\.disconnect\ndata: \{"code":1001,.+\}\n\n', answer.text)


# Events.


@pytest.mark.parametrize("name", control.TABLE)
def test_control_events_carry_what_the_contract_says(name: str) -> None:
    """The fields of a control event are those of `control.TABLE`, in order, and all but a refusal's id are certain."""
    fields = control.TABLE[name]
    certain = tuple(field for field in fields if (name, field) != (control.DISCONNECT, "id"))
    assert (tuple(SCHEMAS[name]["properties"]), tuple(SCHEMAS[name]["required"])) == (fields, certain)


def test_no_other_control_events() -> None:
    """The contract names no control event that the service does not make."""
    assert {name for name in SCHEMAS if name.startswith("tailrace.")} == set(control.TABLE)


@pytest.mark.parametrize("channel, lacks", [("events", {control.POSITION}), ("websocket", set())])
def test_both_transports_carry_all_events(channel: str, lacks: set[str]) -> None:
    """Every control event goes over both transports, but `tailrace.position`, which is an id-only block over SSE."""
    messages = [resolved(ASYNCAPI, each["$ref"]) for each in ASYNCAPI["channels"][channel]["messages"].values()]
    assert {each["name"] for each in messages} - {"token", "record"} == set(control.TABLE) - lacks


def test_operations_list_all_messages_of_their_channel() -> None:
    """What a channel carries is sent by one operation, but for the token, which is received."""
    for name, channel in (("sendEvents", "events"), ("sendFrames", "websocket")):
        listed = [each["$ref"].rpartition("/")[2] for each in ASYNCAPI["operations"][name]["messages"]]
        assert sorted(listed) == sorted(set(ASYNCAPI["channels"][channel]["messages"]) - {"token"})


@pytest.mark.parametrize("document", [OPENAPI, ASYNCAPI], ids=["openapi", "asyncapi"])
def test_references_lead_somewhere(document: Any) -> None:
    """Every ``$ref`` points at a part of its own document."""
    assert all(resolved(document, reference) is not None for reference in references(document))


def test_asyncapi_has_the_parts_that_version_3_asks_for() -> None:
    """Version, title, addressed channels and operations with an action and a channel are there."""
    assert (ASYNCAPI["asyncapi"], ASYNCAPI["info"]["title"]) == ("3.0.0", "tailrace")
    assert [each["address"] for each in ASYNCAPI["channels"].values()] == [
        path for path in OPENAPI["paths"] if "{session}" in path
    ]
    assert {each["action"] for each in ASYNCAPI["operations"].values()} == {"send", "receive"}


def test_close_codes() -> None:
    """The table of close codes has a row for every refusal and farewell, and no other."""
    rows = {(each["error"], each["code"], each["reason"], each["reconnect"]) for each in _close_codes()}
    refusals = {(kind.__name__, kind.close_code, kind.code, kind.reconnect) for kind in kinds(Refused)}
    farewells = {(kind.__name__, kind.close_code, kind.reason, kind.reconnect) for kind in kinds(Farewell)}
    assert rows == refusals | farewells


def test_bounds_on_what_a_client_sends() -> None:
    """The numbers in the rows of 1008, 1009 and 4410 are the code's."""
    said = {each["error"]: each["when"] for each in _close_codes()}
    assert f"{FRAMES_AT_ONCE} frames at once, or {FRAMES_PER_SECOND:g} a second" in said["TooManyFrames"]
    assert f"{MAX_MESSAGE_BYTES // 1024} KiB" in said["MessageTooBig"]
    assert ("three pings" in said["NoPong"], MAX_UNANSWERED_PINGS) == (True, 3)


def test_close_codes_in_the_guide() -> None:
    """The guide's table has every close code that a client may see."""
    guide = (ROOT / "openapi" / "README.md").read_text()
    shown = {each["code"] for each in _close_codes() if not each["when"].startswith(("Reserved", "Never"))}
    assert {int(code) for code in re.findall(r"^\| (\d{4}) \|", guide, re.MULTILINE)} == shown


@pytest.mark.parametrize("title, lines", [("In three lines", 3), ("In fifteen", 15)])
def test_the_guide_can_count(title: str, lines: int) -> None:
    """A client takes as many lines as the guide's title says."""
    guide = (ROOT / "openapi" / "README.md").read_text()
    code = guide.partition(f"## {title}\n")[2].partition("```js\n")[2].partition("```")[0]
    assert code.count("\n") == lines


def test_subprotocols() -> None:
    """The subprotocols in the contract are those of the code."""
    listed = list(ASYNCAPI["channels"]["websocket"]["x-subprotocols"])
    assert listed == [websocket.SUBPROTOCOL, f"{BEARER_SUBPROTOCOL}<jwt>"]


def _close_codes() -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = ASYNCAPI["channels"]["websocket"]["x-close-codes"]
    return rows


# Papers.


def test_versions_agree() -> None:
    """Package, contracts and change log speak of the same version."""
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert {OPENAPI["info"]["version"], ASYNCAPI["info"]["version"], newest[1]} == {__version__}


def test_settings_in_the_readme() -> None:
    """The README's table of settings is the one that the settings themselves give."""
    assert config.markdown() in README


@pytest.mark.parametrize("paper", [*PAPERS, "deploy/Dockerfile", "deploy/compose.yaml", "openapi/openapi.yaml"])
def test_settings_that_are_spoken_of(paper: str) -> None:
    """Every variable that a document names is a setting."""
    named = set(re.findall(r"TAILRACE_[A-Z_]*[A-Z]", (ROOT / paper).read_text()))
    assert {name for name in named if f"| `{name}` |" not in config.markdown()} == set()


def test_commands_in_the_readme() -> None:
    """The README's table of commands has a row for every command, in the order of ``tailrace --help``."""
    commands = [each.name or each.callback.__name__ for each in cli.main.registered_commands if each.callback]
    assert re.findall(r"^\| `tailrace (\w+)", README, re.MULTILINE) == commands


@pytest.mark.parametrize("paper", PAPERS)
def test_links_between_papers_lead_somewhere(paper: str) -> None:
    """A relative link in a paper names a file or folder of the repository."""
    file = ROOT / paper
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", file.read_text())
    assert [link for link in links if not (file.parent / link).exists()] == []


def test_tests_in_the_threat_model_exist() -> None:
    """Each test that holds a row of SECURITY.md, as ``file::name``, is one."""
    named = re.findall(r"`([\w/]+\.py)::(\w+)`", (ROOT / "SECURITY.md").read_text())
    texts = {file: (ROOT / "tests" / file).read_text() for file, _ in named}
    assert [(file, name) for file, name in named if f"def {name}(" not in texts[file]] == []
    assert named
