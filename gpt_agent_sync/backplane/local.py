"""The backplane of one process, which is the default: nothing is shared, and nothing costs."""

from __future__ import annotations

import collections
import contextlib
import itertools
import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import attrs

from gpt_agent_sync.backplane.base import Backplane, Lease, LeaseLostError, Listener
from gpt_agent_sync.backplane.timer import Timer
from gpt_agent_sync.errors import BackplaneError
from gpt_agent_sync.event_log import START, Entry, Page, cursor_of
from gpt_agent_sync.events import Event
from gpt_agent_sync.forks import PerProcess
from gpt_agent_sync.journal.base import Scope

KEEP = 1000
"""Entries of a log that are kept."""

LOGS = 256
"""Logs that are kept; those that were not used for longest go first."""


@attrs.define(eq=False)
class _Log:
    """A thread's log, from when somebody first listened to it."""

    entries: collections.deque[Entry] = attrs.field(factory=lambda: collections.deque(maxlen=KEEP))
    newest: str = START
    lease: Lease | None = None
    listeners: tuple[_Listening, ...] = ()

    def append(self, events: tuple[Event, ...], key: str | None = None) -> None:
        """Add events; with the lock held."""
        cursor = events[-1].cursor or START
        self.add(Entry(cursor=cursor, before=self.newest, events=events, key=key))

    def add(self, entry: Entry) -> None:
        """Add an entry for ``tell()``; with the lock held."""
        self.entries.append(entry)
        self.newest = entry.cursor
        for listening in self.listeners:
            listening.waiting.put(Page((entry,)))

    def tell(self) -> None:
        """Tell the listeners what was added; without the lock."""
        for listening in self.listeners:
            listening.tell()


@attrs.define(eq=False)
class _Own:
    """What one process has."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    logs: collections.OrderedDict[Scope, _Log] = attrs.field(factory=collections.OrderedDict)
    # Larger than those of an earlier process, whose cursors a page may still have.
    fence: int = attrs.field(factory=lambda: time.time_ns() // 1_000_000)
    numbers: itertools.count[int] = attrs.field(factory=lambda: itertools.count(1))
    timer: Timer = attrs.field(factory=lambda: Timer("gpt-agent-backplane"))


class LocalBackplane(Backplane):
    """A backplane in memory, for the threads of one process; a forked child begins with none.

    Agents take no leases from it: there is one agent of a thread in a process as it is. A log is
    kept from when somebody first listens to its thread without an agent.
    """

    shared = False

    def __init__(self) -> None:
        self._process = PerProcess[_Own](lambda inherited: _Own())

    def tell(self, scope: Scope, event: Event) -> None:
        """Give an event its place, and tell those who listen."""
        own = self._process.get()
        event._take_place(cursor_of(own.fence, next(own.numbers)))
        # Most threads have no log; that is seen without the lock.
        if scope in own.logs:
            with own.lock:
                log = own.logs.get(scope)
                if log is not None:
                    log.append((event,))
            if log is not None:
                log.tell()

    def keeps(self, scope: Scope) -> bool:
        """Return whether a thread has a log, as somebody listens or has listened to it."""
        return scope in self._process.get().logs

    def is_listened_to(self, scope: Scope) -> bool:
        """Return whether anybody listens to a thread now."""
        log = self._process.get().logs.get(scope)
        return log is not None and bool(log.listeners)

    def _log(self, own: _Own, scope: Scope) -> _Log:
        log = own.logs.setdefault(scope, _Log())
        own.logs.move_to_end(scope)
        unused = (each for each, kept in own.logs.items() if not (kept.listeners or kept.lease))
        for other in list(itertools.islice(unused, max(0, len(own.logs) - LOGS))):
            if other != scope:
                del own.logs[other]
        return log

    def acquire(self, scope: Scope, owner: str) -> Lease | None:
        """Take the lease of a thread if nobody holds it, and append the mark ``"begun"``."""
        own = self._process.get()
        with own.lock:
            log = self._log(own, scope)
            if log.lease is not None:
                return None
            own.fence = max(own.fence + 1, time.time_ns() // 1_000_000)
            place = cursor_of(own.fence, 0)
            last = log.entries[-1] if log.entries else None
            lease = log.lease = Lease(
                scope,
                own.fence,
                "",
                float("inf"),
                newest=place,
                before=log.newest,
                follows_turn=last is not None and last.mark != "settled",
            )
            log.add(Entry(cursor=place, before=log.newest, mark="begun", owner=owner))
        log.tell()
        return lease

    def confirm(self, lease: Lease) -> bool:
        """Return whether a lease is still held."""
        own = self._process.get()
        with own.lock:
            return self._log(own, lease.scope).lease is lease

    def release(self, lease: Lease, *, settled: bool = True) -> None:
        """Append the mark ``"settled"`` and let others have the lease; nothing if it is lost."""
        own = self._process.get()
        with own.lock:
            log = self._log(own, lease.scope)
            if log.lease is not lease:
                return
            log.lease = None
            if settled:
                place = cursor_of(lease.fence, lease.count + 1)
                log.add(Entry(cursor=place, before=log.newest, mark="settled"))
        log.tell()
        if not settled:
            for listening in list(log.listeners):
                listening.listener.ownerless()

    def forget(self, lease: Lease) -> None:
        """Do nothing: a lease of this process is not renewed."""

    def append(self, lease: Lease, events: tuple[Event, ...], key: str | None = None) -> None:
        """Append events with cursors of the lease; what is there already is not doubled."""
        own = self._process.get()
        with own.lock:
            log = self._log(own, lease.scope)
            if log.lease is not lease:
                raise LeaseLostError(repr(self), "append events", "another has the thread")
            if events[-1].cursor != log.newest:
                log.append(events, key)
                lease.newest = log.newest
        log.tell()

    def read(self, scope: Scope, after: str) -> Page:
        """Return what is kept of a thread's log after a cursor."""
        own = self._process.get()
        with own.lock:
            log = own.logs.get(scope)
            return Page() if log is None else Page.of(list(log.entries), after)

    def newest(self, scope: Scope) -> str:
        """Return the newest cursor of a thread's log."""
        own = self._process.get()
        with own.lock:
            # Kept from now on, as somebody is about to listen.
            return self._log(own, scope).newest

    def is_held(self, scope: Scope) -> bool:
        """Return whether anybody holds a thread's lease."""
        own = self._process.get()
        with own.lock:
            log = own.logs.get(scope)
            return log is not None and log.lease is not None

    def listen(self, scope: Scope, after: str, listener: Listener) -> _Listening:
        """Have a listener told of all that comes after a cursor, at once and from now on."""
        own = self._process.get()
        with own.lock:
            log = self._log(own, scope)
            listening = _Listening(own, log, listener)
            page = Page.of(list(log.entries), after)
            if page.entries:
                listening.waiting.put(page)
            log.listeners = (*log.listeners, listening)
        listening.tell()
        return listening

    def watch(self, scope: Scope, *, now: bool = False) -> None:
        """Do nothing: a lease of this process does not run out."""

    def call_in(self, seconds: float, call: Callable[[], object]) -> None:
        """Have something called later, on a thread of the backplane."""
        self._process.get().timer.call_in(seconds, call)

    def ask_owner(
        self, scope: Scope, request: Mapping[str, Any], timeout: float
    ) -> Mapping[str, Any]:
        """Return what the listener that holds the lease answers."""
        own = self._process.get()
        with own.lock:
            log = own.logs.get(scope)
            listeners = [] if log is None or log.lease is None else list(log.listeners)
        for listening in listeners:
            answer = listening.listener.asked(request)
            if answer:
                return answer
        raise BackplaneError(repr(self), "ask the owner", "there is none")

    def close(self) -> None:
        """End the timer's thread; the next call starts it again."""
        own = self._process.get()
        timer, own.timer = own.timer, Timer("gpt-agent-backplane")
        timer.close()

    def __repr__(self) -> str:
        """Show what it is."""
        return "LocalBackplane()"


@attrs.define(eq=False)
class _Listening:
    """A listener to a log, and what it is still to be told."""

    own: _Own
    log: _Log
    listener: Listener
    waiting: queue.SimpleQueue[Page] = attrs.field(factory=queue.SimpleQueue)
    telling: threading.Lock = attrs.field(factory=threading.Lock)

    def tell(self) -> None:
        """Tell what is waiting, in order: one thread at a time, for all who come meanwhile."""
        while not self.waiting.empty() and self.telling.acquire(blocking=False):
            try:
                with contextlib.suppress(queue.Empty):
                    while True:
                        self.listener.heard(self.waiting.get_nowait())
            finally:
                self.telling.release()

    def close(self) -> None:
        """End it; idempotent."""
        with self.own.lock:
            left = tuple(each for each in self.log.listeners if each is not self)
            self.log.listeners = left
