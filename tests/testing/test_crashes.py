"""Crashes at moments of one's choice, each in a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.journal.base import CALL, Entry, Journal, Scope
from gpt_agent_sync.journal.choosing import journal_of
from gpt_agent_sync.testing import CallTools, JournalConformance, Reply, ScriptStep, crash_after
from tests.support.hosts import PATIENCE, ROOT
from tests.support.scripted_model import ScriptedServer

PROGRAM = textwrap.dedent("""
    import sys
    import gpt_agent_sync as gpt
    from gpt_agent_sync.testing import crash_after

    base_url, folder, thread_id, moment, count = sys.argv[1:]
    crash_after(getattr(gpt, moment, moment), count=int(count))

    @gpt.tool
    def pay(amount: int) -> str:
        with open(f"{folder}/payments", "a") as file:
            file.write(f"{amount}\\n")
        return "paid"

    service = gpt.AssistantsService(base_url, "key")
    assistant_id = gpt.create_assistant(model="any", service=service)
    journal = f"{folder}/calls.db"
    with gpt.connect(thread_id, assistant_id, service=service, journal=journal) as agent:
        for amount in (1, 2):
            agent.ask(str(amount), timeout=20)
""")


def pay(text: str, outputs: Mapping[str, str]) -> ScriptStep:
    """Have each message paid."""
    return Reply("thanks") if outputs else CallTools(("pay", {"amount": int(text)}))


@attrs.frozen
class Scene:
    """A server, and a program that crashes while it talks to it.

    Attributes:
        folder: Where the program's files are.
        service: The server's service.
        thread_id: The conversation.
    """

    folder: Path
    service: gpt.AssistantsService
    thread_id: str

    def run(self, moment: str, count: int = 1) -> int:
        """Run the program, and return its code."""
        arguments = [str(self.folder), self.thread_id, moment, str(count)]
        return subprocess.run(
            [sys.executable, "-c", PROGRAM, self.service.base_url, *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            timeout=PATIENCE,
        ).returncode

    @property
    def payments(self) -> list[str]:
        """The effects of the program's tool."""
        path = self.folder / "payments"
        return path.read_text().split() if path.exists() else []

    @property
    def calls(self) -> list[Entry]:
        """The calls in the journal."""
        scope = Scope(service=self.service.journal_name, thread_id=self.thread_id)
        return list(gpt.SqliteJournal(self.folder / "calls.db").entries(scope, CALL))


@pytest.fixture
def scene(make_server: Callable[..., ScriptedServer], tmp_path: Path) -> Scene:
    """Return a server and a program."""
    service = gpt.AssistantsService(make_server(pay).base_url, "key")
    return Scene(tmp_path, service, gpt.create_thread(service=service))


@pytest.mark.parametrize(
    "moment, payments, is_saved",
    [("call_noted", [], False), ("call_answered", ["1"], False), ("output_saved", ["1"], True)],
)
def test_process_is_killed_at_a_moment_of_a_call(
    scene: Scene, moment: str, payments: list[str], *, is_saved: bool
) -> None:
    """Before the handler, between it and the journal, or after that: nothing more is done."""
    assert scene.run(moment) == -signal.SIGKILL
    (call,) = scene.calls
    assert scene.payments == payments
    assert (call.done, call.data.get("output")) == (is_saved, "paid" if is_saved else None)


@pytest.mark.parametrize(
    "event, payments", [("ToolCallRequested", []), ("ToolCallOutputRecorded", ["1"])]
)
def test_process_is_killed_when_an_event_is_told(
    scene: Scene, event: str, payments: list[str]
) -> None:
    """An event's class is a moment, too."""
    assert scene.run(event) == -signal.SIGKILL
    assert scene.payments == payments


@pytest.mark.parametrize(
    "moment, count, code, payments",
    [
        ("call_noted", 2, -signal.SIGKILL, ["1"]),
        ("RunCompleted", 2, -signal.SIGKILL, ["1", "2"]),
        ("output_saved", 3, 0, ["1", "2"]),
    ],
)
def test_moments_are_counted(
    scene: Scene, moment: str, count: int, code: int, payments: list[str]
) -> None:
    """A later moment of the kind may be the one, and a process that never comes to it goes on."""
    assert scene.run(moment, count) == code
    assert scene.payments == payments


@pytest.mark.parametrize(
    "moment, count, error",
    [("before_lunch", 1, ValueError), (gpt.Agent, 1, TypeError), ("call_noted", 0, ValueError)],
)
def test_what_is_no_moment_is_refused(moment: Any, count: int, error: type[Exception]) -> None:
    """A moment is one of the words, or the class of an event; there is no zeroth one."""
    with pytest.raises(error):
        crash_after(moment, count=count)


class TestJournalOfCrashes(JournalConformance):
    """The contract over a journal in which a moment is waited for."""

    @pytest.fixture
    def journal(self) -> Journal:
        """Return an empty journal."""
        crash_after("output_saved", count=10**6)
        return journal_of(gpt.MemoryJournal())
