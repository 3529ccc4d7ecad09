"""Progress in each phase, reached by the decisions themselves."""

from __future__ import annotations

from typing import Any

from gpt_agent_sync.decisions import outputs, runs, verbs
from gpt_agent_sync.decisions.state import DecisionContext, Phase, Progress, Step, Transition
from gpt_agent_sync.records import Message, Posted, RunOptions, RunSnapshot, ToolCall, UserMessage
from gpt_agent_sync.settings import Settings

SETTINGS = Settings(heartbeat_interval=1.0, rate_limit_retries=2, rate_limit_delay=30.0)
OPTIONS = RunOptions()
HELLO = UserMessage(content="hello")


def context(now: float = 100.0) -> DecisionContext:
    """Return the circumstances at a time."""
    return DecisionContext(now=now, settings=SETTINGS)


def fresh(assistant_id: str | None = "asst_1") -> Progress:
    """Return the progress of an agent that has done nothing yet."""
    return Progress(thread_id="thread_1", default_assistant=assistant_id)


def posting(progress: Progress | None = None, *, is_awaited: bool = False) -> Progress:
    """Return the progress of a turn whose message is being posted."""
    given = fresh() if progress is None else progress
    return verbs.reserve_turn(given, HELLO, OPTIONS, context(), is_awaited=is_awaited).progress


def starting(progress: Progress | None = None, *, is_awaited: bool = False) -> Progress:
    """Return the progress of a turn whose run is being started."""
    given = posting(progress, is_awaited=is_awaited)
    return verbs.message_posted(given, given.turns_begun, Posted(message_id="msg_1")).progress


def seen(
    progress: Progress,
    status: str,
    *,
    origin: Phase | None = None,
    now: float = 100.0,
    **facts: Any,
) -> Transition:
    """Return the transition after a snapshot of the turn's run."""
    assert progress.turn is not None
    given = {"id": "run_1", "assistant_id": "asst_1", **facts}
    return runs.feed_update(
        progress,
        progress.turn.number,
        progress.turn.phase if origin is None else origin,
        RunSnapshot(status=status, **given),
        context(now),
    )


def following(progress: Progress | None = None) -> Progress:
    """Return the progress of a turn whose run is followed."""
    return seen(starting(progress), "in_progress").progress


def calls(*ids: str, arguments: str = "{}") -> tuple[ToolCall, ...]:
    """Return calls of the tool ``add``."""
    return tuple(ToolCall(id=call_id, name="add", arguments=arguments) for call_id in ids)


def awaiting(*ids: str) -> Progress:
    """Return the progress of a turn whose run waits for the outputs of these calls."""
    return seen(following(), "requires_action", tool_calls=calls(*ids)).progress


def submitting(*ids: str) -> Progress:
    """Return the progress of a turn whose outputs are being sent."""
    progress = awaiting(*ids)
    for call_id in ids:
        progress = outputs.record_output(progress, call_id, "1").progress
    return progress


def message(message_id: str, text: str = "hi", role: str = "assistant") -> Message:
    """Return a message of the run."""
    return Message(id=message_id, role=role, run_id="run_1", assistant_id="asst_1", content=text)


def names(steps: tuple[Step, ...]) -> list[str]:
    """Return the names of the steps' classes."""
    return [type(step).__name__ for step in steps]
