"""The layers, proved by the imports that are written."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpt_agent_sync

ROOT = Path(gpt_agent_sync.__file__).parent

PURE = [
    "decisions/__init__.py",
    "decisions/closing.py",
    "decisions/failures.py",
    "decisions/outputs.py",
    "decisions/rate_limits.py",
    "decisions/runs.py",
    "decisions/verbs.py",
    "content.py",
    "errors.py",
    "events.py",
    "metadata.py",
    "records.py",
    "settings.py",
    "state.py",
]
IMPURE_LIBRARIES = {"threading", "requests", "time", "random", "logging", "queue", "concurrent"}

ALL = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))
SERVER = [name for name in ALL if name.startswith("server/")]
AGENT_SIDE = [name for name in ALL if not name.startswith(("server/", "cli/"))]


def imports(name: str) -> Iterator[str]:
    """Give the modules that a module imports when it runs, wherever that is written in it."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def modules(names: list[str]) -> set[str]:
    """Give the dotted names of files."""
    return {
        "gpt_agent_sync." + name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for name in names
    }


def test_every_decision_is_in_the_pure_layer() -> None:
    """No module of the decisions is left out of the proof."""
    assert {name for name in ALL if name.startswith("decisions/")} <= set(PURE)


@pytest.mark.parametrize("name", PURE)
def test_pure_layer_imports_nothing_impure(name: str) -> None:
    """The pure layer knows no threads, clocks, random numbers, logs or requests."""
    assert {module.partition(".")[0] for module in imports(name)} & IMPURE_LIBRARIES == set()


@pytest.mark.parametrize("name", PURE)
def test_pure_layer_imports_the_pure_layer_only(name: str) -> None:
    """What the pure layer takes from this package is pure too."""
    files = modules(ALL)
    own = {module for module in imports(name) if module in files}
    assert own <= modules(PURE)


@pytest.mark.parametrize("name", AGENT_SIDE)
def test_requests_is_imported_in_one_place(name: str) -> None:
    """Only the transport imports the HTTP library."""
    libraries = {module.partition(".")[0] for module in imports(name)} & {"requests", "urllib3"}
    assert libraries == set() or name == "services/http.py"


@pytest.mark.parametrize("name", SERVER)
def test_server_knows_nothing_of_agents(name: str) -> None:
    """The embedded server imports nothing of this package but itself."""
    own = {module for module in imports(name) if module.startswith("gpt_agent_sync")}
    assert {module for module in own if not module.startswith("gpt_agent_sync.server")} == set()


@pytest.mark.parametrize("name", [name for name in AGENT_SIDE if name != "services/local.py"])
def test_server_is_known_to_the_local_service_only(name: str) -> None:
    """Nothing but the local service reaches for the server."""
    own = {module for module in imports(name) if module.startswith("gpt_agent_sync.server")}
    assert own == set()


@pytest.mark.parametrize("name", ALL)
def test_nothing_sleeps(name: str) -> None:
    """Waits are bounded waits on something that can happen."""
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    called = [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)]
    assert [call for call in called if call.rpartition(".")[2] == "sleep"] == []


@pytest.mark.parametrize("name", ALL)
def test_modules_say_what_they_are(name: str) -> None:
    """Every module has a docstring."""
    assert ast.get_docstring(ast.parse((ROOT / name).read_text(encoding="utf-8")))
