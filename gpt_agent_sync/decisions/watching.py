"""What an agent without a run is told of the runs of other callers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import attrs

from gpt_agent_sync.decisions.closing import announce_messages, with_told_run
from gpt_agent_sync.decisions.state import Progress, Transition
from gpt_agent_sync.decisions.verbs import finished_messages, is_busy
from gpt_agent_sync.events import ClosingEvent, RunCancelled, RunCompleted, RunFailed
from gpt_agent_sync.records import Message, RunSnapshot


def seen_elsewhere(
    progress: Progress, newest: RunSnapshot | None, unseen: Iterable[Message]
) -> Transition:
    """Tell what has happened in the thread since the agent looked last; the result is whether any.

    Args:
        progress: The progress; a run of its own goes first, and is told by itself.
        newest: The newest run, if it is not known to have been told of.
        unseen: The messages after the newest one that was told, oldest first.
    """
    if progress.stopped is not None or is_busy(progress):
        return Transition(progress=progress, result=False)
    if newest is not None and newest.id in progress.told_runs:
        newest = None
    live = newest if newest is not None and not newest.is_final else None
    messages = finished_messages(tuple(unseen), live)
    of_newest = [] if newest is None else _of_run(newest.id, messages)
    before = announce_messages(progress, [each for each in messages if each not in of_newest])
    closing = None if newest is None or live is not None else _closing(progress.thread_id, newest)
    after = announce_messages(before.progress, of_newest)
    told = after.progress
    if messages:
        told = attrs.evolve(
            told,
            last_message_id=messages[-1].id,
            announced=before.progress.announced | after.progress.announced,
        )
    if closing is not None and newest is not None:
        told = attrs.evolve(
            told,
            last_run_id=newest.id,
            told_runs=with_told_run(told, newest.id),
            last_run_status=newest.status,
            last_closing=closing,
        )
    steps = (*before.events, *(() if closing is None else (closing,)), *after.events)
    return Transition(progress=told, steps=steps, result=bool(steps))


def _of_run(run_id: str, messages: Sequence[Message]) -> list[Message]:
    """Return a thread's messages that its newest run wrote; where it is not said, the last ones."""
    questions = {each.id: place for place, each in enumerate(messages) if each.role == "user"}
    last = max(questions.values(), default=-1)
    # Where runs are not listed with messages they are named by their question.
    return [
        each
        for place, each in enumerate(messages)
        if (each.run_id == run_id or ((each.run_id or "") in ("", *questions) and place > last))
    ]


def _closing(thread_id: str, run: RunSnapshot) -> ClosingEvent:
    if run.status == "completed":
        return RunCompleted(
            thread_id=thread_id, id=run.id, assistant_id=run.assistant_id, usage=run.usage
        )
    if run.status == "cancelled":
        return RunCancelled(thread_id=thread_id, id=run.id, assistant_id=run.assistant_id)
    return RunFailed(
        thread_id=thread_id,
        id=run.id,
        assistant_id=run.assistant_id,
        status=run.status,
        code=run.error_code,
        message=run.error_message,
    )
