"""The drawing of the layers, compared with the imports of the package."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from click.testing import CliRunner
from importlinter.cli import lint_imports_command

import gpt_agent_sync

ROOT = Path(gpt_agent_sync.__file__).parent
CONTRACTS = ROOT.parent / ".importlinter"

ALL = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def test_imports_keep_the_contracts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every contract of the drawing holds, imports inside functions included."""
    # The command configures logging anew, which would silence the loggers that other tests watch.
    monkeypatch.setattr("logging.config.dictConfig", lambda config: None)
    result = CliRunner().invoke(lint_imports_command, ["--config", str(CONTRACTS), "--no-cache"])
    assert result.exit_code == 0, result.output


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
