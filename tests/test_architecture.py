"""The shape of the package: imports, libraries, sizes, docstrings, and a test file for everything.

All of it is read from the sources' syntax trees; nothing is imported.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PACKAGE = TESTS.parent / "service" / "tailrace"

MAX_MODULE_LINES = 300
MAX_FUNCTION_LINES = 50

LIBRARIES = {
    "aiokafka": {"kafka"},
    "confluent_kafka": {"dev"},
    "cramjam": {"kafka"},
    "cryptography": {"auth"},
    "h11": {"server"},
    "h2": {"server"},
    "hypercorn": {"server"},
    "jwt": {"auth"},
    "opentelemetry": {"tracing"},
    "orjson": {"encoding", "websocket"},
    "prometheus_client": {"metrics"},
    "pydantic": {"config"},
    "pydantic_core": {"config"},
    "pydantic_settings": {"config"},
    "sse_starlette": {"sse"},
    "starlette": {
        "admission",
        "app",
        "cli",
        "console",
        "first_message",
        "health",
        "hosts",
        "server",
        "sse",
        "websocket",
        "wire",
    },
    "typer": {"cli"},
    "uvloop": {"server"},
    "wsproto": {"server"},
}
"""Each third-party library, and the modules that may name it. Starlette's types are how all speak of ASGI."""

ACROSS = {
    *("architecture", "attack", "contract", "crowd", "crowd_clients", "drain", "gone", "hypercorn"),
    *("positions", "public", "slow", "soak", "torture"),
    *("hardening", "hardening_holders", "hardening_operator", "hardening_producers", "hardening_strangers"),
}
"""Test files about more than one module, or about what we stand on."""


@dataclass(frozen=True)
class Source:
    """One file, parsed."""

    path: Path
    tree: ast.Module

    @classmethod
    def read(cls, path: Path) -> Source:
        return cls(path, ast.parse(path.read_text(encoding="utf-8"), str(path)))

    @property
    def module(self) -> str:
        """The line of the table that it belongs to."""
        return self.path.relative_to(PACKAGE).parts[0].removesuffix(".py")

    def imports(self) -> Iterator[tuple[str, ...]]:
        """Give the dotted names of everything imported, wherever in the file that is done."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from (tuple(alias.name.split(".")) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{self.path}:{node.lineno}: a relative import"
                yield from (tuple(f"{node.module}.{alias.name}".split(".")) for alias in node.names)

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """Give every function, methods and inner ones included."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                yield node


ROOT = Source.read(PACKAGE / "__init__.py")
SOURCES = [Source.read(path) for path in sorted(PACKAGE.rglob("*.py")) if path != ROOT.path]
TEST_FILES = [Source.read(path) for path in sorted(TESTS.rglob("test_*.py"))]
BESIDE = [source for source in TEST_FILES if source.path.parent == TESTS]
"""Those that mirror the package; the directories below hold tests of the whole."""
TABLE = re.findall(r"^    (\w+)(/?) {2,}\S", ast.get_docstring(ROOT.tree, clean=False) or "", re.MULTILINE)
ORDER = [name for name, _ in TABLE]


def of_package(source: Source) -> str:
    """Name a source for a test's id."""
    return str(source.path.relative_to(PACKAGE))


def of_tests(source: Source) -> str:
    """Name a test file for a test's id."""
    return str(source.path.relative_to(TESTS))


every_source = pytest.mark.parametrize("source", SOURCES, ids=of_package)
every_test_file = pytest.mark.parametrize("source", TEST_FILES, ids=of_tests)


# The table.


def test_table_is_the_package() -> None:
    """Every module stands in the table of the package's docstring, once, packages with a slash; no other does."""
    found = {source.module: "/" if source.path.parent != PACKAGE else "" for source in SOURCES}
    assert (found, len(found)) == (dict(TABLE), len(TABLE))


@every_source
def test_imports_go_down(source: Source) -> None:
    """A module imports only from lines below its own; within a package files are free."""
    ours = {name[1] for name in source.imports() if name[0] == "tailrace" and name[1] in ORDER}
    above = {name for name in ours - {source.module} if ORDER.index(name) < ORDER.index(source.module)}
    assert above == set()


def test_package_imports_nothing() -> None:
    """Its first file is a table and a version."""
    assert list(ROOT.imports()) == []


def test_libraries_stay_where_they_belong() -> None:
    """Each third-party library is named where the list says, and nowhere else; nothing is listed in vain."""
    found = defaultdict(set)
    for source in SOURCES:
        for name, *_ in source.imports():
            if name != "tailrace" and name not in sys.stdlib_module_names:
                found[name].add(source.module)
    assert dict(found) == LIBRARIES


# Sizes and words.


@every_source
def test_module_is_short(source: Source) -> None:
    """One concept a file: at most `MAX_MODULE_LINES` lines."""
    assert len(source.path.read_text(encoding="utf-8").splitlines()) <= MAX_MODULE_LINES


@every_source
def test_functions_are_short(source: Source) -> None:
    """At most `MAX_FUNCTION_LINES` lines each."""
    lengths = {each.name: (each.end_lineno or 0) - each.lineno + 1 for each in source.functions()}
    assert {name: length for name, length in lengths.items() if length > MAX_FUNCTION_LINES} == {}


@every_source
def test_module_says_what_it_is(source: Source) -> None:
    """A docstring opens every file."""
    assert ast.get_docstring(source.tree)


@every_source
def test_public_functions_say_what_they_do(source: Source) -> None:
    """What other modules may call at the top of a file has a docstring."""
    top = [node for node in source.tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [each.name for each in top if each.name[0] != "_" and not ast.get_docstring(each)] == []


@every_source
def test_nothing_is_left_undone(source: Source) -> None:
    """No reminders, no stubs, and nothing hidden from the measure of coverage."""
    text = source.path.read_text(encoding="utf-8")
    assert re.findall(r"TODO|FIXME|XXX|raise NotImplementedError|pragma: no cover", text) == []


# Tests.


def files_about(name: str) -> list[str]:
    """Give the test files of one line of the table."""
    suffix = r"(_\w+)?" if (name, "/") in TABLE else ""
    return [of_tests(source) for source in BESIDE if re.fullmatch(rf"test_{name}{suffix}", source.path.stem)]


@pytest.mark.parametrize("name", ORDER)
def test_module_has_a_test_file(name: str) -> None:
    """``tests/test_<module>.py``; a package may have ``tests/test_<package>_<part>.py`` instead."""
    assert files_about(name) != []


def test_test_files_have_a_module() -> None:
    """A test file is about a module of its name, or stands in the short list of those about several."""
    at_home = {name for module in ORDER for name in files_about(module)}
    assert {of_tests(source) for source in BESIDE} - at_home <= {f"test_{name}.py" for name in ACROSS}


@every_test_file
def test_tests_state_their_rule(source: Source) -> None:
    """Each test has a docstring: the rule that it holds."""
    tests = [each for each in source.functions() if each.name.startswith("test_")]
    assert [each.name for each in tests if not ast.get_docstring(each)] == []


@every_test_file
def test_test_files_say_what_they_are_about(source: Source) -> None:
    """A docstring opens every test file."""
    assert ast.get_docstring(source.tree)
