"""What a test has a forked child do."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest


def in_forked_child(run: Callable[[], object]) -> bool:
    """Call something in a forked child; return whether that ended with what is true.

    The child leaves at once then: it is not to go on with the test.
    """
    child = os.fork()
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
