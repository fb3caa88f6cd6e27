"""The contracts are valid documents, and what the code writes is what they describe."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import pytest
import yaml
from openapi_spec_validator import OpenAPIV31SpecValidator
from starlette.applications import Starlette

from builders import BODY, Block, FakeRecord, append, attached, make_reader, make_tail
from tailrace import control, health
from tailrace.encoding import FORMATS, Format, Framing
from tailrace.errors import ComeBack, GoingAway
from tailrace.event import Decoder
from tailrace.position import NO_TOPIC, Position
from tailrace.wire import texts_of_frames

FOLDER = Path(__file__).parents[2] / "openapi"
ASYNCAPI = yaml.safe_load((FOLDER / "asyncapi.yaml").read_text())
OPENAPI = yaml.safe_load((FOLDER / "openapi.yaml").read_text())
FRAMES = FORMATS[Framing.FRAMES]
HERE = Position(("9f3a2c1d", NO_TOPIC), ((7, 0), ()))

SAID: dict[str, dict[str, Any]] = {
    control.READY: {
        "id": HERE,
        "session": "chat/ada",
        "resumed": False,
        "encoding": "text",
        "continuity": "complete",
        "heartbeat_seconds": 15.0,
        "expires_in_seconds": 900,
    },
    control.LIVE: {"id": HERE, "replayed": 0},
    control.RESET: {"id": HERE, "reason": "bounded", "requested": ""},
    control.SKIPPED: {"id": HERE, "reason": "too_large", "topic": "t", "partition": 0, "offset": 6},
    control.POSITION: {"id": HERE},
    control.END: {"id": HERE.text(ended=True)},
    control.REFRESH: {"expires_in_seconds": 30},
    control.DISCONNECT: {"id": HERE, "code": 1001, "reason": "x", "reconnect": True, "retry_after_ms": 1},
}


def check(schema: str, value: object) -> None:
    """Raise unless ``value`` is what asyncapi.yaml describes under ``schema``."""
    document = {**ASYNCAPI, "$ref": f"#/components/schemas/{schema}"}
    jsonschema.Draft7Validator(document).validate(value)


def frames_of(data: bytes) -> list[dict[str, Any]]:
    """Read text frames as a client would."""
    return [json.loads(text) for text in texts_of_frames(data)]


def test_openapi_is_valid() -> None:
    """openapi.yaml is a valid OpenAPI 3.1 document, its schemas, defaults and references included."""
    assert list(OpenAPIV31SpecValidator(OPENAPI).iter_errors()) == []


@pytest.mark.parametrize("name", ASYNCAPI["components"]["schemas"])
def test_schemas_are_valid(name: str) -> None:
    """Every schema of asyncapi.yaml is a valid JSON Schema, draft 7."""
    jsonschema.Draft7Validator.check_schema(ASYNCAPI["components"]["schemas"][name])


@pytest.mark.parametrize("name", ASYNCAPI["components"]["messages"])
def test_examples_follow_their_schemas(name: str) -> None:
    """Every example in asyncapi.yaml is what the schema beside it describes."""
    message = ASYNCAPI["components"]["messages"][name]
    for example in message["examples"]:
        check(message["payload"]["$ref"].rpartition("/")[2], example["payload"])


def test_there_is_an_example_of_everything() -> None:
    """What the tests below say is all that the service can say."""
    assert set(SAID) == set(control.TABLE)


@pytest.mark.parametrize("name", SAID)
def test_control_events_as_written(name: str) -> None:
    """A control event as the code writes it, over either transport, is what the contract describes."""
    (block,) = Block.all(control.write(BODY, name, **SAID[name]).decode())
    (frame,) = frames_of(control.write(FRAMES, name, **SAID[name]))
    assert (block.event, frame.pop("control"), json.loads(block.data)) == (name, name, frame)
    check(name, frame)


@pytest.mark.parametrize("id_", [None, HERE])
def test_disconnect_as_written(id_: Position | None) -> None:
    """A farewell, and a refusal that may be tried again, are what the contract describes, with an id and without."""
    for why in (GoingAway(), ComeBack("not ready")):
        check(control.DISCONNECT, frames_of(control.disconnect(FRAMES, why, id_, 1000))[0])


@pytest.mark.parametrize(
    "record",
    [
        FakeRecord(0),
        FakeRecord(0, value=b"", headers=[("event", b"tool")]),
        FakeRecord(0, value='\r\n "\u2028'.encode(), headers=[("event", b"error")]),
    ],
)
def test_records_as_written(record: FakeRecord) -> None:
    """A record as the code writes it for a WebSocket is what the contract describes."""
    (event,) = append(make_tail(), record)
    check("record", frames_of(FRAMES.event(event, event.id))[0])


@pytest.mark.parametrize("format_", [BODY, FRAMES], ids=["sse", "websocket"])
@pytest.mark.parametrize(
    "session_header, record",
    [
        (None, FakeRecord(0, value=b"\xff")),
        (None, FakeRecord(0, value=b"too large")),
        (None, FakeRecord(0, headers=[("event", b"two\nlines")])),
        ("to", FakeRecord(0, value=None, headers=[("to", b"s")])),
    ],
)
def test_skipped_records_as_written(format_: Format, session_header: str | None, record: FakeRecord) -> None:
    """Every reason for which a record is not delivered is in the contract."""
    decoder = Decoder(session_header=session_header, encoding="text", max_event_bytes=5)
    event = decoder.decode(record, make_tail().arrival(0, 0))
    data = format_.event(event, event.id)
    fields = frames_of(data)[0] if format_ is FRAMES else json.loads(Block.all(data.decode())[0].data)
    check(control.SKIPPED, {name: value for name, value in fields.items() if name != "control"})


def test_ids_as_written() -> None:
    """Every id that a reader catching up is given is one that the contract describes."""
    tail = make_tail(partitions=2)
    append(tail, FakeRecord(0), FakeRecord(1), partition=1)
    reader = make_reader(tail, [[0, 0]])
    wire = attached(reader)
    reader.flush()
    ids = [block.id for block in Block.all(wire.text)]
    assert len(ids) == 3
    for id_ in ids:
        check("id", id_)
        jsonschema.validate(id_, OPENAPI["components"]["schemas"]["EventIdOrEmpty"])


@pytest.mark.parametrize(
    "waiting, degraded, draining, status",
    [([], [], False, 200), ([], ["a trouble"], False, 200), (["a wait"], [], False, 503), ([], [], True, 503)],
)
async def test_readiness_as_written(waiting: list[str], degraded: list[str], draining: bool, status: int) -> None:
    """Each state of the service has its status, and a body that the contract describes."""
    routes = health.routes(waiting=lambda: waiting, degraded=lambda: degraded, draining=lambda: draining)
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(Starlette(routes=routes)), base_url="http://health"
    ) as client:
        answer = await client.get("/readyz")
    described = OPENAPI["paths"]["/readyz"]["get"]["responses"][str(status)]["content"]["application/json"]["schema"]
    jsonschema.Draft202012Validator({**OPENAPI, **described}).validate(answer.json())
    assert answer.status_code == status
