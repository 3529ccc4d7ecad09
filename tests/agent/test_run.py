"""Runs without a new message, the same over every service."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.records import RunRequest
from gpt_agent_sync.services.base import Feed
from gpt_agent_sync.testing import CallTools, Fail, Hold, Reply, ScriptedService, ScriptStep
from tests.plugins.services import MakeService
from tests.support.talk import PATIENCE, Talk

LIMIT = Fail("rate_limit_exceeded", "Please try again in 10ms.")


@pytest.fixture(autouse=True)
def add() -> None:
    """Register a tool that adds."""

    @gpt.tool
    def add(a: int, b: int) -> int:
        """Add."""
        return a + b


def echo(text: str, outputs: Mapping[str, str]) -> ScriptStep:
    """Repeat what the user said."""
    return Reply(f"re {text}")


def count_up(text: str, outputs: Mapping[str, str]) -> ScriptStep:
    """Add, and repeat what the user said with the sum."""
    if not outputs:
        return CallTools(("add", {"a": 2, "b": 3}))
    return Reply(f"re {text}: {outputs['add']}")


def replies(talk: Talk) -> list[str]:
    """Return what the assistant has said so far."""
    return [event.content for event in talk.recorder.of(gpt.AssistantMessageAdded)]


def test_message_that_is_there_is_answered(make_service: MakeService) -> None:
    """A run without a message answers the newest one of the thread, with tools as any other."""
    service = make_service(count_up)
    talk = Talk(service)
    talk.thread_id = gpt.create_thread(
        messages=[{"role": "user", "content": "a"}, {"role": "user", "content": "b"}],
        service=service,
    )
    agent = talk.connect()
    agent.run()
    completed = agent.wait(PATIENCE)
    assert isinstance(completed, gpt.RunCompleted)
    assert talk.names == [
        "RunStarted",
        "ToolCallRequested",
        "ToolCallOutputRecorded",
        "RunCompleted",
        "AssistantMessageAdded",
    ]
    assert {event.run_id for event in talk.recorder.of(gpt.ToolCallRequested)} == {completed.id}
    assert replies(talk) == ["re b: 5"]


def test_thread_is_gone_on_with(make_service: MakeService) -> None:
    """Runs without messages and questions come in any order, each with an end of its own."""
    talk = Talk(make_service([Reply("one"), Reply("two"), Reply("three")]))
    assert talk.agent.ask("a", timeout=PATIENCE) == "one"
    first = talk.agent.wait(PATIENCE)
    talk.agent.run()
    second = talk.agent.wait(PATIENCE)
    assert isinstance(first, gpt.RunCompleted)
    assert isinstance(second, gpt.RunCompleted)
    assert first.id != second.id
    assert talk.agent.ask("b", timeout=PATIENCE) == "three"
    assert replies(talk) == ["one", "two", "three"]
    said = [message.content for message in talk.agent.messages()]
    assert said == ["a", "one", "two", "b", "three"]


def test_message_of_a_failed_run_is_answered(make_service: MakeService) -> None:
    """After a failure another run answers the same message, which stands once."""
    steps = iter([Fail(), Fail()])
    talk = Talk(make_service(lambda text, outputs: next(steps, None) or echo(text, outputs)))
    talk.say("a")
    for _ in range(2):
        talk.agent.run()
        closing = talk.agent.wait(PATIENCE)
    assert isinstance(closing, gpt.RunCompleted)
    assert replies(talk) == ["re a"]
    assert [message.content for message in talk.agent.messages()] == ["a", "re a"]


def test_message_of_a_cancelled_run_is_answered(make_service: MakeService) -> None:
    """After a cancel another run answers the same message, which stands once."""
    talk = Talk(make_service([Hold(), Reply("here")]))
    talk.agent.add_user_message("a")
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.cancel_run()
    talk.agent.wait(PATIENCE)
    talk.agent.run()
    talk.agent.wait(PATIENCE)
    assert [message.content for message in talk.agent.messages()] == ["a", "here"]


def test_run_that_failed_after_its_tools_is_gone_on_with(make_service: MakeService) -> None:
    """Calls that a failed run left behind do not keep another run from its answer."""
    call = CallTools(("add", {"a": 1, "b": 1}))
    talk = Talk(make_service([call, Fail(), Reply("after all")]))
    talk.say("a")
    talk.agent.run()
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCompleted)
    assert replies(talk) == ["after all"]


@pytest.mark.parametrize("before", [[], [CallTools(("add", {"a": 1, "b": 1}))]])
def test_rate_limited_run_is_started_again(
    make_service: MakeService, before: list[ScriptStep]
) -> None:
    """A run without a message outlasts a rate limit as any other does."""
    talk = Talk(make_service([Reply("one"), *before, LIMIT, Reply("two")]))
    talk.say("a")
    talk.agent.run()
    completed = talk.agent.wait(PATIENCE)
    assert isinstance(completed, gpt.RunCompleted)
    assert talk.names.count("RateLimited") == 1
    assert replies(talk) == ["one", "two"]


def test_second_run_is_refused(make_service: MakeService) -> None:
    """While a run is active there is no other one, with a message or without."""
    talk = Talk(make_service([CallTools(("ask_user", {})), Reply("ok")]))
    talk.agent.run()
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    with pytest.raises(gpt.RunInProgressError, match=requested.run_id):
        talk.agent.run()
    with pytest.raises(gpt.RunInProgressError, match=requested.run_id):
        talk.agent.add_user_message("a")
    talk.agent.submit_tool_output(requested.id, "yes")
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCompleted)


def test_message_is_queued_behind_a_run(make_service: MakeService) -> None:
    """A message queued during a run without one is posted after it."""
    talk = Talk(make_service([CallTools(("ask_user", {})), Reply("one"), Reply("two")]))
    talk.agent.run()
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    talk.agent.add_user_message("a", when_busy="queue")
    talk.agent.submit_tool_output(requested.id, "yes")
    talk.agent.wait(PATIENCE)
    assert replies(talk) == ["one", "two"]


def test_cancelled_run_is_told(make_service: MakeService) -> None:
    """A run without a message is cancelled as any other."""
    talk = Talk(make_service([Hold()]))
    talk.agent.run()
    talk.recorder.wait_for(gpt.RunStarted)
    talk.agent.cancel_run()
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCancelled)


def test_assistant_counts_for_one_run(make_service: MakeService) -> None:
    """The assistant of a run is that run's alone, and needs no other one."""
    service = make_service([Reply("one"), Reply("two")])
    talk = Talk(service)
    other = gpt.create_assistant(model="any", service=service)
    talk.agent.run(assistant_id=other)
    talk.agent.wait(PATIENCE)
    talk.say("a")
    started = [event.assistant_id for event in talk.recorder.of(gpt.RunStarted)]
    assert started == [other, talk.assistant_id]
    assert talk.agent.default_assistant == talk.assistant_id


def connect_bare(service: gpt.Service) -> gpt.Agent:
    """Return an agent without an assistant."""
    return gpt.connect(gpt.create_thread(service=service), service=service)


@pytest.mark.parametrize(
    "options, error",
    [
        ({"assistant_id": " "}, gpt.BlankValueError),
        ({"assistant_id": "a", "run_options": {"model": "m"}}, TypeError),
        (
            {"assistant_id": "a", "run_options": gpt.RunOptions(truncation="auto")},
            gpt.ConfigurationError,
        ),
        ({}, gpt.AssistantNotSetError),
    ],
)
def test_unusable_arguments_are_refused(options: dict[str, Any], error: type[Exception]) -> None:
    """What cannot be run is refused before any request."""
    service = ScriptedService()
    agent = connect_bare(service)
    with pytest.raises(error):
        agent.run(**options)
    assert not agent.running
    assert service.requests["start_run"] == 0


def test_stopped_agent_runs_nothing() -> None:
    """A stopped agent refuses."""
    agent = connect_bare(ScriptedService())
    agent.shutdown()
    with pytest.raises(gpt.AgentNotAliveError):
        agent.run(assistant_id="a")


def test_agent_without_an_assistant_runs_the_one_given() -> None:
    """The run's own assistant is enough."""
    agent = connect_bare(ScriptedService())
    agent.run(assistant_id="a")
    assert isinstance(agent.wait(PATIENCE), gpt.RunCompleted)
    assert agent.default_assistant is None


class RefusingService(ScriptedService):
    """Refuse to start runs."""

    def start_run(self, request: RunRequest) -> Feed:
        """Refuse."""
        raise gpt.RequestRejectedError("no", status=400)


def test_failed_start_is_told() -> None:
    """A run that the service does not start is told as failed, without an id."""
    talk = Talk(RefusingService())
    talk.agent.run()
    failed = talk.agent.wait(PATIENCE)
    assert isinstance(failed, gpt.RunFailed)
    assert (failed.id, failed.code) == (None, "request_rejected")
