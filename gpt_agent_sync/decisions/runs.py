"""Snapshots, deltas and messages of a run, and feeds that end."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from gpt_agent_sync.decisions import bounds
from gpt_agent_sync.decisions.closing import end_turn, fail_turn, failure, forget
from gpt_agent_sync.decisions.failures import run_failed
from gpt_agent_sync.decisions.outputs import await_outputs
from gpt_agent_sync.decisions.state import (
    CancelRun,
    DecisionContext,
    FollowRun,
    Phase,
    Progress,
    Step,
    SubmitOutputs,
    Transition,
    Turn,
)
from gpt_agent_sync.decisions.verbs import current_turn
from gpt_agent_sync.events import (
    AssistantMessageDelta,
    RunCancelled,
    RunCompleted,
    RunStarted,
)
from gpt_agent_sync.records import Message, RunSnapshot, TextDelta

UNKNOWN_STATUS_PATIENCE = 600.0
"""Seconds a run may stay in a status without a known transition: the wire's expiry of a run."""


def feed_update(
    progress: Progress,
    number: int,
    origin: Phase,
    update: RunSnapshot | TextDelta | Message,
    context: DecisionContext,
) -> Transition:
    """Decide what follows from an update of a turn's run.

    Args:
        progress: The agent's progress.
        number: The number of the turn whose run the feed follows.
        origin: The phase of the turn when the feed was opened.
        update: What the feed yielded.
        context: The circumstances.
    """
    turn = current_turn(progress, number)
    if turn is None:
        return Transition(progress=progress)
    if isinstance(update, RunSnapshot):
        if _is_overtaken(turn, origin) and not update.is_final:
            # It was read before the submission, and still shows the calls that this answers.
            return Transition(progress=progress)
        return _snapshot(progress, turn, update, context)
    if isinstance(update, Message):
        # Streams give messages before the run's end, polls after it: programs see one order.
        held = attrs.evolve(turn, messages=(*turn.messages, update))
        return Transition(progress=attrs.evolve(progress, turn=held))
    delta = AssistantMessageDelta(
        thread_id=progress.thread_id,
        message_id=update.message_id,
        run_id=turn.run_id or "",
        text=update.text,
    )
    return Transition(progress=progress, steps=(delta,))


def _is_overtaken(turn: Turn, origin: Phase) -> bool:
    return turn.phase is Phase.SUBMITTING and origin is not Phase.SUBMITTING


def feed_ended(
    progress: Progress,
    number: int,
    origin: Phase,
    context: DecisionContext,
    *,
    interrupted: bool = False,
) -> Transition:
    """Decide what follows from a feed that ended: what it was opened for is repeated if undone.

    Args:
        progress: The agent's progress.
        number: The number of the turn whose run the feed followed.
        origin: The phase of the turn when the feed was opened.
        context: The circumstances.
        interrupted: Whether we closed the feed ourselves, to poll at once.
    """
    turn = current_turn(progress, number)
    if turn is None:
        return Transition(progress=progress)
    if bounds.is_overdue(turn, context):
        return bounds.expire(progress, context)
    delay = 0.0 if interrupted else context.settings.heartbeat_interval
    if turn.phase is Phase.FOLLOWING:
        return Transition(progress=progress, steps=(FollowRun(turn=number, delay=delay),))
    if turn.phase is Phase.SUBMITTING and origin is Phase.SUBMITTING:
        # Submitting again is safe: a run that has the outputs refuses them and shows its status.
        again = SubmitOutputs(turn=number, outputs=turn.tool_outputs, delay=delay)
        return Transition(progress=progress, steps=(again,))
    if turn.phase is Phase.STARTING and origin is Phase.STARTING:
        # Starting again is not safe: the run may exist, and nobody knows its id.
        return fail_turn(
            progress, context, code="interrupted", message="the start of the run was interrupted"
        )
    return Transition(progress=progress)


def _snapshot(
    progress: Progress, turn: Turn, snapshot: RunSnapshot, context: DecisionContext
) -> Transition:
    steps: list[Step] = []
    starting = turn.phase is Phase.STARTING
    steps.extend(forget(turn))
    turn = bounds.with_clocks(turn, snapshot, context)
    if turn.phase is Phase.SUBMITTING:
        # The first snapshot after a submission: the service has the outputs.
        answered = frozenset(output.id for output in turn.tool_outputs)
        turn = attrs.evolve(turn, tool_outputs=(), submitted=answered, phase=Phase.FOLLOWING)
    turn = attrs.evolve(
        turn,
        # On the Responses wire each round is a response; the run keeps the id of the first.
        run_id=turn.run_id if not starting and turn.run_id else snapshot.id,
        run_status=snapshot.status,
        assistant_id=snapshot.assistant_id or turn.assistant_id,
        start_delayed=False,
        blocked_since=None,
        trouble_since=None,
        troubles=0,
        phase=Phase.FOLLOWING if starting else turn.phase,
        key=None,
    )
    if starting:
        steps.append(
            RunStarted(
                thread_id=progress.thread_id, id=turn.run_id or "", assistant_id=turn.assistant_id
            )
        )
        if turn.cancel_requested and not snapshot.is_final:
            # Nobody is asked for outputs any more. A stream may be silent after the cancel, so the
            # run is polled.
            steps.append(CancelRun(turn=turn.number, run_id=snapshot.id))
            steps.append(FollowRun(turn=turn.number))
            return Transition(progress=attrs.evolve(progress, turn=turn), steps=tuple(steps))
    progress = attrs.evolve(progress, turn=turn)
    if not snapshot.is_final and bounds.is_overdue(turn, context):
        decided = bounds.expire(progress, context)
    else:
        # Servers have statuses of their own, and new ones may come: not final, but bounded.
        decided = _BY_STATUS.get(snapshot.status, _unknown)(progress, turn, snapshot, context)
    return attrs.evolve(decided, steps=(*steps, *decided.steps))


def _in_progress(
    progress: Progress, turn: Turn, snapshot: RunSnapshot, context: DecisionContext
) -> Transition:
    # Most snapshots of a run say nothing new, and progress that is swapped wakes waiting callers.
    waited = turn.tool_calls or turn.tool_outputs or turn.submitted
    if turn.phase is Phase.FOLLOWING and not waited and turn.unknown_since is None:
        return Transition(progress=progress)
    turn = attrs.evolve(
        turn,
        phase=Phase.FOLLOWING,
        tool_calls=(),
        tool_outputs=(),
        submitted=frozenset(),
        unknown_since=None,
    )
    return Transition(progress=attrs.evolve(progress, turn=turn))


def _unknown(
    progress: Progress, turn: Turn, snapshot: RunSnapshot, context: DecisionContext
) -> Transition:
    since = context.now if turn.unknown_since is None else turn.unknown_since
    if context.now - since >= UNKNOWN_STATUS_PATIENCE:
        return fail_turn(
            progress,
            context,
            code="unknown_status",
            message=f"the run stayed in status {snapshot.status!r}, which leads nowhere known",
            cancel=True,
        )
    turn = attrs.evolve(turn, unknown_since=since)
    return Transition(progress=attrs.evolve(progress, turn=turn))


def _requires_action(
    progress: Progress, turn: Turn, snapshot: RunSnapshot, context: DecisionContext
) -> Transition:
    # Such as Azure's submit_tool_approval: a client that passes it over polls for ever.
    if snapshot.unsupported_action is not None:
        return fail_turn(
            progress,
            context,
            code="unsupported_required_action",
            message=f"the run asks for {snapshot.unsupported_action!r}, which is not supported",
            cancel=True,
        )
    # Self-hosted servers show an empty required_action after a submission.
    if not snapshot.tool_calls:
        return _unknown(progress, turn, snapshot, context)
    wanted = {call.id for call in snapshot.tool_calls}
    if turn.phase is Phase.FOLLOWING and wanted <= turn.submitted:
        # A replica that lags behind still shows the calls that were answered last.
        return _unknown(progress, turn, snapshot, context)
    known = {call.id for call in turn.tool_calls} | {output.id for output in turn.tool_outputs}
    # A poll that shows the same round again says nothing of the messages before it.
    seen_before = turn.phase is Phase.AWAITING_OUTPUTS and wanted <= known
    if not seen_before and not snapshot.messages_known:
        turn = attrs.evolve(turn, messages_known=False)
    return await_outputs(progress, turn, snapshot.tool_calls)


def _completed(
    progress: Progress, turn: Turn, snapshot: RunSnapshot, context: DecisionContext
) -> Transition:
    closing = RunCompleted(
        thread_id=progress.thread_id,
        id=turn.run_id or snapshot.id,
        assistant_id=turn.assistant_id,
        usage=snapshot.usage,
    )
    return end_turn(progress, closing, context)


def _cancelled(
    progress: Progress, turn: Turn, snapshot: RunSnapshot, context: DecisionContext
) -> Transition:
    closing = RunCancelled(
        thread_id=progress.thread_id, id=turn.run_id, assistant_id=turn.assistant_id
    )
    return end_turn(progress, closing, context)


def _ended_early(
    progress: Progress, turn: Turn, snapshot: RunSnapshot, context: DecisionContext
) -> Transition:
    closing = failure(
        progress,
        turn,
        turn.run_id,
        code=snapshot.error_code,
        message=snapshot.error_message,
        status=snapshot.status,
    )
    return end_turn(progress, closing, context)


_BY_STATUS: dict[str, Callable[[Progress, Turn, RunSnapshot, DecisionContext], Transition]] = {
    "queued": _in_progress,
    "in_progress": _in_progress,
    "cancelling": _in_progress,
    "requires_action": _requires_action,
    "completed": _completed,
    "cancelled": _cancelled,
    "expired": _ended_early,
    "incomplete": _ended_early,
    "failed": run_failed,
}
