"""What of a thread a run's model is shown, and what a run may spend."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_agent_sync.server.assistants import context
from gpt_agent_sync.server.models.base import ChatObject, Finish
from gpt_agent_sync.server.models.tokens import tokens
from gpt_agent_sync.testing import CallTools, Reply
from tests.support.server_setup import CALL, MakeRunSetup
from tests.support.wire_client import Json


def said(text: str) -> ChatObject:
    """Return a user's message."""
    return {"role": "user", "content": text}


SYSTEM, LONG, SHORT, LAST = (said(text) for text in ("be kind", "x" * 300, "short", "last"))
THREAD = [LONG, SHORT, LAST]


@pytest.mark.parametrize(
    "message, count",
    [
        (said(""), 4),
        (said("abc"), 5),
        (said("abcd"), 6),
        ({"role": "assistant", "content": None}, 4),
        (
            {"content": None, "tool_calls": [{"function": {"name": "add", "arguments": "{}"}}]},
            6,
        ),
        ({"content": [{"type": "text", "text": "abc"}, {"type": "image_url"}]}, 805),
    ],
)
def test_tokens(message: ChatObject, count: int) -> None:
    """A message has about a token for three characters, and something for itself and images."""
    assert tokens(message) == count


@pytest.mark.parametrize(
    "most, kept",
    [
        (None, [SYSTEM, LONG, SHORT, LAST]),
        (1000, [SYSTEM, LONG, SHORT, LAST]),
        (40, [SYSTEM, SHORT, LAST]),
        (14, [SYSTEM, LAST]),
        (12, None),
    ],
)
def test_fitting(most: int | None, kept: list[ChatObject] | None) -> None:
    """The oldest messages of a thread are left out first; instructions and the newest stay."""
    assert context.fitting([SYSTEM], THREAD, [], most) == kept


def test_fitting_keeps_the_calls() -> None:
    """A run's calls and outputs stay, whatever of the thread has to go."""
    rounds = [said("call"), said("output")]
    assert context.fitting([], THREAD, rounds, 20) == [LAST, *rounds]


@pytest.mark.parametrize(
    "strategy, most",
    [
        (None, None),
        ({"type": "auto"}, None),
        ({"type": "auto", "last_messages": None}, None),
        ({"type": "last_messages", "last_messages": 3}, 3),
    ],
)
def test_strategies(strategy: Json | None, most: int | None) -> None:
    """A strategy says how many of the newest messages there are to be, or nothing."""
    assert context.most_messages(strategy) == most


@pytest.mark.parametrize(
    "limits, end",
    [
        ({}, None),
        ({"max_prompt_tokens": 11, "max_completion_tokens": 6}, None),
        ({"max_prompt_tokens": 10}, Finish("max_prompt_tokens")),
        ({"max_completion_tokens": 5}, Finish("max_completion_tokens")),
    ],
)
def test_used_up(limits: dict[str, int], end: Finish | None) -> None:
    """A run that has spent its tokens ends, and says which."""
    spent = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    run: dict[str, Any] = {"max_prompt_tokens": None, "max_completion_tokens": None, **limits}
    assert context.used_up({**run, "_usage": spent}) == end


# Over the wire.


def test_model_reads_the_last_messages(run_setup: MakeRunSetup) -> None:
    """A run that is to see the newest messages alone shows its model those."""
    setup = run_setup()
    thread_id = setup.wire.thread("one", "two", "three")
    strategy = {"type": "last_messages", "last_messages": 2}
    setup.wire.settled(thread_id, setup.wire.start(thread_id, truncation_strategy=strategy))
    assert setup.last_chat() == [("user", "two"), ("user", "three")]


def test_model_reads_what_fits(run_setup: MakeRunSetup) -> None:
    """A run with a budget for what it reads leaves out the oldest messages."""
    setup = run_setup()
    thread_id = setup.wire.thread("x" * 3000, "new")
    setup.wire.settled(thread_id, setup.wire.start(thread_id, max_prompt_tokens=300))
    assert setup.last_chat() == [("user", "new")]


def test_message_that_does_not_fit(run_setup: MakeRunSetup) -> None:
    """A run whose newest message is beyond its budget ends unasked, and says why."""
    setup = run_setup()
    thread_id = setup.wire.thread("x" * 3000)
    run = setup.wire.settled(thread_id, setup.wire.start(thread_id, max_prompt_tokens=300))
    assert (run["status"], run["incomplete_details"]) == (
        "incomplete",
        {"reason": "max_prompt_tokens"},
    )
    assert setup.model.requests == []


def test_budget_is_the_runs(run_setup: MakeRunSetup) -> None:
    """What an answer may have is what its run's answers before have left."""
    setup = run_setup(CallTools(("add", {})), Reply("ok"))
    thread_id, run_id = setup.start(max_completion_tokens=300)
    run = setup.wire.with_status(thread_id, run_id, "requires_action")
    setup.wire.submit(thread_id, run, "1")
    setup.wire.settled(thread_id, run_id)
    assert [request.options["max_tokens"] for request in setup.model.requests] == [300, 300]


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "add"}}])
def test_forced_call_is_forced_once(run_setup: MakeRunSetup, choice: Any) -> None:
    """A choice that forces a call holds for a run's first answer: it would else never end."""
    setup = run_setup(CALL, Reply("done"))
    thread_id, run_id = setup.start(tool_choice=choice)
    run = setup.wire.with_status(thread_id, run_id, "requires_action")
    setup.wire.submit(thread_id, run, "1")
    assert setup.wire.settled(thread_id, run_id)["status"] == "completed"
    assert [request.tool_choice for request in setup.model.requests] == [choice, "auto"]


def test_no_call_stays_no_call(run_setup: MakeRunSetup) -> None:
    """A run that is to call nothing is told so each time."""
    setup = run_setup(CALL, Reply("done"))
    thread_id, run_id = setup.start(tool_choice="none")
    run = setup.wire.with_status(thread_id, run_id, "requires_action")
    setup.wire.submit(thread_id, run, "1")
    setup.wire.settled(thread_id, run_id)
    assert [request.tool_choice for request in setup.model.requests] == ["none", "none"]


# Polls.


@pytest.mark.parametrize(
    "age, hint", [(0, "20"), (0.1, "20"), (2, "300"), (6, "900"), (60, "1000")]
)
def test_poll_hint_grows(run_setup: MakeRunSetup, age: float, hint: str) -> None:
    """The older a run is the longer clients are asked to wait between two polls."""
    setup = run_setup(CALL)
    thread_id, run = setup.requiring_action()
    setup.clock.now += age
    answer = setup.wire.send("GET", f"/threads/{thread_id}/runs/{run['id']}")
    assert answer.headers["openai-poll-after-ms"] == hint
