"""The README's examples and commands."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.settings import SETTING_NAMES
from tests.support.free_ports import free_port

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
MOVING = (ROOT / "docs" / "moving_to_responses.md").read_text(encoding="utf-8")
WEB = (ROOT / "docs" / "web.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", README + MOVING + WEB, re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)\n```", README, re.DOTALL)
OUTPUT = re.findall(r"```text\n(.*?)```", README, re.DOTALL)


def run(code: str, tmp_path: Path) -> subprocess.CompletedProcess[str]:
    """Run an example as a program."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
    )


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_examples_run(number: int, tmp_path: Path) -> None:
    """Every Python example of README and docs runs as it stands, and prints no error."""
    done = run(EXAMPLES[number], tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_first_example_prints_what_is_said(tmp_path: Path) -> None:
    """The first example prints what the README says."""
    assert run(EXAMPLES[0], tmp_path).stdout == OUTPUT[0]


def test_client_of_the_server_runs(tmp_path: Path) -> None:
    """The client's example runs at the server that its command starts, on another port."""
    (command,) = re.findall(r"```bash\n(.*?)\n```", README, re.DOTALL)
    (code,) = re.findall(r"```py\n(.*?)```", README, re.DOTALL)
    port = str(free_port())
    arguments = shlex.split(command.replace("8000", port))[1:]
    with subprocess.Popen(
        [sys.executable, "-m", "gpt_agent_sync", *arguments],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path)},
    ) as server:
        assert server.stderr is not None
        assert "listens on" in server.stderr.readline()
        done = run(code.replace("8000", port), tmp_path)
        server.terminate()
        server.stderr.read()
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        done.stdout.splitlines()[0] == "This is the offline demo model. You said: My name is Ada."
    )


def test_commands_are_two() -> None:
    """The first command talks, the second tests."""
    talk, test = COMMANDS
    assert "gpt-agent chat" in talk
    assert test.endswith("-m pytest -n auto")


def test_continuous_integration_runs_the_test_command() -> None:
    """What CI runs is the README's test command, word for word."""
    assert COMMANDS[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


def test_first_command_shows_a_tool_call(tmp_path: Path) -> None:
    """The command at the end of the first line shows a message, a tool call and a reply."""
    command = shlex.split(COMMANDS[0].partition("gpt-agent ")[2])
    question = command[-1]
    done = subprocess.run(
        [sys.executable, "-m", "gpt_agent_sync", *command],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "XDG_DATA_HOME": str(tmp_path), "OPENAI_API_KEY": "not used"},
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert question in done.stdout
    assert 'calculate(expression="2 * (3 + 4)")' in done.stdout
    assert "calculate gave 14" in done.stdout


@pytest.mark.parametrize("name", [name for name in SETTING_NAMES if name != "service"])
def test_settings_are_reported_with_their_defaults(name: str) -> None:
    """The table of settings names each, and its default."""
    row = next(line for line in README.splitlines() if line.startswith("|") and f"`{name}`" in line)
    assert str(getattr(gpt.Settings(), name)) in row


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`gpt\.(\w+)", README))))
def test_names_are_real(name: str) -> None:
    """Names that the text mentions are there."""
    assert hasattr(gpt, name)
