"""These tests need the dependency group ``contract``; without it they are left out, and the report's head says so."""

from __future__ import annotations

from importlib.util import find_spec

NEEDED = ("jsonschema", "openapi_spec_validator", "schemathesis")
MISSING = [name for name in NEEDED if find_spec(name) is None]

collect_ignore_glob = ["test_*.py"] if MISSING else []


def pytest_report_header() -> str:
    """Say what is left out, and why."""
    return f"contract tests: left out, for want of {', '.join(MISSING)}" if MISSING else "contract tests: all there"
