"""What the program asks for: messages, cancelling, polling at once, stopping."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from gpt_agent_sync.decisions.bounds import is_dead
from gpt_agent_sync.decisions.closing import (
    announce_messages,
    end_turn,
    forget,
    new_turn,
    next_turn,
    with_found_run,
)
from gpt_agent_sync.decisions.state import (
    Action,
    CancelRun,
    DecisionContext,
    FollowRun,
    Outcome,
    Phase,
    Progress,
    QueuedMessage,
    RemoteTurn,
    SettleTurn,
    StartRun,
    Step,
    Transition,
    Turn,
)
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    AssistantNotSetError,
    RunInProgressError,
    RunNotInProgressError,
)
from gpt_agent_sync.events import (
    AgentStopped,
    RunCancelled,
    UserMessageAdded,
)
from gpt_agent_sync.records import Message, Posted, RunOptions, RunSnapshot, UserMessage


def begin(
    thread_id: str,
    default_assistant: str | None,
    *,
    live_run: RunSnapshot | None,
    missed: Iterable[Message],
    last_message_id: str | None,
    context: DecisionContext,
    handles_tools: bool = True,
    remote: RemoteTurn | None = None,
    cursor: str = "",
) -> Transition:
    """Return an agent's first progress: missed messages announced, a live run followed.

    Args:
        thread_id: The conversation.
        default_assistant: The assistant of the next run.
        live_run: The thread's newest run, if it is in progress.
        missed: The messages after ``last_message_id``, oldest first.
        last_message_id: The newest message that the program has seen.
        context: The circumstances.
        handles_tools: Whether handlers are called.
        remote: The turn of another process.
        cursor: What has been heard of other processes.
    """
    progress = Progress(
        thread_id=thread_id,
        default_assistant=default_assistant,
        handles_tools=handles_tools,
        last_message_id=last_message_id,
        remote=remote,
        cursor=cursor,
    )
    dead: tuple[CancelRun, ...] = ()
    if live_run is not None and is_dead(live_run):
        # Followed, it would hold up every new agent of the thread anew.
        dead, live_run = (CancelRun(turn=0, run_id=live_run.id),), None
    unfinished = live_run
    if remote is not None and remote.run_id is not None and remote.closing is None:
        unfinished = RunSnapshot(id=remote.run_id, status="in_progress")
    announcement = announce_messages(progress, finished_messages(tuple(missed), unfinished))
    for event in announcement.events:
        # They are told here alone; others were told when they came.
        if cursor:
            event._take_place(cursor)
    if live_run is None:
        waiting = remote.tool_calls if remote is not None else ()
        steps: tuple[Step, ...] = (*announcement.events, *waiting, *dead)
        return Transition(progress=announcement.progress, steps=steps)
    return Transition(
        progress=with_found_run(announcement.progress, live_run, context),
        steps=(*announcement.events, FollowRun(turn=1)),
    )


def finished_messages(missed: tuple[Message, ...], live_run: RunSnapshot | None) -> list[Message]:
    """Return the messages without those that a live run may still be writing."""
    if live_run is None:
        return list(missed)
    # Some servers list an empty message of a live run that is filled in later, and some do not say
    # which run a message is of: then it is the live one's if it comes after the last question.
    questions = [place for place, message in enumerate(missed) if message.role == "user"]
    last = questions[-1] if questions else -1
    return [
        message
        for place, message in enumerate(missed)
        if (message.run_id != live_run.id if message.run_id else place <= last)
    ]


def require_alive(progress: Progress) -> None:
    """Check that the agent has not stopped.

    Raises:
        AgentNotAliveError: If it has.
    """
    if progress.stopped is not None:
        raise AgentNotAliveError(progress.thread_id)


def touch(progress: Progress) -> Transition:
    """Change nothing; that the decision is made counts as activity, for the idle timeout."""
    require_alive(progress)
    return Transition(progress=progress)


def again(progress: Progress, action: Action) -> Transition:
    """Have an action performed again that could not be."""
    return Transition(progress=progress, steps=(action,) if progress.stopped is None else ())


def set_assistant(progress: Progress, assistant_id: str) -> Transition:
    """Make ``assistant_id`` the assistant of the next run."""
    require_alive(progress)
    return Transition(progress=attrs.evolve(progress, default_assistant=assistant_id))


def is_busy(progress: Progress) -> bool:
    """Return whether a message would have to wait."""
    waiting = progress.queue or progress.pending
    return progress.turn is not None or progress.remote is not None or bool(waiting)


def reserve_turn(
    progress: Progress,
    message: UserMessage,
    options: RunOptions,
    context: DecisionContext,
    *,
    is_awaited: bool = False,
    key: str | None = None,
) -> Transition:
    """Begin a turn whose message the caller posts; the result is the turn.

    Raises:
        AgentNotAliveError: If the agent has stopped.
        RunInProgressError: If a turn is in progress.
        AssistantNotSetError: If there is no assistant to run.
    """
    _require_assistant(progress, progress.default_assistant)
    _require_free(progress)
    begun = new_turn(progress, message, options, context, is_awaited=is_awaited, key=key)
    return Transition(progress=begun, result=begun.turn)


def reserve_run(
    progress: Progress, assistant_id: str | None, options: RunOptions, context: DecisionContext
) -> Transition:
    """Begin a turn without a message, whose run the worker starts.

    Args:
        progress: The agent's progress.
        assistant_id: The assistant of this run alone; ``None`` for the agent's.
        options: What the run does differently.
        context: The circumstances.

    Raises:
        AgentNotAliveError: If the agent has stopped.
        RunInProgressError: If a turn is in progress.
        AssistantNotSetError: If there is no assistant to run.
    """
    _require_assistant(progress, assistant_id or progress.default_assistant)
    _require_free(progress)
    begun = new_turn(progress, None, options, context, assistant_id=assistant_id)
    return Transition(progress=begun, steps=(StartRun(turn=begun.turns_begun),))


def _require_assistant(progress: Progress, assistant_id: str | None) -> None:
    require_alive(progress)
    if assistant_id is None:
        raise AssistantNotSetError(progress.thread_id)


def _require_free(progress: Progress) -> None:
    if is_busy(progress):
        turn = progress.turn or progress.remote
        raise RunInProgressError(progress.thread_id, turn.run_id if turn else None)


def queue_message(
    progress: Progress,
    message: UserMessage,
    options: RunOptions,
    context: DecisionContext,
    key: str | None = None,
) -> Transition:
    """Queue the message; the result is ``None``, or the turn when there is no need to wait.

    Raises:
        AgentNotAliveError: If the agent has stopped.
        AssistantNotSetError: If there is no assistant to run.
    """
    _require_assistant(progress, progress.default_assistant)
    if not is_busy(progress):
        return reserve_turn(progress, message, options, context, key=key)
    queued = QueuedMessage(message=message, options=options, key=key)
    return Transition(progress=attrs.evolve(progress, queue=(*progress.queue, queued)))


def current_turn(progress: Progress, number: int) -> Turn | None:
    """Return the turn in progress if it is the one with this number."""
    turn = progress.turn
    return turn if turn is not None and turn.number == number else None


def claim_turn(progress: Progress, number: int) -> Transition:
    """Claim the turn for a request that is made now; the result is the turn if it is current."""
    turn = current_turn(progress, number)
    if turn is None or not turn.start_delayed:
        return Transition(progress=progress, result=turn)
    turn = attrs.evolve(turn, start_delayed=False)
    return Transition(progress=attrs.evolve(progress, turn=turn), result=turn)


def message_posted(progress: Progress, number: int, posted: Posted) -> Transition:
    """Note that the service has the turn's message, and have its run started.

    The result is whether that was done: the agent may have stopped meanwhile.
    """
    turn = current_turn(progress, number)
    if turn is None or turn.message is None:
        return Transition(progress=progress)
    added = UserMessageAdded(
        thread_id=progress.thread_id, id=posted.message_id, content=turn.message.content
    )
    heard = progress.heard
    closing = heard.closing if heard is not None else None
    if heard is not None and closing is not None and closing.id == posted.run_id is not None:
        # While this process was held up another one has followed the run to its end.
        outcome = Outcome(turn=number, closing=closing, texts=heard.reply)
        return Transition(
            progress=attrs.evolve(progress, turn=None),
            steps=(*forget(turn), added, SettleTurn(turn=number, outcome=outcome)),
            result=True,
        )
    started = attrs.evolve(turn, phase=Phase.STARTING, posted=posted)
    return Transition(
        progress=attrs.evolve(progress, turn=started, last_message_id=posted.message_id),
        steps=(added, StartRun(turn=number)),
        result=True,
    )


def message_refused(progress: Progress, number: int, context: DecisionContext) -> Transition:
    """Undo the reservation of a turn whose post failed, and begin the next one.

    The result is whether its message is not posted: Ctrl-C may strike after that, and the turn then
    goes on, though nobody waits for it.
    """
    turn = current_turn(progress, number)
    unawaited = progress
    if number in progress.awaited:
        unawaited = attrs.evolve(progress, awaited=progress.awaited - {number})
    if turn is None:
        return Transition(progress=unawaited, result=True)
    if turn.phase is not Phase.POSTING:
        return Transition(progress=unawaited, result=False)
    following = next_turn(attrs.evolve(unawaited, turn=None), context)
    return attrs.evolve(following, result=True)


def request_cancel(progress: Progress, context: DecisionContext) -> Transition:
    """Decide how to cancel; the result is the run's id if the caller is to ask the service.

    A run whose id is not known yet is cancelled as soon as it is; a start that is delayed is
    dropped at once.

    Raises:
        AgentNotAliveError: If the agent has stopped.
        RunNotInProgressError: If no run is active.
    """
    require_alive(progress)
    turn = progress.turn
    if turn is None:
        raise RunNotInProgressError(progress.thread_id)
    # There is no run that the service could cancel, and the delay may be a long one.
    if turn.start_delayed:
        cancelled = RunCancelled(
            thread_id=progress.thread_id, id=turn.run_id, assistant_id=turn.assistant_id
        )
        return end_turn(progress, cancelled, context)
    if turn.phase in (Phase.POSTING, Phase.STARTING):
        marked = attrs.evolve(turn, cancel_requested=True)
        return Transition(progress=attrs.evolve(progress, turn=marked))
    return Transition(progress=progress, result=turn.run_id)


def poll_now(progress: Progress, run_id: str | None = None) -> Transition:
    """Have a run polled that waits for outputs, as it may expire or be cancelled meanwhile.

    Args:
        progress: The agent's progress.
        run_id: Only if this is the run; ``None`` for whichever there is.

    Returns:
        The transition; its result is the number of the run's turn while that is in progress.
    """
    turn = progress.turn
    if turn is None or run_id not in (None, turn.run_id):
        return Transition(progress=progress)
    if turn.phase is not Phase.AWAITING_OUTPUTS:
        return Transition(progress=progress, result=turn.number)
    return Transition(progress=progress, steps=(FollowRun(turn=turn.number),), result=turn.number)


def settle_turn(progress: Progress, outcome: Outcome | None) -> Transition:
    """Keep the outcome of a turn whose events are delivered, if a caller still waits for it."""
    if outcome is None or outcome.turn not in progress.awaited:
        return Transition(progress=progress)
    return Transition(progress=attrs.evolve(progress, outcomes=(*progress.outcomes, outcome)))


def take_outcome(progress: Progress, number: int) -> Transition:
    """Hand over a turn's outcome as the result, ``None`` when there is none.

    Either way nobody waits for it any more.
    """
    wanted = next((outcome for outcome in progress.outcomes if outcome.turn == number), None)
    return Transition(
        progress=attrs.evolve(
            progress,
            awaited=progress.awaited - {number},
            outcomes=tuple(outcome for outcome in progress.outcomes if outcome is not wanted),
        ),
        result=wanted,
    )


def stop(progress: Progress, reason: str, *, only_if_idle: bool = False) -> Transition:
    """Stop the agent: ``AgentStopped`` is its last event. The run stays with the service.

    Args:
        progress: The agent's progress.
        reason: ``"shutdown"``, ``"idle"`` or ``"error"``.
        only_if_idle: Whether to do nothing if a turn is in progress.
    """
    # Queued messages count: they were promised a run.
    busy = is_busy(progress)
    if progress.stopped is not None or (only_if_idle and busy):
        return Transition(progress=progress)
    turn = progress.turn
    stopped = attrs.evolve(
        progress,
        stopped=reason,
        interrupted=busy,
        turn=None,
        queue=(),
        last_run_id=turn.run_id if turn else progress.last_run_id,
        last_run_status=turn.run_status if turn else progress.last_run_status,
    )
    return Transition(
        progress=stopped, steps=(AgentStopped(thread_id=progress.thread_id, reason=reason),)
    )
