"""Agents that are told of tool calls and leave them to others, the same over every service."""

from __future__ import annotations

from typing import Any

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.testing import CallTools, Reply, ScriptedService
from tests.plugins.services import MakeService
from tests.support.talk import PATIENCE, Talk

CALL = CallTools(("add", {"a": 2, "b": 3}))
BAD_CALL = CallTools(("add", "[1, 2]"))


@pytest.fixture(autouse=True)
def calls() -> list[tuple[int, int]]:
    """Register a tool that adds, and return what it was called with."""
    called: list[tuple[int, int]] = []

    @gpt.tool
    def add(a: int, b: int) -> int:
        """Add."""
        called.append((a, b))
        return a + b

    return called


@pytest.mark.parametrize("call", [CALL, BAD_CALL])
def test_calls_are_left_to_the_program(
    make_service: MakeService, calls: list[tuple[int, int]], call: CallTools
) -> None:
    """No handler is called and no output recorded until the program submits one."""
    talk = Talk(make_service([call, Reply("thanks")]), handle_tools=False)
    talk.agent.add_user_message("go")
    requested = talk.recorder.wait_for(gpt.ToolCallRequested)
    talk.agent.submit_tool_output(requested.id, "five")
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCompleted)
    assert [event.output for event in talk.recorder.of(gpt.ToolCallOutputRecorded)] == ["five"]
    assert calls == []


@pytest.mark.parametrize("call, made", [(CALL, [(2, 3)]), (BAD_CALL, [])])
def test_calls_that_wait_are_handled_when_somebody_asks_for_it(
    make_service: MakeService,
    calls: list[tuple[int, int]],
    call: CallTools,
    made: list[tuple[int, int]],
) -> None:
    """A further connect turns handlers on, for what waits and for all that comes."""
    talk = Talk(make_service([call, Reply("one"), CALL, Reply("two")]), handle_tools=False)
    talk.agent.add_user_message("go")
    talk.recorder.wait_for(gpt.ToolCallRequested)
    gpt.connect(talk.thread_id, service=talk.service)
    assert isinstance(talk.agent.wait(PATIENCE), gpt.RunCompleted)
    assert talk.agent.ask("again", timeout=PATIENCE) == "two"
    assert calls == [*made, (2, 3)]


def test_handler_that_comes_with_the_request_is_called(make_service: MakeService) -> None:
    """The tools of the connect that turns handlers on are there for the calls that wait."""
    talk = Talk(make_service([CallTools(("greet", {})), Reply("one")]), handle_tools=False)
    talk.agent.add_user_message("go")
    talk.recorder.wait_for(gpt.ToolCallRequested)

    def greet() -> str:
        """Greet."""
        return "hello"

    gpt.connect(talk.thread_id, service=talk.service, tools=[greet])
    talk.agent.wait(PATIENCE)
    assert [event.output for event in talk.recorder.of(gpt.ToolCallOutputRecorded)] == ["hello"]


def test_agent_that_handles_goes_on_to() -> None:
    """Somebody who only listens does not keep an agent from its handlers."""
    talk = Talk(ScriptedService([CALL, Reply("one")]))
    assert gpt.connect(talk.thread_id, service=talk.service, handle_tools=False) is talk.agent
    assert talk.agent.ask("go", timeout=PATIENCE) == "one"


@pytest.mark.parametrize("value", [None, 1, "no"])
def test_other_values_are_refused(value: Any) -> None:
    """Handlers are called or not: nothing else can be meant."""
    with pytest.raises(TypeError, match="handle_tools must be True or False"):
        gpt.connect("thread_1", service=ScriptedService(), handle_tools=value)
