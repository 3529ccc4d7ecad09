"""The embedded server as a service."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.services import local as local_module
from tests.support.forks import forks, in_forked_child, in_unnoticed_child


def servers() -> list[str]:
    """Return the names of the running servers' threads."""
    return [thread.name for thread in threading.enumerate() if thread.name == "gpt-agent-server"]


def test_server_is_started_by_the_first_request() -> None:
    """Making the service starts nothing."""
    before = len(servers())
    service = gpt.LocalService(":memory:")
    assert len(servers()) == before
    gpt.create_thread(service=service)
    assert len(servers()) == before + 1
    service.close()
    assert len(servers()) == before


def test_base_url_is_one_of_this_machine(local: gpt.LocalService) -> None:
    """Other clients find the server by its base URL."""
    assert local.base_url.startswith("http://127.0.0.1:")
    assert local.base_url.endswith("/v1")
    assert local.api_key


def test_threads_outlive_the_service(tmp_path: Path) -> None:
    """What is in a file is there for the next service over it."""
    path = tmp_path / "deep" / "local.db"
    first = gpt.LocalService(path)
    thread_id = gpt.create_thread(service=first)
    first.close()
    second = gpt.LocalService(str(path))
    assert gpt.connect(thread_id, service=second).is_alive
    gpt.shutdown_all()
    second.close()


def test_memory_does_not_last(local: gpt.LocalService) -> None:
    """What is in memory is gone with the server, and the service starts another."""
    thread_id = gpt.create_thread(service=local)
    local.close()
    with pytest.raises(gpt.InvalidThreadIdError):
        gpt.connect(thread_id, service=local)


def test_same_file_is_the_same_service(tmp_path: Path) -> None:
    """Services over one file are equal, those in memory are not."""
    path = tmp_path / "local.db"
    assert gpt.LocalService(path) == gpt.LocalService(str(path))
    assert gpt.LocalService(":memory:") != gpt.LocalService(":memory:")


def test_usual_file_is_in_the_data_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a path the user's data directory has the file."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    assert gpt.LocalService().path.endswith("local.db")
    assert gpt.LocalService().path.startswith(str(tmp_path)) or sys.platform != "linux"


@pytest.mark.parametrize(
    "arguments",
    [
        {"path": " "},
        {"path": b"x"},
        {"path": 5},
        {"model": ""},
        {"upstream": "foo"},
        {"upstream": 5},
    ],
)
def test_unusable_arguments_are_refused(arguments: dict[str, Any]) -> None:
    """A blank path or model is refused."""
    with pytest.raises(gpt.ConfigurationError):
        gpt.LocalService(**arguments)


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without Flask the error says what to install."""
    monkeypatch.setattr(local_module, "find_spec", lambda name: None)
    with pytest.raises(gpt.ConfigurationError, match=r"gpt_agent_sync\[server\]"):
        gpt.LocalService(":memory:")


def test_unknown_model_is_refused_in_words(local: gpt.LocalService) -> None:
    """An assistant of a model that nobody serves is refused, and the model is named."""
    with pytest.raises(gpt.RequestRejectedError, match="'gpt-9'"):
        gpt.create_assistant(model="gpt-9", service=local)


def test_default_model_has_a_name(local: gpt.LocalService) -> None:
    """The model name ``default`` stands for the service's model."""
    assistant_id = gpt.create_assistant(model="default", service=local)
    agent = gpt.connect(gpt.create_thread(service=local), assistant_id, service=local)
    assert "offline demo model" in agent.ask("hello", timeout=10)


def test_requests_use_no_proxy(local: gpt.LocalService, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests to this machine go around the environment's proxy."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert gpt.create_thread(service=local)


def test_repr_shows_file_and_model(local: gpt.LocalService) -> None:
    """The repr tells one service from another."""
    assert repr(local) == "LocalService(path=':memory:', model='demo')"


TWO_PROCESSES = """
import sys
import gpt_agent_sync as gpt
service = gpt.LocalService(sys.argv[1])
assistant_id = gpt.create_assistant(model="demo", service=service)
with gpt.connect(gpt.create_thread(service=service), assistant_id, service=service) as agent:
    for number in range(5):
        print(agent.ask(f"number {number}", timeout=30))
"""


def test_two_processes_share_a_file(tmp_path: Path) -> None:
    """Processes over one file work at once and do not stand in each other's way."""
    command = [sys.executable, "-W", "error", "-c", TWO_PROCESSES, str(tmp_path / "local.db")]
    environment = {**os.environ, "COVERAGE_PROCESS_START": ""}
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        for _ in range(2)
    ]
    for process in running:
        output, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        assert output.count("You said: number") == 5


@pytest.mark.parametrize("kind", ["folder", "garbage", "file in the way"])
def test_unusable_database_is_told(tmp_path: Path, kind: str) -> None:
    """A database that cannot be opened is told with its path, and what to do."""
    path = tmp_path / "local.db"
    if kind == "folder":
        path.mkdir()
    elif kind == "garbage":
        path.write_bytes(b"this is no database" * 100)
    else:
        path.write_text("x")
        path = path / "below.db"
    service = gpt.LocalService(path)
    with pytest.raises(gpt.ConfigurationError, match="pass another path") as refused:
        gpt.create_thread(service=service)
    assert str(path) in str(refused.value)


def test_servers_started_at_once_are_one(tmp_path: Path) -> None:
    """Threads that use a service for the first time at once use one server."""
    service = gpt.LocalService(tmp_path / "local.db")
    ready = threading.Barrier(8)
    urls: list[str] = []

    def use() -> None:
        ready.wait(10)
        urls.append(service.base_url)

    threads = [threading.Thread(target=use) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(urls)) == 1
    service.close()


@forks
@pytest.mark.parametrize("in_child", [in_forked_child, in_unnoticed_child])
def test_what_a_child_writes_lasts(
    tmp_path: Path, in_child: Callable[[Callable[[], object]], bool]
) -> None:
    """A forked child keeps what it writes to the file, though the parent closes it meanwhile."""
    service = gpt.LocalService(tmp_path / "local.db")
    gpt.create_thread(service=service)
    (asked, ask), (told, tell) = os.pipe(), os.pipe()

    def close_when_asked() -> None:
        os.read(asked, 1)
        service.close()
        os.write(tell, b"x")

    closer = threading.Thread(target=close_when_asked)

    def write_before_and_after() -> bool:
        gpt.create_thread(service=service)
        os.write(ask, b"x")
        os.read(told, 1)
        thread_id = gpt.create_thread(service=service)
        with contextlib.closing(sqlite3.connect(tmp_path / "local.db")) as another:
            found = another.execute("SELECT id FROM threads").fetchall()
        return len(found) == 3 and (thread_id,) in found

    closer.start()
    assert in_child(write_before_and_after)
    closer.join()
    for end in (asked, ask, told, tell):
        os.close(end)


@forks
def test_child_of_a_transaction_opens_no_database(tmp_path: Path) -> None:
    """A child that was forked in the middle of a transaction says that it cannot use the file."""
    service = gpt.LocalService(tmp_path / "local.db")
    gpt.create_thread(service=service)
    server = service._server
    assert server is not None

    def is_refused() -> bool:
        with pytest.raises(gpt.ConfigurationError, match="in the middle of a transaction"):
            gpt.create_thread(service=service)
        return True

    with server._engine.storage.write():
        assert in_unnoticed_child(is_refused)
    gpt.create_thread(service=service)
    service.close()


@pytest.mark.parametrize("key", ["secret\n", "se cret", "", 3])
def test_upstream_key_that_no_header_takes(key: Any) -> None:
    """An upstream's key with a line's end or the like is refused where it is given."""
    with pytest.raises(gpt.ConfigurationError, match="upstream_api_key must be a text"):
        gpt.LocalService(":memory:", upstream="http://127.0.0.1:1/v1", upstream_api_key=key)
