"""The runs that may hold a thread although nobody follows them."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from gpt_agent_sync import forks
from gpt_agent_sync.services.assistants import wire

DOUBT_SECONDS = 900.0
"""How long one is remembered; runs of the wire expire after 600 s."""

CAPACITY = 32
"""How many of a thread are remembered: of several in a row that are in doubt, one is there."""


@attrs.frozen(kw_only=True)
class Abandoned:
    """A run that was given up.

    Attributes:
        until: When it is forgotten, monotonic seconds.
        token: The token in its metadata, where its creation is in doubt.
        run_id: Its id, where that is known and the service did not take the cancel.
    """

    until: float
    token: str | None = None
    run_id: str | None = None

    def find(self, newest: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Return the run among a thread's newest ones, if it is live."""
        if self.token is not None:
            run = wire.find_started(newest, self.token, None)
        else:
            run = next((run for run in newest if run.get("id") == self.run_id), None)
        return run if run is not None and wire.is_live(run) else None


class AbandonedRuns:
    """What is known of such runs, by thread; safe to share between threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._by_thread: dict[str, tuple[Abandoned, ...]] = {}
        forks.renew_in_child(self)

    def in_doubt(self, thread_id: str, token: str) -> Abandoned:
        """Note a run of which nobody knows whether it was created, or is about to be."""
        one = Abandoned(until=time.monotonic() + DOUBT_SECONDS, token=token)
        self._note(thread_id, one)
        return one

    def not_cancelled(self, thread_id: str, run_id: str) -> None:
        """Note a run whose cancel has failed."""
        self._note(thread_id, Abandoned(until=time.monotonic() + DOUBT_SECONDS, run_id=run_id))

    def _note(self, thread_id: str, one: Abandoned) -> None:
        now = time.monotonic()
        with self._lock:
            known = (*self._by_thread.pop(thread_id, ()), one)
            self._by_thread[thread_id] = known[-CAPACITY:]
            # The ones noted longest ago come first, as each thread is put last when it is noted.
            for other, noted in list(self._by_thread.items()):
                if noted[-1].until > now:
                    break
                del self._by_thread[other]

    def of(self, thread_id: str) -> Sequence[Abandoned]:
        """Return those of a thread, the latest first."""
        now = time.monotonic()
        with self._lock:
            noted = self._by_thread.get(thread_id, ())
        return [one for one in reversed(noted) if one.until > now]

    def forget(self, thread_id: str, one: Abandoned) -> None:
        """Forget one that has ended."""
        with self._lock:
            left = tuple(each for each in self._by_thread.get(thread_id, ()) if each is not one)
            if left:
                self._by_thread[thread_id] = left
            else:
                self._by_thread.pop(thread_id, None)

    def _after_fork(self) -> None:
        """Begin anew, in a forked child: the parent ends the runs that it gave up."""
        self._lock = threading.Lock()
        self._by_thread = {}
