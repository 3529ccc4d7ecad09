"""Looks for runs of other callers, by an agent that has none and that somebody hears."""

from __future__ import annotations

import time
from collections.abc import Callable

from gpt_agent_sync.agent.mailbox import Mailbox
from gpt_agent_sync.decisions import verbs, watching
from gpt_agent_sync.decisions.state import Progress
from gpt_agent_sync.errors import GptAgentError
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Message, RunSnapshot
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.threads import Thread

logger = get_logger(__name__)


class Watch:
    """When to look at the thread, and what was seen there; the looks are on threads of their own.

    A message that somebody adds meanwhile does not wait for one.

    Args:
        thread_id: The thread.
        mailbox: The agent's progress.
        service: The service.
        interval: Seconds between two looks; ``None`` for no looks.
        is_heard: Returns whether anybody hears the agent's events.
        is_streamed: Returns whether anybody iterates over them.
    """

    def __init__(
        self,
        thread_id: str,
        mailbox: Mailbox,
        service: Service,
        interval: float | None,
        is_heard: Callable[[], bool],
        is_streamed: Callable[[], bool],
    ) -> None:
        self._thread_id = thread_id
        self._mailbox = mailbox
        self._service = service
        self._interval = interval
        self._is_heard = is_heard
        self._is_streamed = is_streamed
        self._due_at = time.monotonic()
        self._has_begun = self._looks = self._troubled = False
        self._told_run: str | None = None
        self._unnamed: str | None = None
        self._after: str | None = None

    def begin(self) -> None:
        """See what is there already, which is not told; on the thread that connects.

        Where the service fails the first look does that.
        """
        if self._interval is not None:
            self._see_and_log(self._see_first)

    def _see_first(self) -> None:
        newest, known = self._see(None, newest_only=True)
        self._after = known[-1].id if known else None
        self._told_run = newest.id if newest is not None and newest.is_final else None
        self._has_begun = True

    @property
    def keeps_alive(self) -> bool:
        """Whether somebody waits for what the looks tell: an agent that is idle stays, then."""
        return self._interval is not None and self._is_streamed()

    def due_at(self, progress: Progress) -> float | None:
        """Return when to look next, monotonic seconds; ``None`` while there is a run."""
        if self._interval is None or verbs.is_busy(progress):
            return None
        return self._due_at

    def look(self, now: float) -> None:
        """Look if it is time to; on the worker's thread, which does not wait for it."""
        due_at = self.due_at(self._mailbox.progress)
        if self._interval is None or due_at is None or due_at > now:
            return
        self._due_at = now + self._interval
        if self._looks or not self._is_heard():
            return
        self._looks = True
        try:
            Thread(self._look, f"gpt-agent-watch-{self._thread_id}").start()
        except RuntimeError as exc:  # there are none to be had, as at interpreter exit
            self._looks = False
            logger.info("thread %s is not looked at: %s", self._thread_id, exc)

    def _look(self) -> None:
        try:
            self._see_and_log(self._look_once if self._has_begun else self._see_first)
        finally:
            self._looks = False

    def _see_and_log(self, see: Callable[[], None]) -> None:
        try:
            see()
            self._troubled = False
        except GptAgentError as exc:
            stopped = self._mailbox.progress.stopped is not None
            log = logger.info if self._troubled or stopped else logger.warning
            log("other callers' runs on thread %s are not seen: %s", self._thread_id, exc)
            self._troubled = True

    def _look_once(self) -> None:
        since, progress = self._mailbox.changed_at, self._mailbox.progress
        if verbs.is_busy(progress):
            return
        newest, unseen = self._see(progress.last_message_id or self._after)
        if newest is not None and newest.id in (self._told_run, *progress.told_runs):
            newest = None
        if newest is None and unseen and unseen[-1].id != self._unnamed:
            # Of a run that ended before its process has named it: the next look may know it.
            self._unnamed = unseen[-1].id
            return
        # If the agent has had a turn meanwhile, what was seen may be its own: the next look tells.
        self._mailbox.apply_if_quiet_since(since, watching.seen_elsewhere, newest, unseen)

    def _see(
        self, after: str | None, *, newest_only: bool = False
    ) -> tuple[RunSnapshot | None, list[Message]]:
        """Return the newest run, and messages after one, as they were at one time."""
        newest = self._service.newest_run(self._thread_id)
        while True:
            if newest_only:
                seen = list(self._service.messages(self._thread_id, order="desc", limit=1))
            else:
                seen = list(self._service.messages(self._thread_id, after=after))
            before, newest = newest, self._service.newest_run(self._thread_id)
            # Else a run has begun or ended meanwhile, and the messages may be some of its.
            if _state_of(before) == _state_of(newest):
                return newest, seen


def _state_of(run: RunSnapshot | None) -> tuple[str, bool] | None:
    return None if run is None else (run.id, run.is_final)
