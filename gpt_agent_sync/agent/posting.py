"""Posting users' messages, on their callers' threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal, TypeVar

import attrs

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.run_setup import Content, RunSetup
from gpt_agent_sync.agent.waiting import PendingReply, Waiter, deadline
from gpt_agent_sync.arguments import check_timeout
from gpt_agent_sync.decisions import verbs
from gpt_agent_sync.decisions.failures import START_PATIENCE
from gpt_agent_sync.decisions.state import DecisionContext, Turn
from gpt_agent_sync.errors import AgentNotAliveError, RunInProgressError, ServiceBusyError
from gpt_agent_sync.records import RunOptions, UserMessage
from gpt_agent_sync.services.base import Service

T = TypeVar("T")

WhenBusy = Literal["raise", "wait", "queue"]


class Poster:
    """The posting of messages: a turn is reserved, and given back if the service refuses.

    Args:
        mailbox: The agent's progress.
        service: The service.
        setup: What runs are made with.
        waiter: The waits of callers.
        context: Returns the context of a decision made now.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        service: Service,
        setup: RunSetup,
        waiter: Waiter,
        context: Callable[[], DecisionContext],
    ) -> None:
        self._mailbox = mailbox
        self._service = service
        self._setup = setup
        self._waiter = waiter
        self._context = context

    def add(
        self,
        content: Content,
        when_busy: WhenBusy,
        timeout: float | None,
        run_options: RunOptions | None,
        attachments: Iterable[Mapping[str, Any]] | None,
        metadata: Mapping[str, str] | None,
    ) -> str | None:
        """Add a message as ``Agent.add_user_message()`` is to; ``None`` if it is queued."""
        verbs.require_alive(self._mailbox.progress)
        check_timeout(timeout)
        message, options = self._setup.message(content, run_options, attachments, metadata)
        if when_busy == "raise":
            return self._post(self._reserve(message, options), None)
        if when_busy == "wait":
            until = deadline(timeout)
            return self._when_free(
                lambda: self._post(self._reserve(message, options), until), until
            )
        if when_busy == "queue":
            return self._queue(message, options)
        raise ValueError(f"when_busy must be 'raise', 'wait' or 'queue', not {when_busy!r}")

    def ask(
        self,
        what: str,
        content: Content,
        when_busy: str,
        timeout: float | None,
        run_options: RunOptions | None,
    ) -> PendingReply:
        """Post a message whose reply the caller waits for, as ``what``, such as ``"ask()"``.

        Its outcome is kept: the waiter's ``outcome()`` or ``abandon()`` is owed for it.
        """
        verbs.require_alive(self._mailbox.progress)
        self._waiter.refuse_to_block(what)
        check_timeout(timeout)
        message, options = self._setup.message(content, run_options)
        if when_busy not in ("raise", "wait"):
            raise ValueError(f"when_busy must be 'raise' or 'wait', not {when_busy!r}")
        until = deadline(timeout)

        def post() -> PendingReply:
            turn = self._reserve(message, options, is_awaited=True)
            return PendingReply(turn.number, self._post(turn, until), until)

        return self._when_free(post, until) if when_busy == "wait" else post()

    def _queue(self, message: UserMessage, options: RunOptions) -> str | None:
        turn: Turn | None = self._mailbox.apply(
            verbs.queue_message, message, options, self._context()
        )
        return None if turn is None else self._post(turn, None)

    def _when_free(self, post: Callable[[], T], until: float | None) -> T:
        """Post when no run is in progress, neither ours nor another caller's."""
        blocked_since: float | None = None
        while True:
            self._waiter.until_free(until)
            try:
                return post()
            except RunInProgressError:
                # Another caller of this agent was quicker.
                continue
            except ServiceBusyError:
                # Another process has the thread: only asking again shows when it is free.
                now = time.monotonic()
                blocked_since = now if blocked_since is None else blocked_since
                if now - blocked_since >= START_PATIENCE:
                    raise
                if until is not None and now >= until:
                    raise self._waiter.timed_out() from None
                self._waiter.pause(self._context().settings.heartbeat_interval, until)

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
            self._setup.request(turn, self._mailbox.progress),
            pause=lambda seconds: self._waiter.pause_before_retry(seconds, until),
        )
        try:
            posted = self._service.post_message(request, message)
        except BaseException:
            # Ctrl-C too: the reservation would block the thread for the rest of the agent's life.
            self._mailbox.apply(verbs.message_refused, turn.number, self._context())
            raise
        if not self._mailbox.apply(verbs.message_posted, turn.number, posted):
            # The agent stopped during the request. The caller learns that the message is there.
            posted.drop()
            raise AgentNotAliveError(self._mailbox.progress.thread_id, posted.message_id)
        return posted.message_id
