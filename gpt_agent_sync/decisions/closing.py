"""How a turn begins and ends: the queue, the closing event, the assistant's messages."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from gpt_agent_sync.decisions.state import (
    CancelRun,
    DecisionContext,
    ForgetMessage,
    Outcome,
    Phase,
    PostMessage,
    Progress,
    SettleTurn,
    Step,
    Transition,
    Turn,
)
from gpt_agent_sync.events import AssistantMessageAdded, ClosingEvent, RunFailed
from gpt_agent_sync.records import Message, RunOptions, RunSnapshot, UserMessage


def new_turn(
    progress: Progress,
    message: UserMessage | None,
    options: RunOptions,
    context: DecisionContext,
    *,
    assistant_id: str | None = None,
    is_awaited: bool = False,
    key: str | None = None,
) -> Progress:
    """Return the progress with a turn for ``message``, which is yet to be posted, or for none."""
    number = progress.turns_begun + 1
    turn = Turn(
        number=number,
        phase=Phase.STARTING if message is None else Phase.POSTING,
        began_at=context.now,
        assistant_id=assistant_id or progress.default_assistant,
        message=message,
        options=options,
        retries_left=context.settings.rate_limit_retries,
        key=key,
    )
    awaited = progress.awaited | {number} if is_awaited else progress.awaited
    return attrs.evolve(progress, turn=turn, turns_begun=number, awaited=awaited)


def next_turn(progress: Progress, context: DecisionContext) -> Transition:
    """Begin the turn of the oldest queued message, if there is one."""
    if not progress.queue:
        return Transition(progress=progress)
    queued, *rest = progress.queue
    progress = attrs.evolve(progress, queue=tuple(rest))
    progress = new_turn(
        progress,
        queued.message,
        queued.options,
        context,
        assistant_id=progress.default_assistant or queued.assistant_id,
        key=queued.key,
    )
    return Transition(progress=progress, steps=(PostMessage(turn=progress.turns_begun),))


def with_found_run(progress: Progress, run: RunSnapshot, context: DecisionContext) -> Progress:
    """Return the progress with a turn for a run that was found in progress."""
    # RunStarted was announced by whoever started it, and is not again.
    number = progress.turns_begun + 1
    turn = Turn(
        number=number,
        phase=Phase.FOLLOWING,
        began_at=context.now,
        assistant_id=run.assistant_id or progress.default_assistant,
        run_id=run.id,
        run_status=run.status,
        messages_known=False,
        run_since=context.now,
        retries_left=context.settings.rate_limit_retries,
    )
    return attrs.evolve(progress, turn=turn, turns_begun=number)


def forget(turn: Turn) -> tuple[ForgetMessage, ...]:
    """Return the removal of a turn's message from the journal, if it is kept there."""
    return () if turn.key is None else (ForgetMessage(turn=turn.number, key=turn.key),)


def end_turn(
    progress: Progress,
    closing: ClosingEvent,
    context: DecisionContext,
    *,
    before: Iterable[Step] = (),
) -> Transition:
    """End the turn: ``before``, the closing event, the held messages, then the next turn."""
    turn = progress.turn
    assert turn is not None
    announcement = announce_messages(progress, turn.messages)
    outcome = None
    if turn.number in progress.awaited:
        texts = tuple(event.content for event in announcement.events if event.content)
        outcome = Outcome(turn=turn.number, closing=closing, texts=texts)
    ended = attrs.evolve(
        announcement.progress,
        turn=None,
        last_run_id=turn.run_id,
        told_runs=with_told_run(progress, turn.run_id),
        last_run_status=_final_status(turn, closing),
        last_closing=closing,
    )
    # The outcome goes to its caller only when the worker has delivered what stands before it.
    settle = SettleTurn(turn=turn.number, outcome=outcome)
    following = next_turn(ended, context)
    return Transition(
        progress=following.progress,
        steps=(*forget(turn), *before, closing, *announcement.events, settle, *following.steps),
    )


TOLD_RUNS = 8
"""How many runs are remembered whose end was told: of one second, they may be listed anyhow."""


def with_told_run(progress: Progress, run_id: str | None) -> tuple[str, ...]:
    """Return the runs whose end was told, with one more."""
    return progress.told_runs if run_id is None else (*progress.told_runs, run_id)[-TOLD_RUNS:]


def _final_status(turn: Turn, closing: ClosingEvent) -> str | None:
    return closing.status if isinstance(closing, RunFailed) else turn.run_status


def failure(
    progress: Progress,
    turn: Turn,
    run_id: str | None,
    *,
    code: str | None,
    message: str | None,
    status: str = "failed",
    in_doubt: bool = False,
) -> RunFailed:
    """Return the closing event of a turn that did not complete."""
    return RunFailed(
        thread_id=progress.thread_id,
        id=run_id,
        assistant_id=turn.assistant_id,
        status=status,
        code=code,
        message=message,
        in_doubt=in_doubt,
    )


def fail_turn(
    progress: Progress,
    context: DecisionContext,
    *,
    code: str | None,
    message: str,
    status: str = "failed",
    before: Iterable[Step] = (),
    cancel: bool = False,
) -> Transition:
    """End the turn as failed for a reason of our own; ``cancel`` has its run cancelled too."""
    turn = progress.turn
    assert turn is not None
    closing = failure(progress, turn, turn.run_id, code=code, message=message, status=status)
    steps = list(before)
    if cancel and turn.run_id is not None:
        steps.append(CancelRun(turn=turn.number, run_id=turn.run_id))
    return end_turn(progress, closing, context, before=steps)


@attrs.frozen(kw_only=True)
class Announcement:
    """The events that announce messages.

    Attributes:
        progress: The progress after them.
        events: The events.
    """

    progress: Progress
    events: tuple[AssistantMessageAdded, ...]


def announce_messages(progress: Progress, messages: Iterable[Message]) -> Announcement:
    """Announce the assistant's messages among ``messages`` that were not announced before."""
    events = []
    # A run whose stream broke off is read again from its start, messages included.
    seen = set(progress.announced)
    last_message_id = progress.last_message_id
    # Some servers name neither run nor assistant; then those of the turn are meant.
    turn = progress.turn
    for message in messages:
        if message.id in seen:
            continue
        seen.add(message.id)
        last_message_id = message.id
        if message.role == "assistant":
            events.append(
                AssistantMessageAdded(
                    thread_id=progress.thread_id,
                    message_id=message.id,
                    run_id=message.run_id or (turn.run_id if turn else None),
                    assistant_id=message.assistant_id or (turn.assistant_id if turn else None),
                    content=message.content,
                    parts=message.parts,
                )
            )
    # Only the last run's ids are kept: an agent may live for thousands of runs.
    announced = frozenset(event.message_id for event in events) or progress.announced
    return Announcement(
        progress=attrs.evolve(progress, last_message_id=last_message_id, announced=announced),
        events=tuple(events),
    )
