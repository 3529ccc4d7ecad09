"""The drawing of the house, held against the imports that are written."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import gpt_agent_sync

ROOT = Path(gpt_agent_sync.__file__).parent
CONTRACTS = ROOT.parent / ".importlinter"

ALL = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def test_imports_keep_the_contracts() -> None:
    """Every contract of the drawing holds, imports inside functions included."""
    # In a process of its own: the linter sets logging up, and so would silence other tests.
    command = "from importlinter.cli import lint_imports_command as lint; lint()"
    arguments = [sys.executable, "-c", command, "--config", str(CONTRACTS), "--no-cache"]
    result = subprocess.run(arguments, capture_output=True, text=True, cwd=ROOT.parent)
    assert result.returncode == 0, result.stdout + result.stderr


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
