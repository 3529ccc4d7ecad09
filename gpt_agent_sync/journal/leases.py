"""The leases of this process: renewed by a thread for as long as something is worked on."""

from __future__ import annotations

import contextlib
import threading
import weakref
from collections.abc import Iterator

import attrs

from gpt_agent_sync.forks import PerProcess
from gpt_agent_sync.journal.base import Journal
from gpt_agent_sync.journal.owners import this_process
from gpt_agent_sync.logs import get_logger

logger = get_logger(__name__)

LEASE = 30.0
"""Seconds after which others may take over what a process that fell silent was working on."""

EVERY = 10.0
"""Seconds between renewals: two may fail before a lease runs out."""


@attrs.define(eq=False)
class _Own:
    """What one process holds: how many things, and what ends the thread that renews them."""

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    held: int = 0
    ended: threading.Event | None = None


class Leases:
    """What this process works on in one journal; ``leases_of()`` gives those of a journal.

    A daemon thread renews the process's leases while something is held, and there is none else;
    nor is there for a journal that only this process has, where all claims are one owner's.

    Args:
        journal: The journal.
        lease: Seconds that a lease lasts; also for the claims of those who hold.
        every: Seconds between renewals.
    """

    def __init__(self, journal: Journal, *, lease: float = LEASE, every: float = EVERY) -> None:
        self._journal = journal
        self.lease = lease
        self._every = every
        self._process = PerProcess[_Own](lambda inherited: _Own())

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold for as long as the block takes.

        Raises:
            RuntimeError: If no thread can be started.
        """
        self.hold()
        try:
            yield
        finally:
            self.drop()

    def hold(self) -> None:
        """Have leases renewed until ``drop()``, once for each ``hold()``.

        Raises:
            RuntimeError: If no thread can be started; nothing is held then.
        """
        own = self._process.get()
        with own.lock:
            own.held += 1
            if own.ended is not None or not self._journal.shared:
                return
            ended = own.ended = threading.Event()
        # Outside the lock, as it takes its time, and may fail where threads are scarce.
        try:
            threading.Thread(
                target=self._renew_until, args=(ended,), name="gpt-agent-leases", daemon=True
            ).start()
        except BaseException:
            with own.lock:
                own.held -= 1
                if own.ended is ended:
                    own.ended = None
            raise

    def drop(self) -> None:
        """Let go of what was held once; in a forked child, of what its parent held, do nothing."""
        own = self._process.get()
        with own.lock:
            if not own.held:
                return
            own.held -= 1
            if own.held:
                return
            ended, own.ended = own.ended, None
        if ended is not None:
            ended.set()

    def _renew_until(self, ended: threading.Event) -> None:
        troubled = False
        while not ended.wait(self._every):
            try:
                self._journal.renew(this_process(), self.lease)
                troubled = False
            except Exception as exc:
                # Others may take over what this process works on, if this goes on.
                if not troubled:
                    logger.warning("the leases in %r are not renewed: %s", self._journal, exc)
                troubled = True


@attrs.define(eq=False)
class _Known:
    """The leases there are, by the identity of the journal.

    Weakly; leases hold their journal, so that the identity is no other's while they are there.
    """

    lock: threading.Lock = attrs.field(factory=threading.Lock)
    by_journal: weakref.WeakValueDictionary[int, Leases] = attrs.field(
        factory=weakref.WeakValueDictionary
    )


_known = PerProcess[_Known](lambda inherited: _Known())


def leases_of(journal: Journal) -> Leases:
    """Return the leases of this process in a journal: the same for all who hold them."""
    known = _known.get()
    with known.lock:
        return known.by_journal.setdefault(id(journal), Leases(journal, lease=LEASE, every=EVERY))
