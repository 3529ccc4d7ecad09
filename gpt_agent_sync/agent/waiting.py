"""Waiting on a caller's thread: for a free thread, for a reply, for the end of all work."""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.decisions import verbs
from gpt_agent_sync.decisions.state import Outcome, Progress
from gpt_agent_sync.errors import AgentNotAliveError, WaitTimeoutError
from gpt_agent_sync.tools.pool import shared_pool


def deadline(timeout: float | None) -> float | None:
    """Return when a caller's time is up, in monotonic seconds; ``None`` for never."""
    return None if timeout is None else time.monotonic() + timeout


def seconds_left(until: float | None) -> float | None:
    """Return the seconds until a deadline, 0 when it has passed; ``None`` for any number."""
    return None if until is None else max(0.0, until - time.monotonic())


@attrs.frozen
class PendingReply:
    """A posted message whose reply a caller waits for.

    Attributes:
        turn: The number of its turn.
        message_id: Its id.
        until: When the caller's time is up, monotonic seconds; ``None`` for never.
    """

    turn: int
    message_id: str
    until: float | None


class Waiter:
    """The waits of callers for what becomes of an agent's turns.

    Args:
        mailbox: The agent's progress.
        refuse_to_block: Raises where waiting for the agent would be waiting for oneself; called
            with what would wait, on the thread that would.
    """

    def __init__(self, mailbox: Mailbox, refuse_to_block: Callable[[str], None]) -> None:
        self._mailbox = mailbox
        self.refuse_to_block = refuse_to_block

    def until_settled(self, timeout: float | None) -> Progress:
        """Wait until no turn is in progress and all is delivered, and return the progress then.

        Raises:
            WaitTimeoutError: If it takes longer.
            AgentNotAliveError: If the agent stops in the middle of a turn.
        """
        if not self._wait(_is_settled, timeout):
            raise self.timed_out()
        progress = self._mailbox.progress
        if progress.interrupted:
            raise AgentNotAliveError(progress.thread_id)
        return progress

    def until_free(self, until: float | None) -> None:
        """Wait until a message would not have to wait, or the agent has stopped.

        Raises:
            WaitTimeoutError: If the caller's time is up before.
            RuntimeError: If it would wait for itself, in a callback or handler.
        """
        if not verbs.is_busy(self._mailbox.progress):
            return
        self.refuse_to_block("add_user_message(when_busy='wait')")
        if not self._wait(_is_free, seconds_left(until)):
            raise self.timed_out()

    def outcome(self, pending: PendingReply) -> Outcome:
        """Wait for the outcome of a turn, which comes when all its events have been delivered.

        Raises:
            WaitTimeoutError: If the caller's time is up before.
            AgentNotAliveError: If the agent stops before.
        """
        outcome: Outcome | None = None
        error: Exception | None = None
        try:
            if not self._wait(
                lambda progress, quiet: (
                    progress.interrupted
                    # A callback may stop the agent when the outcome is still to be handed over.
                    or (progress.stopped is not None and quiet)
                    or pending.turn in [outcome.turn for outcome in progress.outcomes]
                ),
                seconds_left(pending.until),
            ):
                error = self.timed_out()
        finally:
            # Whatever ends the wait, Ctrl-C too: an outcome that nobody takes would stay for ever.
            outcome = self._mailbox.apply(verbs.take_outcome, pending.turn)
        if outcome is None:
            raise error or AgentNotAliveError(self._mailbox.progress.thread_id)
        return outcome

    def abandon(self, pending: PendingReply) -> None:
        """Drop the outcome of a turn, now or when it comes."""
        self._mailbox.apply(verbs.take_outcome, pending.turn)

    def pause(self, seconds: float, until: float | None) -> None:
        """Wait for that many seconds, or until the agent stops or the caller's time is up."""
        left = seconds_left(until)
        self._wait(
            lambda progress, quiet: progress.stopped is not None,
            seconds if left is None else min(seconds, left),
        )

    def pause_before_retry(self, seconds: float, until: float | None) -> None:
        """Wait before a request is repeated.

        Raises:
            AgentNotAliveError: If the agent stops meanwhile.
            WaitTimeoutError: If the caller's time would be up by then; at once.
        """
        left = seconds_left(until)
        if left is not None and seconds >= left:
            raise self.timed_out()
        self.pause(seconds, None)
        verbs.require_alive(self._mailbox.progress)

    def timed_out(self) -> WaitTimeoutError:
        """Return the error that names what is waited for in vain."""
        progress = self._mailbox.progress
        state, turn = progress.public(), progress.turn
        age = None if turn is None else time.monotonic() - turn.began_at
        waiting = [call.name for call in state.tool_calls]
        return WaitTimeoutError(state.thread_id, state.run_id, state.run_status, age, waiting)

    def _wait(self, condition: Callable[[Progress, bool], bool], timeout: float | None) -> bool:
        # A handler that waits for another agent must not keep the pool from that agent's handlers.
        with shared_pool.place_released():
            return self._mailbox.wait_until(condition, timeout)


def _is_settled(progress: Progress, quiet: bool) -> bool:
    return progress.interrupted or (quiet and not verbs.is_busy(progress))


def _is_free(progress: Progress, quiet: bool) -> bool:
    return progress.stopped is not None or not verbs.is_busy(progress)
