"""Hostile requests, made up from openapi.yaml: each is answered, and as the contract says. The same ones every time."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.strategies import DataObject, data, sampled_from
from schemathesis import Case, GenerationMode
from schemathesis.schemas import APIOperation
from schemathesis.specs.openapi import checks
from starlette.types import ASGIApp

from idle_service import idle_service, token
from tailrace.app import admin_app, public_app

DOCUMENT = yaml.safe_load((Path(__file__).parents[2] / "openapi" / "openapi.yaml").read_text())
SERVICE = idle_service(draining=True)
"""It drains, so that a stream that would be admitted ends, after all that was asked for has been looked at."""
ADMIN = {"/livez", "/readyz", "/metrics"}

CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]
CREDENTIALS = [
    "",
    "Bearer",
    "Bearer a b",
    "Bearer ..",
    "Bearer \xe9",
    "Basic dTpw",
    "bearer a.b.c",
    *[f"Bearer {token()}"] * 4,
]
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)

bounded = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
"""A few seconds an operation."""


def operation(method: str, path: str) -> APIOperation[Any, Any, Any, Any]:
    """Give what the contract says of one operation, to be asked of the app of its listener."""
    app: ASGIApp = admin_app(SERVICE) if path in ADMIN else public_app(SERVICE)
    schema = schemathesis.openapi.from_dict(DOCUMENT)
    schema.app = app
    found: APIOperation[Any, Any, Any, Any] = schema[path][method]
    return found


def ask(case: Case[Any], credential: str) -> int:
    """Send a made-up request with a credential, check the answer against the contract, and give its status."""
    headers = {"Authorization": credential} if credential else {}
    answer = case.call_and_validate(base_url="http://testserver", headers=headers, checks=CHECKS)
    return answer.status_code


@pytest.mark.parametrize("mode", MODES, ids=lambda mode: mode.value)
@pytest.mark.parametrize(
    "method, path",
    [
        ("GET", "/v1/sessions/{session}/events"),
        ("POST", "/v1/cookie"),
        ("DELETE", "/v1/cookie"),
        ("GET", "/openapi.yaml"),
        ("GET", "/livez"),
        ("GET", "/readyz"),
        ("GET", "/metrics"),
    ],
)
def test_every_answer_is_in_the_contract(method: str, path: str, mode: GenerationMode) -> None:
    """Whatever is asked, with whatever credential, the answer's status, headers and body are in the contract."""
    asked = operation(method, path)
    if mode is GenerationMode.NEGATIVE and not asked.query and not asked.headers:
        return  # nothing there that could be wrong

    @bounded
    @given(data())
    def run(drawn: DataObject) -> None:
        ask(drawn.draw(asked.as_strategy(generation_mode=mode)), drawn.draw(sampled_from(CREDENTIALS)))

    run()


def test_the_requests_are_of_all_kinds() -> None:
    """Some made-up requests would be admitted, some are malformed, some have no token that is any good."""
    asked = operation("GET", "/v1/sessions/{session}/events")
    seen: Counter[int] = Counter()

    @bounded
    @given(data())
    def run(drawn: DataObject) -> None:
        case = drawn.draw(asked.as_strategy(generation_mode=drawn.draw(sampled_from(MODES))))
        seen[ask(case, drawn.draw(sampled_from(CREDENTIALS)))] += 1

    run()
    assert set(seen) >= {200, 400, 401}
