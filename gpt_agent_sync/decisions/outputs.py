"""Tool calls and their outputs: recorded one by one, submitted once every call has one."""

from __future__ import annotations

import json
from typing import Any

import attrs

from gpt_agent_sync.decisions.state import (
    CallTools,
    Phase,
    Progress,
    Step,
    SubmitOutputs,
    Transition,
    Turn,
)
from gpt_agent_sync.decisions.verbs import require_alive
from gpt_agent_sync.errors import InvalidToolCallIdError, RunNotInProgressError
from gpt_agent_sync.events import (
    Event,
    ToolCallFailed,
    ToolCallInterrupted,
    ToolCallOutputRecorded,
    ToolCallRequested,
)
from gpt_agent_sync.records import ToolCall

SHORT_OUTPUT = 1000
"""Bytes: a shorter output is not what a service refuses as too long."""


def await_outputs(progress: Progress, turn: Turn, wanted: tuple[ToolCall, ...]) -> Transition:
    """Return the transition of a turn whose run waits for the outputs of these calls.

    Calls that the turn did not know are announced, and made if the agent handles tools.
    """
    ids = {call.id for call in wanted}
    kept = tuple(call for call in turn.tool_calls if call.id in ids)
    outputs = tuple(output for output in turn.tool_outputs if output.id in ids)
    known = {call.id for call in kept} | {output.id for output in outputs}
    fresh = tuple(
        _requested(progress.thread_id, turn.run_id or "", call)
        for call in wanted
        if call.id not in known
    )
    turn = attrs.evolve(
        turn,
        phase=Phase.AWAITING_OUTPUTS,
        call_order=tuple(call.id for call in wanted),
        tool_calls=(*kept, *fresh),
        tool_outputs=outputs,
        submitted=frozenset(),
        unknown_since=None,
    )
    # All calls of a round are announced before any output: programs rely on that order.
    steps: list[Step] = list(fresh)
    if progress.handles_tools:
        turn, handled = _handle(turn, fresh)
        steps.extend(handled)
    if not fresh:
        # Another process may have answered the calls that we still waited for.
        turn, submission = _submit_if_complete(turn)
        steps.extend(submission)
    return Transition(progress=attrs.evolve(progress, turn=turn), steps=tuple(steps))


def _handle(turn: Turn, calls: tuple[ToolCallRequested, ...]) -> tuple[Turn, tuple[Step, ...]]:
    """Return the turn, and the steps that make calls; bad arguments are answered with an error."""
    steps: list[Step] = []
    for call in calls:
        if isinstance(call.arguments, str):
            problem = f"the arguments are not a JSON object: {call.arguments[:200]}"
            turn, recorded = _record(turn, call, error_output(problem), problem)
            steps.extend(recorded)
    callable_calls = tuple(call for call in calls if isinstance(call.arguments, dict))
    if callable_calls:
        steps.append(CallTools(turn=turn.number, calls=callable_calls))
    return turn, tuple(steps)


def handle_waiting(turn: Turn) -> tuple[Turn, tuple[Step, ...]]:
    """Return a turn whose calls were told before, and the steps that make them."""
    return _handle(turn, turn.tool_calls)


def handle_tools(progress: Progress) -> Transition:
    """Have an agent that only told of calls make them from now on, those that wait included.

    Raises:
        AgentNotAliveError: If the agent has stopped.
    """
    require_alive(progress)
    if progress.handles_tools:
        return Transition(progress=progress)
    turn, steps = progress.turn, tuple[Step, ...]()
    if turn is not None:
        turn, steps = _handle(turn, turn.tool_calls)
    return Transition(progress=attrs.evolve(progress, handles_tools=True, turn=turn), steps=steps)


def _requested(thread_id: str, run_id: str, call: ToolCall) -> ToolCallRequested:
    return ToolCallRequested(
        thread_id=thread_id,
        id=call.id,
        run_id=run_id,
        name=call.name,
        arguments=read_arguments(call.arguments),
    )


def read_arguments(text: str) -> dict[str, Any] | str:
    """Return a call's arguments; the text itself when it is not a JSON object.

    Models write nothing, or ``null``, for a tool without parameters.
    """
    if not text.strip():
        return {}
    try:
        value = json.loads(text)
    # Nested deep enough, JSON ends in a RecursionError: it costs the call, not the agent.
    except (ValueError, RecursionError):
        return text
    if value is None:
        return {}
    return value if isinstance(value, dict) else text


def record_output(
    progress: Progress,
    tool_call_id: str,
    output: str,
    *,
    failure: str | None = None,
    code: str | None = None,
    request: ToolCallRequested | None = None,
) -> Transition:
    """Record a call's output, and have all submitted when it was the last one.

    Args:
        progress: The agent's progress.
        tool_call_id: The call.
        output: The text for the model.
        failure: Why the handler could not answer, when ``output`` is an error for the model.
        code: What kind of failure it is.
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
    call = _waiting_call(turn, tool_call_id)
    # Local models use an id again for another call. A handler that was given up on would answer
    # that one, so it must name the very call that it was made for.
    if request is not None and request is not call:
        raise InvalidToolCallIdError(tool_call_id, [call.id for call in turn.tool_calls])
    turn, steps = _record(turn, call, output, failure, code)
    return Transition(progress=attrs.evolve(progress, turn=turn), steps=steps)


def _waiting_call(turn: Turn, tool_call_id: str) -> ToolCallRequested:
    for call in turn.tool_calls:
        if call.id == tool_call_id:
            return call
    raise InvalidToolCallIdError(tool_call_id, [call.id for call in turn.tool_calls])


def call_interrupted(progress: Progress, request: ToolCallRequested, attempt: int) -> Transition:
    """Tell that a call was begun before and not finished, if it still waits."""
    turn = progress.turn
    if turn is None or not any(call is request for call in turn.tool_calls):
        return Transition(progress=progress)
    told = ToolCallInterrupted(
        thread_id=request.thread_id,
        id=request.id,
        run_id=request.run_id,
        name=request.name,
        arguments=request.arguments,
        attempt=attempt,
    )
    return Transition(progress=progress, steps=(told,))


def rerun_call(progress: Progress, tool_call_id: str) -> Transition:
    """Have the handler of a call called that was interrupted.

    Raises:
        AgentNotAliveError: If the agent has stopped.
        RunNotInProgressError: If no run is active.
        InvalidToolCallIdError: If the run waits for no such call.
    """
    require_alive(progress)
    turn = progress.turn
    if turn is None:
        raise RunNotInProgressError(progress.thread_id)
    call = _waiting_call(turn, tool_call_id)
    return Transition(
        progress=progress, steps=(CallTools(turn=turn.number, calls=(call,), rerun=True),)
    )


def _record(
    turn: Turn,
    call: ToolCallRequested,
    output: str,
    failure: str | None,
    code: str | None = None,
) -> tuple[Turn, tuple[Step, ...]]:
    """Return the turn with the output recorded, and the steps that follow from it."""
    output = _encodable(output)
    events: list[Event] = []
    if failure is not None:
        failed = ToolCallFailed(
            thread_id=call.thread_id,
            id=call.id,
            run_id=call.run_id,
            name=call.name,
            message=_encodable(failure),
            code=code,
        )
        events.append(failed)
    recorded = ToolCallOutputRecorded(
        thread_id=call.thread_id, id=call.id, run_id=call.run_id, name=call.name, output=output
    )
    events.append(recorded)
    calls = tuple(other for other in turn.tool_calls if other.id != call.id)
    turn = attrs.evolve(turn, tool_calls=calls, tool_outputs=(*turn.tool_outputs, recorded))
    turn, submission = _submit_if_complete(turn)
    return turn, (*events, *submission)


def _submit_if_complete(turn: Turn) -> tuple[Turn, tuple[Step, ...]]:
    """Return the turn, and the step that submits its outputs if every call has one."""
    if turn.tool_calls:
        return turn, ()
    # Handlers end in any order. The outputs become items of the conversation, and the model is to
    # read it the same way however long each handler took.
    outputs = sorted(turn.tool_outputs, key=lambda output: turn.call_order.index(output.id))
    turn = attrs.evolve(turn, phase=Phase.SUBMITTING, tool_outputs=tuple(outputs))
    return turn, (SubmitOutputs(turn=turn.number, outputs=turn.tool_outputs),)


def shorten_outputs(progress: Progress, turn: Turn, limit: int, refusal: str) -> Transition | None:
    """Put an error in the place of outputs that the service refuses as too long.

    Args:
        progress: The agent's progress.
        turn: Its turn, whose outputs were refused.
        limit: The most bytes that the service takes, by its own account.
        refusal: Its words, for one that takes less.

    Returns:
        The transition that submits them anew; ``None`` if none of them is long.
    """
    sizes = {output.id: len(output.output.encode()) for output in turn.tool_outputs}
    longest = max(sizes.values())
    if longest <= SHORT_OUTPUT:
        return None
    most = min(limit, longest - 1)
    bound = f"at most {limit}" if longest > limit else refusal
    events, outputs = [], []
    for output in turn.tool_outputs:
        if sizes[output.id] > most:
            problem = (
                f"the output has {sizes[output.id]} bytes, more than the service takes: {bound}"
            )
            events.append(
                ToolCallFailed(
                    thread_id=output.thread_id,
                    id=output.id,
                    run_id=output.run_id,
                    name=output.name,
                    message=problem,
                    code="output_too_long",
                )
            )
            output = attrs.evolve(output, output=error_output(problem))
        outputs.append(output)
    turn = attrs.evolve(turn, tool_outputs=tuple(outputs))
    again = SubmitOutputs(turn=turn.number, outputs=turn.tool_outputs)
    return Transition(progress=attrs.evolve(progress, turn=turn), steps=(*events, again))


def _encodable(text: str) -> str:
    """Return a text without lone surrogates, which services refuse with all that comes with it.

    They come from file names that are not UTF-8, and out of JSON that a model wrote.
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def error_output(message: str) -> str:
    """Return the JSON text that informs the model of a failed call."""
    return json.dumps({"error": message}, ensure_ascii=False)
