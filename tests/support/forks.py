"""What a test has a forked child do."""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.polling import wait_for

FORKS = 5
"""How often a child is forked in C at most, until one of them gets to its first step."""

PATIENCE = 5.0
"""Seconds in which it has to get there."""


def in_forked_child(run: Callable[[], object]) -> bool:
    """Call something in a forked child; return whether that ended with what is true.

    The child leaves at once then: it is not to go on with the test.
    """
    return _in_child(os.fork, run)


def in_unnoticed_child(run: Callable[[], object]) -> bool:
    """Do the same in a child that was forked in C, so that none of Python's hooks ran."""
    return _in_child(fork_in_c, run)


def fork_in_c() -> int:
    """Fork as an extension does; return the child's id, or 0 in the child.

    Such a child of CPython hangs at its first step where a thread of the parent was waiting for the
    interpreter at that moment: it hands it over, and nobody is there to take it. That is nothing of
    ours to test, so one that does not get to say a word is ended, and forked once more.
    """
    for _ in range(FORKS):
        hears, says = os.pipe()
        child = _fork_at_rest()
        if child == 0:
            os.write(says, b"x")
            return 0
        os.close(says)
        is_heard = bool(select.select([hears], [], [], PATIENCE)[0])
        os.close(hears)
        if is_heard:
            return child
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    raise AssertionError(f"each of {FORKS} children hung at its first step")


def _fork_at_rest() -> int:
    """Fork when the other threads rest; one that wants the interpreter then asks for it at once."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        wait_for(lambda: [_others_rest(), _others_rest()], all)
        return int(ctypes.PyDLL(None).fork())
    finally:
        sys.setswitchinterval(interval)


def _others_rest() -> bool:
    """Tell whether all other threads of this process sleep."""
    tasks = Path("/proc/self/task")
    if not tasks.is_dir():
        return True
    others = set(os.listdir(tasks)) - {str(threading.get_native_id())}
    try:
        stats = [(tasks / other / "stat").read_text() for other in others]
    except (FileNotFoundError, ProcessLookupError):  # one ends just now
        return False
    return all(stat.rpartition(") ")[2].startswith("S") for stat in stats)


def _in_child(fork: Callable[[], int], run: Callable[[], object]) -> bool:
    child = fork()
    if child == 0:
        try:
            os._exit(0 if run() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def forks(test: Callable[..., None]) -> Callable[..., None]:
    """Mark a test that forks: skipped where the system does not, and warned of nothing."""
    quiet = pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
    needs = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
    marked: Callable[..., None] = needs(quiet(test))
    return marked
