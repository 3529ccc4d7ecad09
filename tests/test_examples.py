"""The examples do what they say: scripts as programs, the chats over real HTTP."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
import requests

import gpt_agent_sync as gpt
from gpt_agent_sync.settings import SETTING_VARIABLES
from tests.plugins.processes import ENVIRONMENT
from tests.support.hosts import Host
from tests.support.polling import wait_for
from tests.support.web_sites import read_events

EXAMPLES = Path(__file__).parent.parent / "examples"
PATIENCE = 20.0


def _run_script(name: str, data: Path) -> str:
    """Run a script by itself, warnings being errors, and give what it prints."""
    left_out = {*ENVIRONMENT, *SETTING_VARIABLES}
    environ = {name: value for name, value in os.environ.items() if name.upper() not in left_out}
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", str(EXAMPLES / name)],
        env={**environ, "XDG_DATA_HOME": str(data)},
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


# the plain script


@pytest.fixture(scope="module")
def plain_output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what ``plain_script.py`` prints."""
    return _run_script("plain_script.py", tmp_path_factory.mktemp("data"))


def test_plain_script_prints_a_reply_to_each_question(plain_output: str) -> None:
    """Each question is followed by the reply to it."""
    lines = [line.partition(" > ") for line in plain_output.splitlines()[:-1]]
    asked = [text for who, _, text in lines if who.strip() == "you"]
    replied = [text for who, _, text in lines if who.strip() == "assistant"]
    assert replied == [f"This is the offline demo model. You said: {text}" for text in asked]


def test_plain_script_prints_the_tokens(plain_output: str) -> None:
    """The last line counts the runs and their tokens."""
    assert plain_output.splitlines()[-1] == "3 runs, 79 tokens read, 41 tokens written"


# the tool handlers


@pytest.fixture(scope="module")
def tools_output(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return what ``tool_handlers.py`` prints."""
    return _run_script("tool_handlers.py", tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize(
    "line",
    [
        pytest.param("  price gives 10.50 EUR", id="enum"),
        pytest.param('  deliver gives {"courier": "Ada", "label": "Elm Street 5', id="dataclass"),
        pytest.param("  take_bags gives 10", id="method"),
        pytest.param("  where_am_i gives call call_", id="context"),
        pytest.param("  open_till fails: PermissionError: the till is locked", id="failing"),
        pytest.param('  ask_boss gives {"granted": true, "by": "the boss"}', id="no handler"),
    ],
)
def test_tool_handlers_answer(tools_output: str, line: str) -> None:
    """Each kind of tool gives its result."""
    assert f"\n{line}" in tools_output


def test_tool_failure_reaches_the_model(tools_output: str) -> None:
    """The run of a tool that fails goes on to a reply that tells of it."""
    assert "open_till failed (PermissionError: the till is locked)." in tools_output


# the chats


@pytest.fixture(params=["flask", "django"])
def chat(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Return the URL of a chat that is served by its one command, without anything else."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = str(probe.getsockname()[1])
    command = {
        "flask": ["-m", "flask", "--app", str(EXAMPLES / "flask_chat" / "app"), "run", "-p", port],
        "django": [str(EXAMPLES / "django_chat" / "manage.py"), "demo", port],
    }[request.param]
    if find_spec(request.param) is None:
        pytest.skip(f"not installed: {request.param}; the extra of this name has it")
    host = Host(command, tmp_path, {"GPT_AGENT_SERVICE": "local"})
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        with contextlib.suppress(requests.ConnectionError):
            return requests.get(url, timeout=PATIENCE).status_code == 200
        assert host.process.poll() is None, host.printed + host.log
        return False

    try:
        wait_for(answers, bool, timeout=2 * PATIENCE)
        yield url
    finally:
        host.clear_up()


def _fill(shown: str, **fields: str) -> dict[str, str]:
    """Return the fields of a form, with the token that is in it."""
    found = re.search(r'name="csrf(?:middleware)?_?token" value="([^"]+)"', shown)
    assert found is not None
    return {**fields, found[0].partition('"')[2].partition('"')[0]: found[1]}


def _sign_up(user: requests.Session, url: str, name: str) -> None:
    """Make an account."""
    shown = user.get(url, timeout=PATIENCE)
    if "password1" in shown.text or "sign_up" in shown.text:
        address = f"{url}/sign_up"
        shown = user.get(address, timeout=PATIENCE)
        fields = {"username": name, "password1": "secret-word", "password2": "secret-word"}
    else:
        address = f"{url}/account"
        fields = {"name": name, "password": "secret-word", "act": "sign up"}
    signed_up = user.post(address, _fill(shown.text, **fields), timeout=PATIENCE)
    assert "Your conversations" in signed_up.text


@pytest.fixture
def ada(chat: str) -> Iterator[requests.Session]:
    """Return a user who has signed up, with the token that the page of a conversation has."""
    with requests.Session() as user:
        _sign_up(user, chat, "ada")
        page = user.get(f"{chat}/chat/", timeout=PATIENCE).text
        user.headers["X-CSRFToken"] = page.partition('csrf-token="')[2].partition('"')[0]
        yield user


def test_chat_keeps_a_note(chat: str, ada: requests.Session) -> None:
    """A tool of the application is called, and its database has what it did."""
    thread_id = ada.post(f"{chat}/chat/threads", json={}, timeout=PATIENCE).json()["id"]
    threads = f"{chat}/chat/threads/{thread_id}"
    replies = []
    with ada.get(f"{threads}/events", stream=True, timeout=PATIENCE) as response:
        events = (sent.event for sent in read_events(response))
        for text in ("Please add note: buy milk", "list notes"):
            ada.post(f"{threads}/messages", json={"content": text}, timeout=PATIENCE)
            replies.append(
                next(each.content for each in events if isinstance(each, gpt.AssistantMessageAdded))
            )
    assert replies[0].endswith("add_note gave kept.")
    assert "buy milk" in replies[1]


def test_chat_is_its_users_alone(chat: str, ada: requests.Session) -> None:
    """Others see neither the conversation nor its page, and nobody does without an account."""
    thread_id = ada.post(f"{chat}/chat/threads", json={}, timeout=PATIENCE).json()["id"]
    paths = [f"/chat/threads/{thread_id}/messages", f"/chat/?thread={thread_id}"]
    with requests.Session() as eve:
        _sign_up(eve, chat, "eve")
        assert [eve.get(chat + path, timeout=PATIENCE).status_code for path in paths] == [403, 403]
    answer = requests.get(chat + paths[0], timeout=PATIENCE)
    assert answer.status_code in (401, 403)
    shown = requests.get(chat + paths[1], timeout=PATIENCE)
    assert thread_id not in shown.text
    assert "password" in shown.text
