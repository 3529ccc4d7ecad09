"""When a worker acts although no step has come: it waits no longer than its clocks say."""

from __future__ import annotations

import time

import attrs

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.message_notes import MessageNotes
from gpt_agent_sync.agent.tool_calls import HandlerCalls
from gpt_agent_sync.agent.watch import Watch
from gpt_agent_sync.decisions import bounds, verbs
from gpt_agent_sync.decisions.state import FollowRun, Phase, Progress, Request
from gpt_agent_sync.settings import Settings

HEARTBEATS_BETWEEN_POLLS = 10
"""Heartbeats between two polls of a run that waits for outputs: it may expire meanwhile. Where
another process handles its tools each heartbeat is one: the run goes on without a word to us."""


@attrs.define
class _Deferred:
    at: float
    request: Request


class Clocks:
    """The deferred request, the poll of a waiting run, tool deadlines and the idle timeout.

    They say what is due; the worker acts. Used on the worker's thread alone, ``hasten_poll()``
    excepted. All times are monotonic seconds.

    Args:
        mailbox: The agent's progress.
        calls: The calls of handlers, which have deadlines.
        messages: The notes on messages, which others may leave.
        settings: The settings the agent was made under.
        idle_timeout: Seconds without a turn after which the agent stops; ``None`` for never.
        watch: The looks for runs of other callers.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        calls: HandlerCalls,
        messages: MessageNotes,
        settings: Settings,
        idle_timeout: float | None,
        watch: Watch,
    ) -> None:
        self._mailbox = mailbox
        self._calls = calls
        self._messages = messages
        self._settings = settings
        self._idle_timeout = idle_timeout
        self._watch = watch
        self._deferred: _Deferred | None = None
        self._poll_at: float | None = None

    def defer(self, request: Request) -> None:
        """Have a request become due after its delay."""
        at = time.monotonic() + request.delay
        self._deferred = _Deferred(at, attrs.evolve(request, delay=0.0))

    def hasten_poll(self, turn: int) -> None:
        """Have a deferred poll of a turn's run become due now; from any thread."""
        deferred = self._deferred
        if (
            deferred is not None
            and deferred.request.turn == turn
            and isinstance(deferred.request, FollowRun)
        ):
            # Changed in place: the worker may be taking it up, and putting another one there
            # would have it done twice.
            deferred.at = 0.0

    def seconds_left(self) -> float | None:
        """Return the seconds until something is due; ``None`` if nothing will be."""
        progress = self._mailbox.progress
        times = (
            self._deferred_at(progress),
            self._next_poll_at(progress),
            self._deadline(progress),
            self._calls.next_deadline(),
            self._messages.look_at,
            self._watch.due_at(progress),
            self._idle_at(progress),
        )
        due = min((at for at in times if at is not None), default=None)
        return None if due is None else max(0.0, due - time.monotonic())

    def take_request(self, now: float) -> Request | None:
        """Return the deferred request if it is due; it is deferred no longer."""
        deferred, at = self._deferred, self._deferred_at(self._mailbox.progress)
        if deferred is None or at is None or at > now:
            return None
        self._deferred = None
        return deferred.request

    def is_overdue(self, now: float) -> bool:
        """Return whether the run has taken too long."""
        due = self._deadline(self._mailbox.progress)
        return due is not None and due <= now

    def take_poll(self, now: float) -> bool:
        """Return whether a run that waits for outputs is to be polled now."""
        if self._poll_at is None or self._poll_at > now:
            return False
        self._poll_at = None
        return True

    def idle_since(self, now: float) -> float | None:
        """Return since when nothing has changed, if that is longer than the idle timeout."""
        since = self._mailbox.changed_at
        if self._idle_timeout is None or since + self._idle_timeout > now:
            return None
        if self._watch.keeps_alive:
            return None
        return since

    def _deferred_at(self, progress: Progress) -> float | None:
        deferred = self._deferred
        if deferred is None:
            return None
        # The request of a turn that has ended is taken up at once, and dropped then.
        ended = verbs.current_turn(progress, deferred.request.turn) is None
        return 0.0 if ended else deferred.at

    def _deadline(self, progress: Progress) -> float | None:
        turn = progress.turn
        return None if turn is None else bounds.deadline(turn, self._settings)

    def _next_poll_at(self, progress: Progress) -> float | None:
        turn = progress.turn
        if turn is None or turn.phase is not Phase.AWAITING_OUTPUTS:
            self._poll_at = None
        elif self._poll_at is None:
            heartbeats = HEARTBEATS_BETWEEN_POLLS if progress.handles_tools else 1
            self._poll_at = time.monotonic() + heartbeats * self._settings.heartbeat_interval
        return self._poll_at

    def _idle_at(self, progress: Progress) -> float | None:
        if self._idle_timeout is None or verbs.is_busy(progress) or self._watch.keeps_alive:
            return None
        return self._mailbox.changed_at + self._idle_timeout
