"""Waits that a signal ends, on the main thread too."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

SIGNAL_PAUSE = 0.5
"""Seconds after which the main thread, while it waits, lets Python handle its signals."""


def wait(wait_once: Callable[[float | None], bool], timeout: float | None) -> bool:
    """Wait, and let signals be handled meanwhile.

    Python's own handlers run on the main thread, and a signal that comes in the moment before it
    blocks does not wake it: Ctrl-C would take effect when the wait is over.

    Args:
        wait_once: Waits for that many seconds at most, ``None`` for ever; returns whether what it
            waits for came. Called again and again on the main thread.
        timeout: Seconds to wait at most; ``None`` for ever.

    Returns:
        Whether it came in time.
    """
    if threading.current_thread() is not threading.main_thread():
        return wait_once(timeout)
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        left = SIGNAL_PAUSE if until is None else min(SIGNAL_PAUSE, until - time.monotonic())
        if wait_once(max(0.0, left)):
            return True
        if until is not None and time.monotonic() >= until:
            return False
