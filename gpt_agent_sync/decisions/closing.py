"""How a turn ends: its closing event, its messages, and the next turn from the queue."""

from __future__ import annotations

from collections.abc import Iterable

import attrs

from gpt_agent_sync.decisions.state import (
    Action,
    CancelRun,
    Moment,
    Outcome,
    Phase,
    PostMessage,
    Progress,
    SettleTurn,
    Step,
    Transition,
    Turn,
)
from gpt_agent_sync.events import AssistantMessageAdded, ClosingEvent, Event, RunFailed
from gpt_agent_sync.records import Message, RunOptions, UserMessage


def new_turn(
    progress: Progress,
    message: UserMessage,
    options: RunOptions,
    moment: Moment,
    *,
    asked: bool = False,
) -> Progress:
    """Give the progress with a turn begun for ``message``, its post still to come."""
    number = progress.turns_begun + 1
    turn = Turn(
        number=number,
        phase=Phase.POSTING,
        began_at=moment.now,
        assistant_id=progress.default_assistant,
        message=message,
        options=options,
        retries_left=moment.settings.rate_limit_retries,
    )
    awaited = progress.awaited | {number} if asked else progress.awaited
    return attrs.evolve(progress, turn=turn, turns_begun=number, awaited=awaited)


def next_turn(progress: Progress, moment: Moment) -> Transition:
    """Begin the turn of the oldest queued message, if there is one."""
    if not progress.queue:
        return Transition(progress=progress)
    queued, *rest = progress.queue
    progress = attrs.evolve(progress, queue=tuple(rest))
    progress = new_turn(progress, queued.message, queued.options, moment)
    return Transition(progress=progress, steps=(PostMessage(turn=progress.turns_begun),))


def end_turn(
    progress: Progress,
    closing: ClosingEvent,
    moment: Moment,
    *,
    before: Iterable[Step] = (),
) -> Transition:
    """End the turn: ``before``, the closing event, the held messages, then the next turn."""
    turn = progress.turn
    assert turn is not None
    told = tell_messages(progress, turn.messages)
    outcome = None
    if turn.number in progress.awaited:
        texts = tuple(event.content for event in told.steps if _has_text(event))
        outcome = Outcome(turn=turn.number, closing=closing, texts=texts)
    ended = attrs.evolve(
        told.progress,
        turn=None,
        last_run_id=turn.run_id,
        last_run_status=_final_status(turn, closing),
        last_closing=closing,
    )
    settle: Action = SettleTurn(turn=turn.number, outcome=outcome)
    following = next_turn(ended, moment)
    return Transition(
        progress=following.progress,
        steps=(*before, closing, *told.steps, settle, *following.steps),
    )


def _has_text(event: Event) -> bool:
    return isinstance(event, AssistantMessageAdded) and bool(event.content)


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
) -> RunFailed:
    """Give the closing event of a turn that did not complete."""
    return RunFailed(
        thread_id=progress.thread_id,
        id=run_id,
        assistant_id=turn.assistant_id,
        status=status,
        code=code,
        message=message,
    )


def fail_turn(
    progress: Progress,
    moment: Moment,
    *,
    code: str | None,
    message: str,
    before: Iterable[Step] = (),
    cancel: bool = False,
) -> Transition:
    """End the turn as failed for a reason of our own, cancelling its run where asked."""
    turn = progress.turn
    assert turn is not None
    closing = failure(progress, turn, turn.run_id, code=code, message=message)
    steps = list(before)
    if cancel and turn.run_id is not None:
        steps.append(CancelRun(turn=turn.number, run_id=turn.run_id))
    return end_turn(progress, closing, moment, before=steps)


@attrs.frozen(kw_only=True)
class Told:
    """Hold the progress after messages were told, and the events that tell them."""

    progress: Progress
    steps: tuple[AssistantMessageAdded, ...]


def tell_messages(progress: Progress, messages: Iterable[Message]) -> Told:
    """Tell the assistant's messages among ``messages`` that were not told before, in order."""
    events = []
    seen = set(progress.told)
    last_message_id = progress.last_message_id
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
    told = frozenset(event.message_id for event in events) or progress.told
    return Told(
        progress=attrs.evolve(progress, last_message_id=last_message_id, told=told),
        steps=tuple(events),
    )
