"""Bounded waits for what another thread or a server brings about."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def wait_for(poll: Callable[[], T], good: Callable[[T], object], *, timeout: float = 10.0) -> T:
    """Poll until what is returned is good, and return it.

    Args:
        poll: Returns what is there now.
        good: Returns whether that is what is waited for.
        timeout: Seconds after which the wait fails.

    Raises:
        AssertionError: If it was never good; it shows what was seen last.
    """
    end = time.monotonic() + timeout
    pause = threading.Event()
    while not good(seen := poll()):
        assert time.monotonic() < end, f"waited {timeout} s in vain; last seen: {seen!r}"
        pause.wait(0.01)
    return seen
