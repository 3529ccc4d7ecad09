"""A clean process before and after each test, and what must not be left behind."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync import configuration
from gpt_agent_sync.services import choosing
from gpt_agent_sync.settings import SETTING_VARIABLES
from gpt_agent_sync.tools import default_toolbox

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
    assert left_threads() == []


def _reset() -> None:
    configuration.reset()
    choosing.reset()


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
