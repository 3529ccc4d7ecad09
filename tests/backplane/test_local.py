"""Events without an agent, within one process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.backplane import local
from gpt_agent_sync.event_log import Entry, Page, before_turn
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.listening.thread_events import ThreadEvents
from gpt_agent_sync.testing import CallTools, Reply, ScriptedService
from tests.plugins.services import WIRES
from tests.support.scripted_model import ScriptedServer
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


@pytest.mark.parametrize("wire", WIRES)
def test_text_that_arrives_is_told_without_an_agent(
    wire: str, make_server: Callable[..., ScriptedServer]
) -> None:
    """Though no callback of the agent receives it."""
    service = WIRES[wire](make_server([Reply("some words")]).base_url, "key")
    assistant_id = gpt.create_assistant(model="any", service=service)
    agent = gpt.connect(gpt.create_thread(service=service), assistant_id, service=service)
    with gpt.events(agent.thread_id, service=service) as told:
        agent.ask("hello", timeout=PATIENCE)
        agent.wait(PATIENCE)
    pieces = [event.text for event in told if isinstance(event, gpt.AssistantMessageDelta)]
    assert "".join(pieces) == "some words"


def test_turn_under_way_is_told_from_its_beginning() -> None:
    """An iterator that begins in the middle of it is told what came before, and no former turn."""
    service = ScriptedService([Reply("one"), CallTools(("weather", {})), Reply("sunny")])
    talk = Talk(service)
    gpt.events(talk.thread_id, service=service).close()
    talk.agent.ask("first", timeout=PATIENCE)
    talk.agent.add_user_message("second")
    talk.recorder.wait_for(gpt.ToolCallRequested)
    with gpt.events(talk.thread_id, service=service, whole_turn=True) as told:
        begun = told.get(PATIENCE)
    assert isinstance(begun, gpt.UserMessageAdded)
    assert begun.content == "second"


def test_turn_whose_beginning_is_not_kept_has_a_gap() -> None:
    """What is left of it is told, after the word that something is missing."""
    talk = Talk(ScriptedService([CallTools(("weather", {})), Reply("sunny")]))
    backplane = talk.agent.backplane
    gpt.events(talk.thread_id, service=talk.service).close()
    talk.agent.add_user_message("hello")
    talk.recorder.wait_for(gpt.ToolCallRequested)
    (log,) = backplane._process.get().logs.values()  # type: ignore[attr-defined]
    while len(log.entries) > 1:
        log.entries.popleft()
    with gpt.events(talk.thread_id, service=talk.service, whole_turn=True) as told:
        missed, call = told.get(PATIENCE), told.get(PATIENCE)
    assert isinstance(missed, gpt.EventsMissed)
    assert isinstance(call, gpt.ToolCallRequested)


def test_word_of_a_gap_names_what_was_told_before_it() -> None:
    """That is what waits to be read, too."""
    backplane = local.LocalBackplane()
    scope = Scope(service="service", thread_id="thread_1")
    told = ThreadEvents(backplane, scope, "5-0")
    first = gpt.AgentStopped(thread_id="thread_1", reason="idle", cursor="5-1")
    last = gpt.AgentStopped(thread_id="thread_1", reason="idle", cursor="5-9")
    told.heard(Page((Entry(cursor="5-1", events=(first,)),)))
    told.heard(Page((Entry(cursor="5-9", before="5-8", events=(last,)),), missed=True))
    _, missed, _ = (told.get(PATIENCE) for _ in range(3))
    assert isinstance(missed, gpt.EventsMissed)
    assert (missed.after, missed.cursor) == ("5-1", "5-8")
    told.close()


def test_turn_without_a_closing_event_is_over_when_it_is_settled() -> None:
    """A page that is opened then is not told of it."""
    asked = gpt.UserMessageAdded(thread_id="t", id="m", content="hi", cursor="5-1")
    kept = [
        Entry(cursor="5-0", mark="begun"),
        Entry(cursor="5-1", before="5-0", events=(asked,)),
    ]
    assert before_turn(kept, "5-1") == "5-0"
    assert before_turn([*kept, Entry(cursor="5-2", before="5-1", mark="settled")], "5-2") == "5-2"


def test_turn_that_is_over_is_not_told_again() -> None:
    """Between turns an iterator begins with what comes next."""
    talk = Talk(ScriptedService([Reply("one")]))
    gpt.events(talk.thread_id, service=talk.service).close()
    talk.agent.ask("first", timeout=PATIENCE)
    with gpt.events(talk.thread_id, service=talk.service, whole_turn=True) as told:
        pass
    assert list(told) == []


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
