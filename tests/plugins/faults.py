"""The fault server of a test run, and a process in a hurry."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.services.http import repeats
from tests.faults.running import PAUSES, SETTINGS
from tests.faults.server import FaultServer


@pytest.fixture(scope="session")
def fault_server() -> Iterator[FaultServer]:
    """Return a server in memory behind a layer that injects faults, for all tests."""
    server = FaultServer()
    yield server
    server.stop()


@pytest.fixture
def hurried(clean_process: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the package's pauses between repeats short."""
    for name, seconds in PAUSES.items():
        monkeypatch.setattr(repeats, name, seconds)
    gpt.configure(**SETTINGS)
