"""A clean process before and after each test, and programs that are processes of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync import configuration
from gpt_agent_sync.backplane import choosing as backplanes
from gpt_agent_sync.journal import choosing as journals
from gpt_agent_sync.services import choosing
from gpt_agent_sync.settings import SETTING_VARIABLES
from gpt_agent_sync.testing import CallTools, Hold, Reply, ScriptStep
from gpt_agent_sync.tools import default_toolbox
from tests.support.hosts import Host
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedServer

ENVIRONMENT = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "ALL_PROXY",
    "REQUESTS_CA_BUNDLE",
    "CURL_CA_BUNDLE",
)


@pytest.fixture(autouse=True)
def clean_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Begin with quick defaults and no environment; leave no agent, tool or thread behind."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in SETTING_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path_factory.getbasetemp() / "data"))
    _reset()
    gpt.configure(heartbeat_interval=0.05, http_retries=2, connect_timeout=2.0, read_timeout=10.0)
    yield
    gpt.shutdown_all(10)
    default_toolbox.clear()
    _reset()
    # The one that renews leases is told to end, and not waited for.
    wait_for(left_threads, lambda names: not names)


def _reset() -> None:
    configuration.reset()
    choosing.reset()
    journals.reset()
    backplanes.reset()


def left_threads() -> list[str]:
    """Return the names of the threads of agents, tools and deadlines that run."""
    # Those of embedded servers belong to servers that a fixture of wider scope stops.
    return [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith("gpt-agent-") and not thread.name.startswith("gpt-agent-server")
    ]


@pytest.fixture
def polled() -> None:
    """Have agents poll their runs, and take no streams."""
    gpt.configure(streaming=False)


class Programs:
    """Programs that run ``tests.processes.app``, and the server that it talks to.

    Args:
        server: The server.
        service: The class of the service.
        directory: Where the programs' files go.
    """

    def __init__(self, server: ScriptedServer, service: str, directory: Path) -> None:
        self._server = server
        self._environment = {"SERVICE": service, "BASE_URL": server.base_url}
        self._directory = directory
        self._hosts: list[Host] = []

    def start(self, *arguments: str, **environment: str) -> Host:
        """Have Python run something."""
        directory = self._directory / f"host-{len(self._hosts)}"
        directory.mkdir()
        host = Host(list(arguments), directory, {**self._environment, **environment})
        self._hosts.append(host)
        return host

    def release(self) -> None:
        """Let the run end that the first process of the program is in the middle of."""
        self._server.model.released.set()

    def clear_up(self) -> None:
        """End what still runs."""
        for host in self._hosts:
            host.clear_up()


def _sign_numbers(text: str, outputs: Mapping[str, str]) -> ScriptStep:
    if text == "hold":
        return Hold(Reply("late"))
    return Reply(outputs["sign"]) if outputs else CallTools(("sign", {"number": int(text)}))


@pytest.fixture(params=["AssistantsService", "ResponsesService"])
def programs(
    request: pytest.FixtureRequest, make_server: Callable[..., ScriptedServer], tmp_path: Path
) -> Iterator[Programs]:
    """Return what starts programs over each wire; they are ended."""
    made = Programs(make_server(_sign_numbers), request.param, tmp_path)
    yield made
    made.clear_up()
