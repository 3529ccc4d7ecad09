"""The turns of other processes, as their events tell them; and how one changes hands."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence

import attrs

from gpt_agent_sync.decisions.closing import (
    announce_messages,
    end_turn,
    forget,
    with_found_run,
)
from gpt_agent_sync.decisions.outputs import handle_waiting
from gpt_agent_sync.decisions.state import (
    DecisionContext,
    DropTurn,
    FollowRun,
    Outcome,
    Phase,
    Progress,
    RemoteTurn,
    SettleTurn,
    StartRun,
    Step,
    TakeOver,
    TakeUpMessages,
    Transition,
    Turn,
)
from gpt_agent_sync.decisions.verbs import current_turn
from gpt_agent_sync.event_log import Entry, Page, place_of_cursor
from gpt_agent_sync.events import (
    AssistantMessageAdded,
    ClosingEvent,
    Event,
    EventsMissed,
    RunCancelled,
    RunCompleted,
    RunFailed,
    RunStarted,
    ToolCallOutputRecorded,
    ToolCallRequested,
    UserMessageAdded,
)
from gpt_agent_sync.records import Message, RunSnapshot


def state_of(thread_id: str, entries: Sequence[Entry]) -> tuple[RemoteTurn | None, str]:
    """Return the turn that is in progress by a thread's log, and the newest place in it."""
    progress = Progress(thread_id=thread_id)
    for entry in entries:
        progress = _entry(progress, entry, [])
    return progress.remote, progress.cursor


def heard(
    progress: Progress,
    page: Page,
    owner: str,
    *,
    fence: int = 0,
    told_alone: tuple[Event, ...] = (),
) -> Transition:
    """Take in what other processes have told: it is told here too, each event once.

    Args:
        progress: The agent's progress.
        page: What was read of the thread's log; what was read before is passed over.
        owner: What this agent's own leases have in their marks: their events were told here when
            they happened.
        fence: The fence of its lease; 0 when it has none.
        told_alone: What was told here, and could not be told to others.
    """
    if progress.stopped is not None:
        return Transition(progress=progress)
    steps: list[Step] = []
    drops = False
    for entry in page.entries:
        if place_of_cursor(entry.cursor) <= place_of_cursor(progress.cursor):
            continue
        entry = entry.after(progress.cursor)
        if page.missed and entry is page.entries[0]:
            missed = EventsMissed(
                # Not the place before in the log: a Redis that has lost its data may have that from
                # before what was told here.
                thread_id=progress.thread_id,
                after=progress.cursor,
                cursor=entry.start,
            )
            steps.append(missed)
        if entry.mark == "begun":
            progress = attrs.evolve(progress, hears_itself=entry.owner == owner)
            is_newer = not progress.hears_itself and entry.fence > fence
            if is_newer and progress.turn is not None:
                # This process was held up, and has not noticed yet that it has lost the turn.
                lost = lose_turn(progress, entry.fence, told_alone)
                progress, drops = lost.progress, drops or lost.drops
                steps += lost.steps
        if progress.hears_itself:
            progress = attrs.evolve(progress, cursor=entry.cursor)
        else:
            progress = _entry(progress, entry, steps)
    if _is_free(progress) and (progress.pending or progress.queue):
        steps.append(TakeUpMessages(turn=0))
    return Transition(progress=progress, steps=tuple(steps), drops=drops)


def _is_free(progress: Progress) -> bool:
    return progress.remote is None and progress.turn is None


def _entry(progress: Progress, entry: Entry, steps: list[Step]) -> Progress:
    progress = attrs.evolve(progress, cursor=entry.cursor)
    if entry.key is not None:
        progress = attrs.evolve(progress, pending=progress.pending - {entry.key})
    if entry.mark == "settled":
        steps.extend(_settled(progress))
        return attrs.evolve(progress, remote=None, heard=progress.remote, told_alone=())
    # What a former owner has told stays true of the turn that another goes on with.
    remote = attrs.evolve(progress.remote or RemoteTurn(fence=entry.fence), fence=entry.fence)
    progress = attrs.evolve(progress, remote=remote)
    for event in entry.events:
        if isinstance(event, UserMessageAdded) and _is_next_turn(remote, event):
            steps.extend(_settled(progress))
            remote = attrs.evolve(remote, own=None)
        progress, remote = _told(progress, remote, event)
        progress = attrs.evolve(progress, remote=remote)
        if event not in progress.told_alone:
            steps.append(event)
    return progress


def _is_next_turn(remote: RemoteTurn, event: UserMessageAdded) -> bool:
    """Return whether a message begins another turn than the one that is known."""
    # Of one that was taken over from here the end may be told nowhere, where a log was lost.
    passes_over = remote.own is not None and remote.message_id not in (None, event.id)
    return remote.closing is not None or passes_over


def _settled(progress: Progress) -> list[Step]:
    """Return the outcome of a turn that was taken over from here, for who waits for it."""
    remote = progress.remote
    if remote is None or remote.own is None or remote.own not in progress.awaited:
        return []
    closing = remote.closing or RunFailed(
        thread_id=progress.thread_id,
        id=remote.run_id,
        assistant_id=remote.assistant_id,
        status="failed",
        code="taken_over",
        message="another process took the turn over, and found nothing of it",
        in_doubt=True,
    )
    outcome = Outcome(turn=remote.own, closing=closing, texts=remote.reply)
    return [SettleTurn(turn=remote.own, outcome=outcome)]


def _told(progress: Progress, remote: RemoteTurn, event: Event) -> tuple[Progress, RemoteTurn]:
    change = _BY_EVENT.get(type(event))
    return (progress, remote) if change is None else change(progress, remote, event)


_Told = tuple[Progress, RemoteTurn]


def _message_added(progress: Progress, remote: RemoteTurn, event: UserMessageAdded) -> _Told:
    if event.id != remote.message_id:
        # Another turn: what is known of a run is the former one's.
        remote = RemoteTurn(fence=remote.fence, assistant_id=remote.assistant_id, own=remote.own)
    return (
        attrs.evolve(progress, last_message_id=event.id),
        attrs.evolve(remote, message_id=event.id, closing=None, texts=(), run_texts=()),
    )


def _run_started(progress: Progress, remote: RemoteTurn, event: RunStarted) -> _Told:
    started = attrs.evolve(
        remote,
        run_id=event.id,
        run_status="in_progress",
        assistant_id=event.assistant_id,
        tool_calls=(),
        tool_outputs=(),
        closing=None,
    )
    return progress, started


def _call_requested(progress: Progress, remote: RemoteTurn, event: ToolCallRequested) -> _Told:
    waiting = attrs.evolve(
        remote,
        run_id=event.run_id,
        run_status="requires_action",
        tool_calls=(*remote.tool_calls, event),
        # The calls of one round are told together, before any output.
        tool_outputs=remote.tool_outputs if remote.tool_calls else (),
    )
    return progress, waiting


def _output_recorded(
    progress: Progress, remote: RemoteTurn, event: ToolCallOutputRecorded
) -> _Told:
    left = tuple(call for call in remote.tool_calls if call.id != event.id)
    outputs = (*remote.tool_outputs, event)
    return progress, attrs.evolve(remote, tool_calls=left, tool_outputs=outputs)


def _assistant_message(
    progress: Progress, remote: RemoteTurn, event: AssistantMessageAdded
) -> _Told:
    texts = (event.content,) if event.content else ()
    closing_id = remote.closing.id if remote.closing is not None else None
    is_of_run = event.run_id is not None and event.run_id in (remote.run_id, closing_id)
    return (
        attrs.evolve(
            progress,
            last_message_id=event.message_id,
            announced=progress.announced | {event.message_id},
        ),
        attrs.evolve(
            remote,
            texts=(*remote.texts, *texts),
            run_texts=(*remote.run_texts, *(texts if is_of_run else ())),
        ),
    )


def _closed(progress: Progress, remote: RemoteTurn, event: ClosingEvent) -> _Told:
    status = event.status if isinstance(event, RunFailed) else _STATUSES[type(event)]
    return (
        attrs.evolve(
            progress,
            last_run_id=event.id,
            last_run_status=status,
            last_closing=event,
            announced=frozenset(),
        ),
        attrs.evolve(
            remote,
            run_status=status,
            tool_calls=(),
            tool_outputs=(),
            closing=event,
            texts=(),
            run_texts=(),
        ),
    )


_STATUSES = {RunCompleted: "completed", RunCancelled: "cancelled"}

_BY_EVENT: dict[type[Event], Callable[..., _Told]] = {
    UserMessageAdded: _message_added,
    RunStarted: _run_started,
    ToolCallRequested: _call_requested,
    ToolCallOutputRecorded: _output_recorded,
    AssistantMessageAdded: _assistant_message,
    RunCompleted: _closed,
    RunFailed: _closed,
    RunCancelled: _closed,
}


def queue_elsewhere(progress: Progress, key: str) -> Transition:
    """Note that a message of this process waits at the backplane."""
    return Transition(progress=attrs.evolve(progress, pending=progress.pending | {key}))


def give_back(progress: Progress, number: int) -> Transition:
    """Leave the message of a turn, which is not posted yet, to the process that has the thread."""
    turn = current_turn(progress, number)
    if turn is None:
        return Transition(progress=progress)
    # What is queued behind it waits at the backplane as well.
    keys = {key for key in (turn.key, *(each.key for each in progress.queue)) if key is not None}
    progress = attrs.evolve(progress, turn=None, queue=(), pending=progress.pending | keys)
    return Transition(progress=progress, steps=(TakeUpMessages(turn=0),))


def left_waiting(progress: Progress, waiting: frozenset[str]) -> Transition:
    """Note which messages wait at the backplane; the others were taken up, or dropped."""
    return Transition(progress=attrs.evolve(progress, pending=progress.pending & waiting))


def left_behind(progress: Progress) -> Transition:
    """Have a turn taken over that this agent may not have heard of yet."""
    if progress.remote is None:
        progress = attrs.evolve(progress, remote=RemoteTurn(fence=0))
    return ownerless(progress, by_anybody=True)


def ownerless(progress: Progress, *, by_anybody: bool = False) -> Transition:
    """Have a turn taken over whose owner has fallen silent, unless another is to do it.

    Args:
        progress: The agent's progress.
        by_anybody: Whether by an agent that handles no tools, too.
    """
    may = progress.handles_tools or by_anybody
    if progress.stopped is not None or progress.remote is None or not may:
        return Transition(progress=progress)
    return Transition(progress=progress, steps=(TakeOver(turn=0),))


def lose_turn(progress: Progress, fence: int, told_alone: tuple[Event, ...] = ()) -> Transition:
    """Leave the turn to the process that has taken it over: it tells the rest.

    The turn of a message that is being posted stays: nobody else knows of it.

    Args:
        progress: The agent's progress.
        fence: The fence of the lease that was lost.
        told_alone: What was told here, and could not be told to others.
    """
    turn = progress.turn
    if progress.stopped is not None or (turn is not None and turn.phase is Phase.POSTING):
        return Transition(progress=progress)
    progress = attrs.evolve(progress, told_alone=told_alone)
    if turn is None and place_of_cursor(progress.cursor)[0] > fence:
        # What the next owner told was heard before the loss was: it may have settled by now.
        return Transition(progress=progress, drops=True)
    if turn is None:
        # It had come to its end here; another process may have to tell that.
        remote = RemoteTurn(fence=fence, run_id=progress.last_run_id)
        return Transition(progress=attrs.evolve(progress, remote=remote), drops=True)
    remote = RemoteTurn(
        fence=fence,
        message_id=turn.posted.message_id if turn.posted else None,
        run_id=turn.run_id,
        run_status=turn.run_status,
        assistant_id=turn.assistant_id,
        tool_calls=turn.tool_calls,
        tool_outputs=turn.tool_outputs,
        own=turn.number,
    )
    lost = attrs.evolve(progress, turn=None, remote=remote)
    # Its message is with the service: nobody is to post it.
    steps = (*forget(turn), DropTurn(turn=turn.number))
    return Transition(progress=lost, steps=steps, drops=True)


def take_over(
    progress: Progress,
    live_run: RunSnapshot | None,
    written: Sequence[Message],
    context: DecisionContext,
) -> Transition:
    """Go on with the turn of an owner that has fallen silent.

    Args:
        progress: The agent's progress, with all that the owner has told.
        live_run: The thread's newest run, if it is in progress.
        written: The messages after the newest one that was told, oldest first.
        context: The circumstances.
    """
    remote = progress.remote
    if remote is None or progress.stopped is not None or progress.turn is not None:
        return Transition(progress=progress)
    progress = attrs.evolve(progress, remote=None)
    if live_run is not None:
        return _follow(progress, remote, live_run, context)
    if remote.closing is None and remote.run_id is not None:
        ended = RunSnapshot(
            id=remote.run_id, status="in_progress", assistant_id=remote.assistant_id
        )
        return _follow(progress, remote, ended, context)
    replies = [message for message in written if message.role == "assistant"]
    if remote.closing is not None or (remote.message_id is None and not replies):
        announcement = announce_messages(progress, replies)
        settled = _settled(attrs.evolve(announcement.progress, remote=remote))
        return Transition(progress=announcement.progress, steps=(*announcement.events, *settled))
    return _answer(progress, remote, written, context)


def _follow(
    progress: Progress, remote: RemoteTurn, run: RunSnapshot, context: DecisionContext
) -> Transition:
    progress = with_found_run(progress, run, context)
    turn = _numbered(progress, remote)
    steps: tuple[Step, ...] = (FollowRun(turn=turn.number),)
    if run.id != remote.run_id:
        started = RunStarted(
            thread_id=progress.thread_id, id=run.id, assistant_id=turn.assistant_id
        )
        steps = (started, *steps)
    if run.id == remote.run_id and (remote.tool_calls or remote.tool_outputs):
        # They were told, and are not again; whether they were made the journal knows.
        answered = [output.id for output in remote.tool_outputs]
        order = [*answered, *(call.id for call in remote.tool_calls)]
        turn = attrs.evolve(
            turn,
            tool_calls=remote.tool_calls,
            tool_outputs=remote.tool_outputs,
            call_order=tuple(order),
        )
        if progress.handles_tools:
            turn, handled = handle_waiting(turn)
            steps = (*steps, *handled)
    return Transition(progress=attrs.evolve(progress, turn=turn), steps=steps)


def _answer(
    progress: Progress,
    remote: RemoteTurn,
    written: Sequence[Message],
    context: DecisionContext,
) -> Transition:
    """Close a turn whose run has been and gone, or start the run that it never got."""
    replies, others = _replies_to(remote.message_id, written)
    if others and not replies:
        # The thread has gone on without it: a run now would answer something else.
        announcement = announce_messages(progress, others)
        settled = _settled(attrs.evolve(announcement.progress, remote=remote))
        return Transition(progress=announcement.progress, steps=(*announcement.events, *settled))
    run_id = replies[-1].run_id if replies else None
    found = RunSnapshot(
        id=run_id or remote.message_id or "",
        status="in_progress",
        assistant_id=remote.assistant_id,
    )
    progress = with_found_run(progress, found, context)
    turn = _numbered(progress, remote)
    if replies:
        turn = attrs.evolve(turn, messages=tuple(replies))
        closing = RunCompleted(
            thread_id=progress.thread_id, id=found.id, assistant_id=turn.assistant_id
        )
        ended = end_turn(attrs.evolve(progress, turn=turn), closing, context)
        later = announce_messages(ended.progress, others)
        return Transition(progress=later.progress, steps=(*ended.steps, *later.events))
    turn = attrs.evolve(turn, phase=Phase.STARTING, run_id=None, run_status=None)
    return Transition(
        progress=attrs.evolve(progress, turn=turn), steps=(StartRun(turn=turn.number),)
    )


def _replies_to(
    message_id: str | None, written: Sequence[Message]
) -> tuple[list[Message], list[Message]]:
    """Return the replies to a message among those after it, and those to later ones.

    Where it is not known which one was asked last, all replies may be its.
    """
    replies = [message for message in written if message.role == "assistant"]
    if message_id is None:
        return replies, []
    own = list(itertools.takewhile(lambda message: message.role == "assistant", written))
    return own, replies[len(own) :]


def _numbered(progress: Progress, remote: RemoteTurn) -> Turn:
    """Return the turn, with the number that somebody here may wait for."""
    turn = progress.turn
    assert turn is not None
    return turn if remote.own is None else attrs.evolve(turn, number=remote.own)
