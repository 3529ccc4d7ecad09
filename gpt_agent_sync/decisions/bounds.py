"""How long a run may take: by the settings, in the queue, and by the service's own expiry."""

from __future__ import annotations

import attrs

from gpt_agent_sync.decisions.closing import fail_turn
from gpt_agent_sync.decisions.state import DecisionContext, Phase, Progress, Transition, Turn
from gpt_agent_sync.records import RunSnapshot
from gpt_agent_sync.settings import Settings

QUEUE_PATIENCE = 600.0
"""Seconds that a run may stay queued: some servers store a run, fail, and never work on it."""

EXPIRY_GRACE = 5.0
"""Seconds after its expiry in which a service may say itself that a run has expired."""


def with_clocks(turn: Turn, snapshot: RunSnapshot, context: DecisionContext) -> Turn:
    """Return the turn with what a snapshot shows of how long its run may still take."""
    queued_since = None
    if snapshot.status == "queued":
        queued_since = context.now if turn.queued_since is None else turn.queued_since
    expires_at = None
    if snapshot.status == "requires_action" and snapshot.expires_in is not None:
        expires_at = context.now + snapshot.expires_in + EXPIRY_GRACE
    since = context.now if turn.run_since is None else turn.run_since
    before = (turn.run_since, turn.queued_since, turn.expires_at)
    if (since, queued_since, expires_at) == before:
        return turn  # most snapshots say nothing new
    return attrs.evolve(turn, run_since=since, queued_since=queued_since, expires_at=expires_at)


def deadline(turn: Turn, settings: Settings) -> float | None:
    """Return when the turn's run is given up, in monotonic seconds; ``None`` for never."""
    times = []
    if turn.run_since is not None and settings.run_timeout is not None:
        times.append(turn.run_since + settings.run_timeout)
    if turn.queued_since is not None:
        times.append(turn.queued_since + QUEUE_PATIENCE)
    if turn.expires_at is not None and turn.phase is Phase.AWAITING_OUTPUTS:
        times.append(turn.expires_at)
    return min(times, default=None)


def is_overdue(turn: Turn, context: DecisionContext) -> bool:
    """Return whether the turn's run is to be given up now."""
    due = deadline(turn, context.settings)
    return due is not None and context.now >= due


def expire(progress: Progress, context: DecisionContext) -> Transition:
    """Give up a run that has taken too long: it is cancelled, and the program told.

    Where the service refuses to cancel it, the next message shows whether the thread is free.
    """
    turn = progress.turn
    if turn is None or not is_overdue(turn, context):
        return Transition(progress=progress)
    age = context.now - (context.now if turn.run_since is None else turn.run_since)
    return fail_turn(
        progress,
        context,
        code="run_timeout",
        message=f"the run was given up in status {turn.run_status!r} after {age:.0f} s",
        status="expired",
        cancel=True,
    )


def is_dead(run: RunSnapshot) -> bool:
    """Return whether a run that was found in progress will never end by itself."""
    stuck = run.status == "queued" and run.age is not None and run.age >= QUEUE_PATIENCE
    return stuck or (run.expires_in is not None and run.expires_in <= -EXPIRY_GRACE)
