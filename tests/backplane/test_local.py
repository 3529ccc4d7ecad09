"""Events without an agent, within one process."""

from __future__ import annotations

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.backplane import local
from gpt_agent_sync.testing import Reply, ScriptedService
from tests.support.talk import PATIENCE, Talk


def test_events_of_a_thread() -> None:
    """An iterator tells what the thread's agent tells, with the same places."""
    talk = Talk(ScriptedService([Reply("hi")]))
    with gpt.events(talk.thread_id, service=talk.service) as told:
        talk.agent.ask("hello", timeout=PATIENCE)
        seen = [told.get(PATIENCE) for _ in talk.recorder.events]
    assert seen == talk.recorder.events
    assert all(event is not None and event.cursor for event in seen)


def test_events_are_kept_from_when_somebody_listens() -> None:
    """Another iterator goes on from a cursor."""
    talk = Talk(ScriptedService([Reply("hi")]))
    with gpt.events(talk.thread_id, service=talk.service):
        talk.agent.ask("hello", timeout=PATIENCE)
    first, *others = talk.recorder.events
    with gpt.events(talk.thread_id, first.cursor, talk.service) as told:
        assert [told.get(PATIENCE) for _ in others] == others


def test_closed_iterator_ends() -> None:
    """What was told before can still be read."""
    talk = Talk(ScriptedService([Reply("hi")]))
    told = gpt.events(talk.thread_id, service=talk.service)
    talk.agent.ask("hello", timeout=PATIENCE)
    told.close()
    assert list(told) == talk.recorder.events
    assert told.get() is None
    assert told.cursor == talk.recorder.events[-1].cursor


def test_wait_for_an_event_is_bounded() -> None:
    """It says of which thread."""
    with (
        gpt.events("thread_1", service=ScriptedService()) as told,
        pytest.raises(TimeoutError, match="thread_1"),
    ):
        told.get(0.01)


@pytest.mark.parametrize("after", ["x", "1", "1-"])
def test_cursor_is_checked(after: str) -> None:
    """Before anything is listened to."""
    with pytest.raises(ValueError, match="cursor"):
        gpt.events("thread_1", after, service=ScriptedService())


def test_logs_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that nobody listens to go first."""
    monkeypatch.setattr(local, "LOGS", 3)
    backplane = local.LocalBackplane()
    kept = gpt.events("kept", service=ScriptedService(), backplane=backplane)
    for number in range(10):
        gpt.events(str(number), service=ScriptedService(), backplane=backplane).close()
    own = backplane._process.get()
    assert len(own.logs) <= 4
    assert any(scope.thread_id == "kept" for scope in own.logs)
    kept.close()
