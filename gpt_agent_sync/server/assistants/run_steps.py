"""The steps of a run: a message that it creates, or a round of tool calls; pure.

Shapes are those of OpenAI's published description.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt_agent_sync.server.storage.collection import Object, new_id

_TIMES = {
    "completed": "completed_at",
    "failed": "failed_at",
    "cancelled": "cancelled_at",
    "expired": "expired_at",
}

NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
"""What a step costs whose model's answer is counted with another one."""


def new_step(run: Object, details: Mapping[str, Any], now: int) -> Object:
    """Return a step in progress.

    Args:
        run: The run.
        details: What it does; ``type`` says which of the two.
        now: Unix time.
    """
    return {
        "id": new_id("step"),
        "object": "thread.run.step",
        "created_at": now,
        "run_id": run["id"],
        "assistant_id": run["assistant_id"],
        "thread_id": run["thread_id"],
        "type": details["type"],
        "status": "in_progress",
        "step_details": dict(details),
        "last_error": None,
        "expired_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "metadata": {},
        "usage": None,
    }


def message_step(run: Object, message_id: str, now: int) -> Object:
    """Return a step that creates a message."""
    details = {"type": "message_creation", "message_creation": {"message_id": message_id}}
    return new_step(run, details, now)


def calls_step(run: Object, now: int) -> Object:
    """Return a step of tool calls, which are added to it."""
    return new_step(run, {"type": "tool_calls", "tool_calls": []}, now)


def with_calls(step: Object, calls: Sequence[Mapping[str, Any]]) -> Object:
    """Return a step of tool calls with these, which have no outputs yet."""
    return _with_outputs(step, calls, {})


def answered(
    step: Object, calls: Sequence[Mapping[str, Any]], outputs: Mapping[str, str], now: int
) -> Object:
    """Return a step of tool calls completed with their outputs."""
    return ended(_with_outputs(step, calls, outputs), "completed", now)


def _with_outputs(
    step: Object, calls: Sequence[Mapping[str, Any]], outputs: Mapping[str, str]
) -> Object:
    shown = [
        {**call, "function": {**call["function"], "output": outputs.get(call["id"])}}
        for call in calls
    ]
    return {**step, "step_details": {"type": "tool_calls", "tool_calls": shown}}


def ended(
    step: Object,
    status: str,
    now: int,
    *,
    usage: Mapping[str, int] | None = None,
    error: Mapping[str, str] | None = None,
) -> Object:
    """Return a step in a final status.

    Args:
        step: The step.
        status: ``"completed"``, ``"failed"``, ``"cancelled"`` or ``"expired"``.
        now: Unix time.
        usage: The tokens of its model's answer; ``None`` leaves what is known of them.
        error: Why it failed.
    """
    spent = usage or step["usage"] or NO_USAGE
    return {
        **step,
        "status": status,
        _TIMES[status]: now,
        "usage": dict(spent),
        "last_error": error if status == "failed" else None,
    }
