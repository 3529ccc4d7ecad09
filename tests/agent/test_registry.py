"""Agents found, shared and left out: one for each thread, or none."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.agent.registry import registry
from gpt_agent_sync.agent.worker import Worker
from gpt_agent_sync.records import Message
from gpt_agent_sync.testing import EventRecorder, ScriptedService
from tests.support.talk import PATIENCE


def test_agent_whose_thread_cannot_start_is_no_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the system has no thread to give, connect says so, and leaves nothing behind."""
    service = ScriptedService()
    thread_id = gpt.create_thread(service=service)

    def refuse(worker: Worker, finished: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(Worker, "start", refuse)
        with pytest.raises(RuntimeError, match="new thread"):
            gpt.connect(thread_id, service=service, on_event=EventRecorder())
    assert registry.agents() == []
    assert gpt.connect(thread_id, service=service).is_alive


class MissingHistory(ScriptedService):
    """Hold up one caller's history until told otherwise, and then fail it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    def messages(self, thread_id: str, **how: Any) -> Iterator[Message]:
        """Fail."""
        self.asked.set()
        assert self.go_on.wait(PATIENCE)
        raise KeyboardInterrupt


def test_trouble_of_one_caller_is_not_that_of_another() -> None:
    """Who waits for another's connect shares its lookup, and not its private mishaps."""
    service = MissingHistory()
    thread_id = gpt.create_thread(service=service)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(gpt.connect, thread_id, service=service, last_message_id="m")
        assert service.asked.wait(PATIENCE)
        second = pool.submit(gpt.connect, thread_id, service=service)
        service.go_on.set()
        assert second.result(PATIENCE).is_alive
        with pytest.raises(KeyboardInterrupt):
            first.result(PATIENCE)
