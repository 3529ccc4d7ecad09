"""Forks: what a child has to begin anew, also where Python's own hooks did not run.

``os.fork()`` and what is built on it run those hooks. A host that forks in C, as uWSGI does without
``--py-call-osafterfork``, runs none: there the child notices by its process id, at the first thing
that the program calls.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class Inherited(Protocol):
    """An object that a forked child must not go on with as it is."""

    def _after_fork(self) -> None:
        """Begin anew in a forked child; takes no lock that a thread may have held, raises nothing.

        Called once in each child, by its first thread that comes here. The threads of the parent
        are gone, and whatever they held is held for ever.
        """


class _Process:
    """The process that this is, as far as has been noticed."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.callbacks: list[Callable[[], None]] = []
        # Weakly, and by identity: some objects are equal to others.
        self.objects: weakref.WeakValueDictionary[int, Inherited] = weakref.WeakValueDictionary()
        self.beginning: int | None = None
        self.locks: dict[int, threading.RLock] = {}


_process = _Process()


def in_child(callback: Callable[[], None]) -> None:
    """Have ``callback`` called in every forked child, as ``Inherited._after_fork()`` is."""
    _process.callbacks.append(callback)


def renew_in_child(inherited: Inherited) -> None:
    """Have ``inherited._after_fork()`` called in every forked child, while somebody holds it."""
    check()  # which goes through the objects
    _process.objects[id(inherited)] = inherited


def around(before: Callable[[], None], after: Callable[[], None]) -> None:
    """Have callbacks called in the parent, before and after a fork, by the thread that forks.

    Only where Python's hooks run.
    """
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after)


def check() -> int:
    """Return this process's id; begin anew first, if it is a forked child that has not yet.

    Whatever programs call comes here before it takes a lock: it costs some hundred nanoseconds.
    """
    pid = os.getpid()
    if pid != _process.pid:
        _begin_anew(pid)
    return pid


def _begin_anew(pid: int) -> None:
    # A lock of this process: the parent's may be held for ever. Others are replaced under it, so
    # that no thread of the child goes on before all are; what is called may come here again.
    with _process.locks.setdefault(pid, threading.RLock()):
        if pid in (_process.pid, _process.beginning):
            return
        _process.beginning = pid
        for callback in _process.callbacks:
            callback()
        for inherited in list(_process.objects.values()):
            inherited._after_fork()
        _process.pid = pid


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=check)


class PerProcess(Generic[T]):
    """A value that every process makes for itself, when it first asks.

    A child is known by its pid, so that one which was forked without Python's hooks is too.

    Args:
        make: Makes the value of a process, from those that it inherited; several threads may call
            it at once, and all get what one of them made.
    """

    def __init__(self, make: Callable[[Sequence[T]], T]) -> None:
        self._make = make
        self._values: dict[int, T] = {}

    def get(self) -> T:
        """Return the value of this process."""
        pid = os.getpid()
        try:
            return self._values[pid]
        except KeyError:
            # Without a lock, which the parent's threads might have held when they were left behind.
            value = self._values.setdefault(pid, self._make(tuple(self._values.copy().values())))
            # A pid is used again one day: a grandchild must not take a value for its own.
            for other in self._values.keys() - {pid}:
                self._values.pop(other, None)
            return value
