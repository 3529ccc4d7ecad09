"""Tool outputs: recorded one by one, and submitted together once every call has one."""

from __future__ import annotations

import json

import attrs

from gpt_agent_sync.decisions.state import Phase, Progress, Step, SubmitOutputs, Transition, Turn
from gpt_agent_sync.decisions.verbs import require_alive
from gpt_agent_sync.errors import InvalidToolCallIdError, RunNotInProgressError
from gpt_agent_sync.events import (
    Event,
    ToolCallFailed,
    ToolCallOutputRecorded,
    ToolCallRequested,
)


def record_output(
    progress: Progress,
    tool_call_id: str,
    output: str,
    *,
    failure: str | None = None,
    request: ToolCallRequested | None = None,
) -> Transition:
    """Record a call's output, and have all submitted when it was the last one.

    Args:
        progress: The agent's progress.
        tool_call_id: The call.
        output: The text for the model.
        failure: Why the handler could not answer, when ``output`` is an error for the model.
        request: The call that a handler answers; ``None`` for the one that has the id now.

    Raises:
        AgentNotAliveError: If the agent has stopped.
        RunNotInProgressError: If no run is active.
        InvalidToolCallIdError: If the run waits for no such call.
    """
    require_alive(progress)
    turn = progress.turn
    if turn is None:
        raise RunNotInProgressError(progress.thread_id)
    call = next((call for call in turn.tool_calls if call.id == tool_call_id), None)
    # Local models use an id again for another call. A handler that was given up on would answer
    # that one, so it must name the very call that it was made for.
    if call is None or (request is not None and request is not call):
        raise InvalidToolCallIdError(tool_call_id, [call.id for call in turn.tool_calls])
    turn, steps = record(turn, call, output, failure)
    return Transition(progress=attrs.evolve(progress, turn=turn), steps=steps)


def record(
    turn: Turn, call: ToolCallRequested, output: str, failure: str | None
) -> tuple[Turn, tuple[Step, ...]]:
    """Return the turn with the output recorded, and the steps that follow from it."""
    events: list[Event] = []
    if failure is not None:
        failed = ToolCallFailed(
            thread_id=call.thread_id,
            id=call.id,
            run_id=call.run_id,
            name=call.name,
            message=failure,
        )
        events.append(failed)
    recorded = ToolCallOutputRecorded(
        thread_id=call.thread_id, id=call.id, run_id=call.run_id, name=call.name, output=output
    )
    events.append(recorded)
    calls = tuple(other for other in turn.tool_calls if other.id != call.id)
    turn = attrs.evolve(turn, tool_calls=calls, tool_outputs=(*turn.tool_outputs, recorded))
    turn, submission = submit_if_complete(turn)
    return turn, (*events, *submission)


def submit_if_complete(turn: Turn) -> tuple[Turn, tuple[Step, ...]]:
    """Return the turn, and the step that submits its outputs if every call has one."""
    if turn.tool_calls:
        return turn, ()
    # Handlers end in any order. The outputs become items of the conversation, and the model is to
    # read it the same way however long each handler took.
    outputs = sorted(turn.tool_outputs, key=lambda output: turn.call_order.index(output.id))
    turn = attrs.evolve(turn, phase=Phase.SUBMITTING, tool_outputs=tuple(outputs))
    return turn, (SubmitOutputs(turn=turn.number, outputs=turn.tool_outputs),)


def error_output(message: str) -> str:
    """Return the JSON text that informs the model of a failed call."""
    return json.dumps({"error": message}, ensure_ascii=False)
