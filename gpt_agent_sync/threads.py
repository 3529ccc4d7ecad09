"""Threads of our own, and values that belong to a thread; both may be greenlets, under gevent."""

from __future__ import annotations

import contextlib
import sys
import threading
import warnings
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

from gpt_agent_sync import forks

T = TypeVar("T")


def _are_greenlets() -> bool:
    """Return whether gevent has made greenlets of the threads to come."""
    monkey = sys.modules.get("gevent.monkey")
    return monkey is not None and bool(monkey.is_module_patched("threading"))


class _Greenlets:
    """The greenlets that our threads are.

    Attributes:
        from_the_first: Whether gevent had patched when this package was loaded.
        warned: Whether it was told that gevent patched too late.
    """

    def __init__(self) -> None:
        self.from_the_first = _are_greenlets()
        self.warned = False
        self._ours: weakref.WeakSet[Any] = weakref.WeakSet()

    def warn_if_late(self) -> None:
        """Tell once that gevent patched too late."""
        if self.from_the_first or self.warned or not _are_greenlets():
            return
        self.warned = True
        # Not logged: programs that set no logging up would not see it.
        warnings.warn(
            "gevent has patched threads and sockets after gpt_agent_sync was imported: what was "
            "made before may block all greenlets. Patch first: 'from gevent import monkey; "
            "monkey.patch_all()' as the first lines of the program, or of gunicorn's "
            "configuration file where it preloads the application",
            RuntimeWarning,
            stacklevel=2,
        )

    def add_current(self) -> None:
        """Note the current greenlet, if it is one."""
        if _are_greenlets():
            self._ours.add(sys.modules["gevent"].getcurrent())

    def end_inherited(self) -> None:
        """End the copies that a forked child has: they would do the parent's work a second time.

        Threads are not copied, but greenlets are: a child's would read from the parent's sockets,
        poll its runs, and call its handlers.
        """
        inherited, self._ours = self._ours, weakref.WeakSet()
        for greenlet in list(inherited):
            if greenlet is not sys.modules["gevent"].getcurrent():
                greenlet.kill(block=False)


_greenlets = _Greenlets()
forks.in_child(_greenlets.end_inherited)


def ends_greenlet(error: BaseException) -> bool:
    """Return whether an exception is what ends a greenlet, and is to come out of it."""
    greenlet = sys.modules.get("greenlet")
    return greenlet is not None and isinstance(error, greenlet.GreenletExit)


class Thread(threading.Thread):
    """A daemon thread that lives in the process that started it, even where it is a greenlet.

    Args:
        target: What it does.
        name: Its name.
    """

    def __init__(self, target: Callable[[], object], name: str) -> None:
        # A daemon: a program that ends is not to wait for a request in flight.
        super().__init__(target=target, name=name, daemon=True)
        self._pid = forks.check()
        _greenlets.warn_if_late()

    def run(self) -> None:
        """Do what it is for."""
        _greenlets.add_current()
        try:
            super().run()
        except BaseException:
            if self._pid == forks.check():
                raise
            # In a forked child it is the copy of a greenlet that is ended: nothing to tell. This
            # lists it among the child's threads again, out of which it is taken when it has ended.
            threading.current_thread()


class ThreadValue(Generic[T]):
    """A value that each thread, or greenlet, has of its own.

    A ``threading.local`` from before gevent has patched stays one of the system's threads, so that
    all greenlets share it.
    """

    def __init__(self) -> None:
        self._values: dict[int, T] = {}
        forks.renew_in_child(self)

    def get(self) -> T | None:
        """Return the value of the current thread, ``None`` where it has none."""
        return self._values.get(threading.get_ident())

    @contextlib.contextmanager
    def holding(self, value: T) -> Iterator[None]:
        """Have the current thread hold a value while the block runs."""
        ident = threading.get_ident()
        self._values[ident] = value
        try:
            yield
        finally:
            self._values.pop(ident, None)

    def _after_fork(self) -> None:
        """Forget the other threads: a new one may get the number of one that is gone."""
        ident = threading.get_ident()
        self._values = {key: value for key, value in self._values.items() if key == ident}
