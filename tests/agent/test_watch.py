"""Runs of other callers, told by an agent that has none: two processes without a backplane."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.agent import watch
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.testing import CallTools, EventRecorder, Fail, Hold, Reply, ScriptedService
from gpt_agent_sync.testing.script import Script
from tests.plugins.services import WIRES
from tests.support.polling import wait_for
from tests.support.scripted_model import ScriptedServer

PATIENCE = 20.0


class Two:
    """Two agents of one thread, as two processes have them: each with a service of its own.

    Args:
        make: Makes a service.
    """

    def __init__(self, make: Callable[[str], Service]) -> None:
        self.services = [make("first"), make("second")]
        self.thread_id = gpt.create_thread(service=self.services[0])
        self.recorders = [EventRecorder(), EventRecorder()]

    def connect(self, place: int, **options: Any) -> gpt.Agent:
        """Return the agent of one of them."""
        service = self.services[place]
        assistant_id = gpt.create_assistant(model="any", service=service)
        recorder = self.recorders[place]
        return gpt.connect(
            self.thread_id, assistant_id, service=service, on_event=recorder, **options
        )


@pytest.fixture(params=WIRES)
def make_two(
    request: pytest.FixtureRequest, make_server: Callable[..., ScriptedServer]
) -> Iterator[Callable[[Script], Two]]:
    """Return a maker of such pairs over each wire."""
    gpt.configure(watch=0.05)
    with contextlib.ExitStack() as stack:

        def make(script: Script = ()) -> Two:
            base_url = make_server(script).base_url
            two = Two(lambda key: WIRES[request.param](base_url, key))
            for service in two.services:
                stack.callback(service.close)
            return two

        yield make
        gpt.shutdown_all(PATIENCE)


def kinds(recorder: EventRecorder) -> list[str]:
    """Return the kinds of what was told."""
    return [type(event).__name__ for event in recorder.events]


def test_run_of_another_process_is_told(make_two: Callable[..., Two]) -> None:
    """How it ended, and its messages; no text as it comes."""
    two = make_two([Reply("hi")])
    two.connect(1)
    asker = two.connect(0)
    assert asker.ask("hello", timeout=PATIENCE) == "hi"
    told = two.recorders[1].wait_for(gpt.AssistantMessageAdded)
    (asked,) = two.recorders[0].of(gpt.AssistantMessageAdded)
    assert (told.message_id, told.content) == (asked.message_id, "hi")
    (ended,) = two.recorders[1].of(gpt.RunCompleted)
    assert ended.id == two.recorders[0].of(gpt.RunCompleted)[0].id
    assert kinds(two.recorders[1]) == ["RunCompleted", "AssistantMessageAdded"]


def test_each_run_is_told_once(make_two: Callable[..., Two]) -> None:
    """However often it is looked at, and one's own by itself."""
    two = make_two([Reply("one"), Reply("two"), Reply("three")])
    watcher, asker = two.connect(1), two.connect(0)
    asker.ask("a", timeout=PATIENCE)
    two.recorders[1].wait_for(gpt.AssistantMessageAdded)
    watcher.ask("b", timeout=PATIENCE)
    wait_for(lambda: two.recorders[0].of(gpt.AssistantMessageAdded), lambda told: len(told) == 2)
    asker.ask("c", timeout=PATIENCE)
    wait_for(lambda: two.recorders[1].of(gpt.AssistantMessageAdded), lambda told: len(told) == 3)
    for recorder in two.recorders:
        said = [event.content for event in recorder.of(gpt.AssistantMessageAdded)]
        assert said == ["one", "two", "three"]
        assert len(recorder.of(gpt.RunCompleted)) == 3


def test_what_was_there_before_is_not_told(make_two: Callable[..., Two]) -> None:
    """A new agent tells of what comes, as one without looks does."""
    two = make_two([Reply("old"), Reply("new")])
    asker = two.connect(0)
    asker.ask("a", timeout=PATIENCE)
    two.connect(1)
    asker.ask("b", timeout=PATIENCE)
    two.recorders[1].wait_for(gpt.AssistantMessageAdded)
    assert [e.content for e in two.recorders[1].of(gpt.AssistantMessageAdded)] == ["new"]
    assert len(two.recorders[1].of(gpt.RunCompleted)) == 1


def test_tools_are_left_to_the_runs_owner(make_two: Callable[..., Two]) -> None:
    """A call is made once, by the process whose run asks for it."""
    calls: list[str] = []

    def count(place: str) -> str:
        """Count."""
        calls.append(place)
        return "counted"

    two = make_two([CallTools(("count", {"place": "here"})), Reply("done")])
    two.connect(1, tools=[count])
    two.connect(0, tools=[count]).ask("hello", timeout=PATIENCE)
    two.recorders[1].wait_for(gpt.AssistantMessageAdded)
    assert calls == ["here"]
    assert "ToolCallRequested" not in kinds(two.recorders[1])


def test_run_that_fails_elsewhere_is_told(make_two: Callable[..., Two]) -> None:
    """With its reason."""
    two = make_two([Fail("server_error", "broken")])
    two.connect(1)
    asker = two.connect(0)
    with pytest.raises(gpt.RunFailedError):
        asker.ask("hello", timeout=PATIENCE)
    told = two.recorders[1].wait_for(gpt.RunFailed)
    assert (told.status, told.message) == ("failed", "broken")


def scripted(**options: Any) -> tuple[ScriptedService, gpt.Agent]:
    """Return an agent over a service that counts requests."""
    service = ScriptedService([Hold(Reply("late"))])
    thread_id = gpt.create_thread(service=service)
    return service, gpt.connect(thread_id, "asst", service=service, **options)


def test_nobody_hears_nobody_looks() -> None:
    """An agent without callbacks and streams makes no requests but those of its beginning."""
    gpt.configure(watch=0.01, idle_timeout=0.3)
    service, agent = scripted()
    wait_for(lambda: agent.is_alive, lambda alive: not alive, timeout=PATIENCE)
    assert service.requests["messages"] == 1


def test_stream_keeps_a_watching_agent_alive() -> None:
    """Whoever iterates over events waits for what the looks tell."""
    gpt.configure(watch=0.01, idle_timeout=0.05)
    service, agent = scripted()
    with gpt.events(agent.thread_id, service=service):
        wait_for(lambda: service.requests["messages"], lambda number: number > 20)
        assert agent.is_alive
    wait_for(lambda: agent.is_alive, lambda alive: not alive, timeout=PATIENCE)


def test_agent_with_a_run_does_not_look() -> None:
    """It follows that, and hears of nothing else."""
    gpt.configure(watch=0.01)
    service, agent = scripted(on_event=EventRecorder())
    agent.add_user_message("hello")
    wait_for(lambda: agent._worker._watch._looks, lambda looks: not looks)
    assert agent._worker._watch.due_at(agent._mailbox.progress) is None
    service.release()
    agent.wait(PATIENCE)


class AwayService(ScriptedService):
    """A service that fails to say what is new."""

    def messages(self, thread_id: str, **how: Any) -> Any:
        """Fail, but for the first time."""
        self._count("messages")
        if self.requests["messages"] > 1:
            raise gpt.ServiceUnavailableError("away")
        return iter(())


def test_looks_that_fail_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    """By one warning, and they go on."""
    gpt.configure(watch=0.01)
    service = AwayService()
    thread_id = gpt.create_thread(service=service)
    agent = gpt.connect(thread_id, "asst", service=service, on_event=EventRecorder())
    wait_for(lambda: service.requests["messages"], lambda number: number > 5)
    agent.shutdown()
    warned = [record for record in caplog.records if "are not seen" in record.message]
    assert len([record for record in warned if record.levelname == "WARNING"]) == 1


def test_end_of_a_run_before_the_connect_is_not_told(make_two: Callable[..., Two]) -> None:
    """Whatever message the program has seen last."""
    two = make_two([Reply("old"), Reply("new")])
    asker = two.connect(0)
    asker.ask("a", timeout=PATIENCE)
    two.connect(1, last_message_id=asker.last_message_id)
    asker.ask("b", timeout=PATIENCE)
    two.recorders[1].wait_for(gpt.AssistantMessageAdded)
    assert kinds(two.recorders[1]) == ["RunCompleted", "AssistantMessageAdded"]


def test_first_look_that_fails_is_made_again(make_two: Callable[..., Two]) -> None:
    """It fails no connect, and what was there then is not told."""
    two = make_two([Reply("old"), Reply("new")])
    asker = two.connect(0)
    asker.ask("a", timeout=PATIENCE)
    failed: list[str] = []

    def fail_once(thread_id: str) -> Any:
        if not failed:
            failed.append(thread_id)
            raise gpt.ServiceUnavailableError("away")
        return type(two.services[1]).newest_run(two.services[1], thread_id)

    two.services[1].newest_run = fail_once  # type: ignore[method-assign]
    watcher = two.connect(1)
    wait_for(lambda: watcher._worker._watch._has_begun, bool)
    asker.ask("b", timeout=PATIENCE)
    two.recorders[1].wait_for(gpt.AssistantMessageAdded)
    assert [e.content for e in two.recorders[1].of(gpt.AssistantMessageAdded)] == ["new"]


def test_look_without_a_thread_to_be_had_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The agent goes on, and looks again when it can."""
    gpt.configure(watch=0.01)
    refused: list[str] = []

    class Refused:
        def __init__(self, work: object, name: str) -> None:
            refused.append(name)

        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(watch, "Thread", Refused)
        service, agent = scripted(on_event=EventRecorder())
        wait_for(lambda: len(refused), lambda number: number > 2)
    wait_for(lambda: service.requests["messages"], lambda number: number > 3)
    assert agent.is_alive


@pytest.mark.parametrize("value", [0, -1, "often", True])
def test_interval_is_checked(value: object) -> None:
    """It is seconds above 0, or ``None``."""
    with pytest.raises(gpt.ConfigurationError, match="watch"):
        gpt.configure(watch=value)
