"""Waiting for what nobody tells of, looked at now and then."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

LOOK_SECONDS = 0.01


def wait_while(goes_on: Callable[[], bool], seconds: float) -> None:
    """Wait while something goes on.

    Args:
        goes_on: Returns whether it does.
        seconds: How long at most.
    """
    until, pause = time.monotonic() + seconds, threading.Event()
    while goes_on() and time.monotonic() < until:
        # An event that nobody sets: a bounded pause.
        pause.wait(LOOK_SECONDS)
