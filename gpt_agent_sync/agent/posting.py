"""Posting users' messages, on their callers' threads."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Literal, TypeVar

import attrs

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.message_notes import MessageNotes
from gpt_agent_sync.agent.ownership import Ownership
from gpt_agent_sync.agent.run_setup import Content, RunSetup
from gpt_agent_sync.agent.waiting import PendingReply, Waiter, deadline
from gpt_agent_sync.agent.worker import Worker
from gpt_agent_sync.arguments import check_timeout
from gpt_agent_sync.decisions import failures, remote, verbs
from gpt_agent_sync.decisions.failures import START_PATIENCE
from gpt_agent_sync.decisions.state import Phase, QueuedMessage, Turn
from gpt_agent_sync.errors import (
    AgentNotAliveError,
    AssistantNotSetError,
    RunInProgressError,
    ServiceBusyError,
)
from gpt_agent_sync.records import RunOptions, TimedPause, UserMessage
from gpt_agent_sync.services.base import Service

T = TypeVar("T")

PAUSES = 0.01, 0.05
"""Seconds before the right to run a turn is asked for again, between which callers spread."""

WhenBusy = Literal["raise", "wait", "queue"]


class Poster:
    """The posting of messages: a turn is reserved, and given back if the service refuses.

    Args:
        mailbox: The agent's progress.
        service: The service.
        setup: What runs are made with.
        waiter: The waits of callers.
        notes: The notes on messages in the journal.
        ownership: The agent's part in the turns of its thread.
        worker: Takes messages up that wait.
    """

    def __init__(
        self,
        mailbox: Mailbox,
        service: Service,
        setup: RunSetup,
        waiter: Waiter,
        notes: MessageNotes,
        ownership: Ownership,
        worker: Worker,
    ) -> None:
        self._mailbox = mailbox
        self._service = service
        self._setup = setup
        self._waiter = waiter
        self._notes = notes
        self._ownership = ownership
        self._worker = worker
        self._context = worker.context

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
        until = deadline(timeout)

        def post() -> str:
            with self._ownership.entered():
                return self._post(self._reserve(message, options), until)

        if when_busy == "raise":
            return post()
        if when_busy == "wait":
            return self._when_free(post, until)
        if when_busy == "queue":
            return self._queue(message, options, until)
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
            with self._ownership.entered():
                turn = self._reserve(message, options, is_awaited=True)
                return PendingReply(turn.number, self._post(turn, until), until)

        return self._when_free(post, until) if when_busy == "wait" else post()

    def _queue(self, message: UserMessage, options: RunOptions, until: float | None) -> str | None:
        try:
            with self._ownership.entered():
                return self._post_or_queue(message, options, until)
        except RunInProgressError:
            self._queue_elsewhere(message, options)
            return None

    def _queue_elsewhere(self, message: UserMessage, options: RunOptions) -> None:
        """Leave a message to the process that runs a turn, or to whoever comes next."""
        assistant_id = self._mailbox.progress.default_assistant
        if assistant_id is None:
            raise AssistantNotSetError(self._mailbox.progress.thread_id)
        queued = QueuedMessage(message=message, options=options, assistant_id=assistant_id)
        self._mailbox.apply(remote.queue_elsewhere, self._notes.leave(queued))
        # That process may have looked for the last time just before.
        self._worker.take_up_messages()

    def _post_or_queue(
        self, message: UserMessage, options: RunOptions, until: float | None
    ) -> str | None:
        try:
            turn = self._reserve(message, options)
        except RunInProgressError:
            if self._ownership.shared:
                raise  # one queue for all processes keeps the order
            reserved = self._queue_noted(message, options)
            if reserved is None:
                return None
            turn = reserved
            # It became free meanwhile. Noted as waiting, it would be posted again after a crash.
            self._notes.forget(turn.key)
        with self._given_back(turn):
            try:
                return self._send(turn, until, waits_for_lock=False)
            except ServiceBusyError as exc:
                if exc.in_doubt:
                    raise
                # Another caller's run holds the thread: the worker posts it when that is over.
                self._note_queued(turn.key, message, options)
                self._mailbox.apply(
                    failures.request_failed, turn.number, Phase.POSTING, exc, self._context()
                )
                verbs.require_alive(self._mailbox.progress)
        return None

    def _queue_noted(self, message: UserMessage, options: RunOptions) -> Turn | None:
        """Queue a message that is in the journal; return its turn if it need not wait any more."""
        key = self._notes.new_key()
        self._note_queued(key, message, options)
        try:
            turn: Turn | None = self._mailbox.apply(
                verbs.queue_message, message, options, self._context(), key
            )
        except BaseException:
            self._notes.forget(key)
            raise
        return turn

    def _note_queued(self, key: str | None, message: UserMessage, options: RunOptions) -> None:
        assistant_id = self._mailbox.progress.default_assistant
        queued = QueuedMessage(message=message, options=options, assistant_id=assistant_id)
        self._notes.note(key, queued, queued=True)

    def _note_direct(self, turn: Turn, message: UserMessage) -> None:
        """Note a message that is posted without its run."""
        direct = QueuedMessage(
            message=message, options=turn.options, assistant_id=turn.assistant_id
        )
        after = self._mailbox.progress.last_message_id
        self._notes.note(turn.key, direct, queued=False, begun=True, after=after)

    def _when_free(self, post: Callable[[], T], until: float | None) -> T:
        """Post when no run is in progress, neither ours nor another caller's."""
        blocked_since: float | None = None
        while True:
            self._waiter.until_free(until)
            try:
                return post()
            except RunInProgressError:
                # Another caller was quicker. One in another process is heard of in a moment.
                if not verbs.is_busy(self._mailbox.progress):
                    self._waiter.pause(random.uniform(*PAUSES), until)
                    if until is not None and time.monotonic() >= until:
                        raise self._waiter.timed_out() from None
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
        try:
            return self._reserve_now(message, options, is_awaited=is_awaited)
        except RunInProgressError:
            if self._mailbox.progress.turn is not None or not self._ownership.holds:
                raise
            # What ended another process's turn may not have been heard yet; that has let go of it.
            self._ownership.catch_up()
        return self._reserve_now(message, options, is_awaited=is_awaited)

    def _reserve_now(
        self, message: UserMessage, options: RunOptions, *, is_awaited: bool = False
    ) -> Turn:
        turn: Turn = self._mailbox.apply(
            verbs.reserve_turn,
            message,
            options,
            self._context(),
            is_awaited=is_awaited,
            key=self._notes.new_key(),
        )
        return turn

    def _post(self, turn: Turn, until: float | None) -> str:
        with self._given_back(turn):
            return self._send(turn, until)

    @contextlib.contextmanager
    def _given_back(self, turn: Turn) -> Iterator[None]:
        """Give a reserved turn back if its message is not posted."""
        try:
            yield
        except BaseException:
            # Ctrl-C too: the reservation would block the thread for the rest of the agent's life.
            if self._mailbox.apply(verbs.message_refused, turn.number, self._context()):
                self._notes.forget(turn.key)
            raise

    def _send(self, turn: Turn, until: float | None, *, waits_for_lock: bool = True) -> str:
        message = turn.message
        assert message is not None
        request = attrs.evolve(
            self._setup.request(turn, self._mailbox.progress),
            pause=TimedPause(
                wait=lambda seconds: self._waiter.pause_before_retry(seconds, until), until=until
            ),
            before_post=lambda: self._note_direct(turn, message),
            waits_for_lock=waits_for_lock,
        )
        posted = self._service.post_message(request, message)
        try:
            # Where this process was held up, its lease may have run out meanwhile.
            self._ownership.regain(until)
        except BaseException:
            posted.drop()
            raise
        if not self._mailbox.apply(verbs.message_posted, turn.number, posted):
            # The agent stopped during the request. The caller learns that the message is there.
            posted.drop()
            self._notes.release(turn.key)
            raise AgentNotAliveError(self._mailbox.progress.thread_id, posted.message_id)
        return posted.message_id
