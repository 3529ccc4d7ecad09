"""Posting messages from callers' threads, and waiting there for what comes of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import attrs

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.decisions import verbs
from gpt_agent_sync.decisions.failures import START_PATIENCE
from gpt_agent_sync.decisions.state import DecisionContext, Outcome, Progress, Turn
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    RunInProgressError,
    ServiceBusyError,
    WaitTimeoutError,
)
from gpt_agent_sync.records import RunOptions, RunRequest, UserMessage
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.tools.pool import shared_pool

T = TypeVar("T")


@attrs.frozen
class Asked:
    """Hold a message whose outcome a caller waits for.

    Attributes:
        turn: The number of its turn.
        message_id: Its id.
    """

    turn: int
    message_id: str


class Poster:
    """Reserve turns, post their messages, and wait; all on the calling thread.

    Args:
        mailbox: The agent's progress.
        service: The service.
        context: Gives the circumstances of a decision made now.
        run_request: Gives what the service needs to know for a turn.
        refuse_to_block: Raises where waiting for the agent would be waiting for oneself.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        service: Service,
        context: Callable[[], DecisionContext],
        run_request: Callable[[Turn], RunRequest],
        refuse_to_block: Callable[[str], None],
    ) -> None:
        self._mailbox = mailbox
        self._service = service
        self._context = context
        self._run_request = run_request
        self._refuse_to_block = refuse_to_block

    def post(self, message: UserMessage, options: RunOptions) -> str:
        """Post the message now and give its id; a run under way forbids it."""
        return self._post(self._reserve(message, options), None)

    def queue(self, message: UserMessage, options: RunOptions) -> str | None:
        """Post the message now, or have the worker post it when its turn comes."""
        turn: Turn | None = self._mailbox.apply(
            verbs.queue_message, message, options, self._context()
        )
        return None if turn is None else self._post(turn, None)

    def post_when_free(
        self, message: UserMessage, options: RunOptions, timeout: float | None
    ) -> str:
        """Wait until no run is under way, ours or another caller's, and post the message."""
        until = None if timeout is None else time.monotonic() + timeout
        return self._when_free(lambda: self._post(self._reserve(message, options), until), until)

    def _when_free(self, post: Callable[[], T], until: float | None) -> T:
        blocked_since: float | None = None
        while True:
            self._wait_while_busy(until)
            try:
                return post()
            except RunInProgressError:
                continue
            except ServiceBusyError:
                now = time.monotonic()
                blocked_since = now if blocked_since is None else blocked_since
                if now - blocked_since >= START_PATIENCE:
                    raise
                if until is not None and now >= until:
                    raise self.timed_out() from None
                self._pause(self._context().settings.heartbeat_interval, until)

    def ask(
        self,
        message: UserMessage,
        options: RunOptions,
        timeout: float | None,
        *,
        when_free: bool,
    ) -> Outcome:
        """Post the message, now or when no run is under way, and wait for its turn's outcome."""
        until = None if timeout is None else time.monotonic() + timeout
        return self.outcome(self.begin_asking(message, options, until, when_free=when_free), until)

    def begin_asking(
        self,
        message: UserMessage,
        options: RunOptions,
        until: float | None,
        *,
        when_free: bool,
    ) -> Asked:
        """Post a message, now or when no run is under way, and have its outcome kept.

        Either ``outcome`` or ``forget`` is owed for it.
        """

        def post() -> Asked:
            turn = self._reserve(message, options, is_awaited=True)
            return Asked(turn.number, self._post(turn, until))

        return self._when_free(post, until) if when_free else post()

    def outcome(self, asked: Asked, until: float | None) -> Outcome:
        """Wait for the outcome of a turn, when all its events have been delivered."""
        outcome: Outcome | None = None
        error: Exception | None = None
        try:
            if not self._wait_until(
                lambda progress, quiet: (
                    progress.interrupted
                    or (progress.stopped is not None and quiet)
                    or asked.turn in [outcome.turn for outcome in progress.outcomes]
                ),
                _left(until),
            ):
                error = self.timed_out()
        finally:
            outcome = self._mailbox.apply(verbs.take_outcome, asked.turn)
        if outcome is None:
            raise error or AgentNotAliveError(self._mailbox.progress.thread_id)
        return outcome

    def forget(self, asked: Asked) -> None:
        """Have nobody wait for a turn's outcome any more."""
        self._mailbox.apply(verbs.take_outcome, asked.turn)

    def wait(self, timeout: float | None) -> Progress:
        """Wait until there is nothing left to do, and give the progress then."""
        if not self._wait_until(_is_settled, timeout):
            raise self.timed_out()
        progress = self._mailbox.progress
        if progress.interrupted:
            raise AgentNotAliveError(progress.thread_id)
        return progress

    def _reserve(
        self, message: UserMessage, options: RunOptions, *, is_awaited: bool = False
    ) -> Turn:
        turn: Turn = self._mailbox.apply(
            verbs.reserve_turn, message, options, self._context(), is_awaited=is_awaited
        )
        return turn

    def _post(self, turn: Turn, until: float | None) -> str:
        message = turn.message
        assert message is not None
        request = attrs.evolve(
            self._run_request(turn), pause=lambda seconds: self._pause_post(seconds, until)
        )
        try:
            posted = self._service.post_message(request, message)
        except BaseException:
            self._mailbox.apply(verbs.message_refused, turn.number, self._context())
            raise
        if not self._mailbox.apply(verbs.message_posted, turn.number, posted):
            posted.drop()
            raise AgentNotAliveError(self._mailbox.progress.thread_id, posted.message_id)
        return posted.message_id

    def _pause_post(self, seconds: float, until: float | None) -> None:
        """Wait before a request is repeated, or until it has become pointless.

        Raises:
            AgentNotAliveError: If the agent stops meanwhile.
            WaitTimeoutError: If the caller's time is up.
        """
        self._pause(seconds, until)
        verbs.require_alive(self._mailbox.progress)
        if until is not None and time.monotonic() >= until:
            raise self.timed_out()

    def _wait_while_busy(self, until: float | None) -> None:
        if not verbs.is_busy(self._mailbox.progress):
            return
        self._refuse_to_block("add_user_message(when_busy='wait')")
        if not self._wait_until(_is_free, _left(until)):
            raise self.timed_out()

    def _pause(self, seconds: float, until: float | None) -> None:
        left = seconds if until is None else max(0.0, min(seconds, until - time.monotonic()))
        self._wait_until(lambda progress, quiet: progress.stopped is not None, left)

    def _wait_until(
        self, condition: Callable[[Progress, bool], bool], timeout: float | None
    ) -> bool:
        # A handler that waits for another agent must not keep the pool from that agent's handlers.
        with shared_pool.place_released():
            return self._mailbox.wait_until(condition, timeout)

    def timed_out(self) -> WaitTimeoutError:
        """Give the error that tells what is waited for in vain."""
        progress = self._mailbox.progress
        state, turn = progress.public(), progress.turn
        age = None if turn is None else time.monotonic() - turn.began_at
        waiting = [call.name for call in state.tool_calls]
        return WaitTimeoutError(state.thread_id, state.run_id, state.run_status, age, waiting)


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())


def _is_settled(progress: Progress, quiet: bool) -> bool:
    return progress.interrupted or (quiet and not verbs.is_busy(progress))


def _is_free(progress: Progress, quiet: bool) -> bool:
    return progress.stopped is not None or not verbs.is_busy(progress)
