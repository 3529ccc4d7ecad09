"""Whose turn it is on a thread that several processes have agents of, and what they are told."""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from gpt_agent_sync.agent import remote_verbs
from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.agent.outbox import Outbox, Unsent
from gpt_agent_sync.backplane.base import Backplane, Lease, LeaseLostError, Listening
from gpt_agent_sync.decisions import remote
from gpt_agent_sync.errors import AgentNotAliveError, BackplaneError, RunInProgressError
from gpt_agent_sync.event_log import Page, place_of_cursor
from gpt_agent_sync.events import AgentStopped, AssistantMessageDelta, Event
from gpt_agent_sync.journal.base import Scope
from gpt_agent_sync.logs import get_logger

logger = get_logger(__name__)

DELTA_PAUSE = 0.05
"""Seconds for which text is gathered before it goes to other processes in one piece."""

RETRY_PAUSE = 1.0
"""Seconds before the backplane is tried again after it failed."""

ANSWER_PATIENCE = 10.0
"""Seconds for the process that runs a turn to do what it is asked."""

REGAIN_PATIENCE, REGAIN_PAUSE = 60.0, 0.05
"""Seconds to get a lease back that ran out while a message was posted, and between two tries."""

TAKING_OVER = 5.0
"""Seconds for a turn to be taken over, requests to the service included."""

LISTENERS_PAUSE = 5.0
"""Seconds that agents which handle no tools leave a turn to those that do."""


class SharedOwnership:
    """The ownership of an agent beside those of other processes, over a shared backplane.

    The process that runs a turn has the thread's lease, and appends its events to the thread's log
    before it tells them; the agents of other processes tell what they read there.

    Args:
        backplane: The backplane.
        scope: The thread.
        mailbox: The agent's progress.
        answer: Answers what another process asks of this agent; may make requests.
    """

    shared = True

    def __init__(
        self,
        backplane: Backplane,
        scope: Scope,
        mailbox: Mailbox,
        answer: Callable[[Mapping[str, Any]], Mapping[str, Any]],
    ) -> None:
        self._backplane = backplane
        self._scope = scope
        self._mailbox = mailbox
        self._answer = answer
        self._changed = threading.Condition(threading.Lock())
        self._lease: Lease | None = None
        self._callers = 0
        self._busy = False
        self._sends = False
        self._flush_due = False
        self._outbox = Outbox()
        self._owner = uuid.uuid4().hex
        self._listening: Listening | None = None
        self._troubled = False
        self._ended = False
        self._leave_at = 0.0

    @property
    def holds(self) -> bool:
        """Whether this agent has the lease, as far as it knows."""
        return self._lease is not None

    def begin(self) -> None:
        """Hear of other processes from now on."""
        self._listening = self._backplane.listen(self._scope, self._mailbox.progress.cursor, self)
        if self._mailbox.progress.remote is not None:
            self._backplane.watch(self._scope, now=True)

    def end(self) -> None:
        """Hear of them no more, and let them have the thread."""
        self._ended = True
        if self._listening is not None:
            self._listening.close()
        self.leave()

    # The lease

    @contextlib.contextmanager
    def entered(self, *, goes_on: bool = False) -> Iterator[None]:
        """Have the lease for the block, and for the turn that begins in it."""
        with self._changed:
            self._callers += 1
        try:
            self._acquire(goes_on=goes_on)
            yield
        finally:
            with self._changed:
                self._callers -= 1
            if self._ended:
                self.leave()  # there is no worker any more
            else:
                # It releases the lease, when all that happened is told.
                self._mailbox.wake_worker()

    def _acquire(self, *, goes_on: bool) -> None:
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)
            if self._ended:
                raise AgentNotAliveError(self._scope.thread_id)
            if self._lease is not None:
                return
            self._busy = True
        lease = None
        try:
            lease = self._backplane.acquire(self._scope, self._owner)
            if lease is not None and lease.follows_turn and not goes_on:
                # Its owner is gone: whoever listens takes that turn over first.
                left, lease = lease, None
                self._backplane.release(left, settled=False)
                self._mailbox.apply(remote.left_behind)
        finally:
            with self._changed:
                self._busy = False
                self._lease = lease
                self._changed.notify_all()
        if lease is not None and _is_behind(self._mailbox.progress.cursor, lease.before):
            self.catch_up()  # what was before is to be told before
        if lease is None:
            turn = self._mailbox.progress.remote
            raise RunInProgressError(self._scope.thread_id, turn.run_id if turn else None)

    def is_ending(self) -> bool:
        """Return whether others may have the thread when all that happened is told."""
        free = self._lease is not None and not self._callers and not self._has_turn()
        return free and time.monotonic() >= self._leave_at

    def _has_turn(self) -> bool:
        return self._mailbox.progress.turn is not None

    def leave(self) -> None:
        """Release the lease, unless somebody has begun something meanwhile.

        Where not all is told to others yet, it is released later; an agent that has stopped leaves
        its turn to be taken over.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._busy)
            lease = self._lease
            if lease is None or (not self._ended and (self._callers or self._has_turn())):
                return
            self._busy = True
        try:
            told = self._flush_all(lease)
            if not told and not self._ended:
                return
            progress = self._mailbox.progress
            # The run of a stopped agent goes on at the service, for another process to follow; so
            # does a turn that could not be taken over.
            settled = told and not progress.interrupted and progress.remote is None
            with self._changed:
                if self._lease is not lease:
                    return
                self._lease = None
                self._outbox.clear()
            self._backplane.release(lease, settled=settled)
        except BackplaneError as exc:
            logger.info("the lease of thread %s runs out by itself: %s", self._scope.thread_id, exc)
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def _flush_all(self, lease: Lease) -> bool:
        """Append what was not appended yet; return whether all is."""
        try:
            self._flush()
        except LeaseLostError:
            self._lose(lease)
            return False
        except BackplaneError as exc:
            self._warn(exc)
            self._leave_at = time.monotonic() + RETRY_PAUSE
            self._backplane.call_in(RETRY_PAUSE, self._mailbox.wake_worker)
            return False
        return True

    def may_act(self) -> bool:
        """Return whether the turn is still this agent's."""
        lease = self._lease
        if lease is None:
            return False
        if self._backplane.confirm(lease):
            return True
        self._lose(lease)
        return False

    def _lose(self, lease: Lease) -> None:
        """Leave the turn to the process that has taken it over."""
        with self._changed:
            if self._lease is not lease:
                return
            self._lease = None
            told = self._outbox.told_alone()
            self._outbox.clear()
        self._backplane.forget(lease)
        logger.warning("another process has taken over thread %s", self._scope.thread_id)
        self._mailbox.apply(remote.lose_turn, lease.fence, told)
        self._watch()

    def regain(self, until: float | None) -> None:
        """Have the lease again for a turn whose message is with the service by now.

        Raises:
            BackplaneError: If another process keeps it for too long; in doubt.
        """
        patience = time.monotonic() + REGAIN_PATIENCE
        if until is not None:
            patience = min(until, patience)
        while self._lease is None and not self._ended:
            try:
                self._acquire(goes_on=True)
                self.catch_up()
            except AgentNotAliveError:
                return  # whoever connects next follows the run
            except RunInProgressError:
                if time.monotonic() >= patience:
                    raise self._doubt("another process has the thread") from None
                threading.Event().wait(REGAIN_PAUSE)
            except BackplaneError as exc:
                raise self._doubt(exc.reason) from exc

    def _doubt(self, reason: str) -> BackplaneError:
        """Return the error of a turn whose message is with the service."""
        error = BackplaneError(repr(self._backplane), "go on with a turn", reason)
        error.in_doubt = True
        return error

    # What is told

    def wants_deltas(self) -> bool:
        """Return ``True``: nobody knows who listens in other processes."""
        return True

    def is_listened_to(self) -> bool:
        """Return ``False``: they need no agent, as other processes' events come to them anyway."""
        return False

    def publish(self, event: Event) -> Event | None:
        """Append an event to the log; it is told here when it stands there."""
        if isinstance(event, AgentStopped) or event.cursor is not None:
            return event
        with self._changed:
            lease = self._lease
            if lease is None:
                # Decided before the agent heard that another process has the turn.
                return None if self._mailbox.progress.remote is not None else event
            event._take_place(lease.next_cursor())
            turn = self._mailbox.progress.turn
            key = turn.key if turn is not None else None
            waiting, dropped = self._outbox.add(event, key, sends=self._sends)
        if dropped:
            logger.warning("%d events of thread %s are lost", dropped, self._scope.thread_id)
        if isinstance(event, AssistantMessageDelta):
            self._flush_soon(DELTA_PAUSE)
            return event
        try:
            self._flush()
        except LeaseLostError:
            self._lose(lease)
            return None
        except BackplaneError as exc:
            self._warn(exc)
        # Lost meanwhile, it is told by the process that has the turn now.
        return self._told(waiting, lease)

    def _told(self, waiting: Unsent, lease: Lease) -> Event | None:
        with self._changed:
            if self._lease is not lease:
                return None
            waiting.told = True
            return waiting.event

    def _flush_soon(self, seconds: float) -> None:
        with self._changed:
            if self._flush_due:
                return
            self._flush_due = True
        self._backplane.call_in(seconds, self._flush_now)

    def _flush_now(self) -> None:
        self._flush_due = False
        lease = self._lease
        try:
            self._flush()
        except LeaseLostError:
            if lease is not None:
                self._lose(lease)
        except BackplaneError as exc:
            self._warn(exc)

    def _warn(self, error: BackplaneError) -> None:
        level = logger.debug if self._troubled else logger.warning
        level("events of thread %s wait: %s", self._scope.thread_id, error)
        self._troubled = True
        self._flush_soon(RETRY_PAUSE)

    def _flush(self) -> None:
        """Append what was not appended yet; one thread at a time, so that the order stays.

        Raises:
            BackplaneError: If the backplane fails; then it is kept.
        """
        while True:
            with self._changed:
                self._changed.wait_for(lambda: not self._sends)
                lease = self._lease
                if lease is None or not self._outbox:
                    self._troubled = False
                    return
                batch = self._outbox.next_batch()
                self._sends = True
            try:
                events = tuple(each.event for each in batch)
                self._backplane.append(lease, events, batch[0].key)
                with self._changed:
                    self._outbox.is_sent(batch)
            finally:
                with self._changed:
                    self._sends = False
                    self._changed.notify_all()

    # What others tell

    def heard(self, page: Page) -> None:
        """Take in what was appended to the log; on the backplane's thread."""
        with self._changed:
            told, lease = self._outbox.told_alone(), self._lease
        fence = lease.fence if lease is not None else 0
        self._mailbox.apply(remote.heard, page, self._owner, fence=fence, told_alone=told)
        self._watch()

    def _watch(self) -> None:
        if self._mailbox.progress.remote is not None:
            self._backplane.watch(self._scope)

    def ownerless(self) -> None:
        """Have a turn taken over whose owner has fallen silent."""
        if self._lease is not None or self._ended:
            return
        self._mailbox.apply(remote.ownerless)
        if not self._mailbox.progress.handles_tools:
            # If no process that handles them is there, this one tells of the turn's end at least.
            self._backplane.call_in(LISTENERS_PAUSE, self._take_over_late)

    def _take_over_late(self) -> None:
        if self._lease is None and not self._ended:
            self._mailbox.apply(remote.ownerless, by_anybody=True)

    def lost(self, lease: Lease) -> None:
        """Leave the turn to the process that has taken it over."""
        self._lose(lease)

    def asked(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer another process, if this agent runs the turn; on a thread of its own."""
        if self._lease is None or not self._has_taken_over():
            return {}
        # It may have been asked of the owner of an earlier turn.
        turn, run_id = self._mailbox.progress.turn, request.get("run_id")
        if turn is None or run_id not in (None, turn.run_id):
            return remote_verbs.too_late(self._scope.thread_id)
        return self._answer(request)

    def _has_taken_over(self) -> bool:
        """Return whether what the owner before was at is this agent's turn now; wait for it."""
        return self._mailbox.wait_until(lambda progress, _: progress.remote is None, TAKING_OVER)

    def catch_up(self) -> None:
        """Take in all that there is in the log now; on the worker's thread.

        Raises:
            BackplaneError: If the backplane fails.
        """
        self.heard(self._backplane.read(self._scope, self._mailbox.progress.cursor))

    def retry(self, call: Callable[[], object], *, stays: bool = False) -> None:
        """Have something called again, after it has failed."""
        if stays:
            self._leave_at = time.monotonic() + 2 * RETRY_PAUSE
            self._backplane.call_in(2 * RETRY_PAUSE, self._mailbox.wake_worker)
        self._backplane.call_in(RETRY_PAUSE, call)

    def ask(self, verb: str, **arguments: Any) -> Mapping[str, Any] | None:
        """Have the process that runs the turn do something; ``None`` where this one runs it."""
        turn = self._mailbox.progress.remote
        if turn is None or (self._lease is not None and self._has_taken_over()):
            return None
        request = {"verb": verb, "run_id": turn.run_id, **arguments}
        return self._backplane.ask_owner(self._scope, request, ANSWER_PATIENCE)


def _is_behind(cursor: str, before: str) -> bool:
    return place_of_cursor(cursor) < place_of_cursor(before)
