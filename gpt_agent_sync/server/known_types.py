"""Types that msgspec is to convert to, made known to it before several threads use them."""

from __future__ import annotations

import os
import threading
from typing import Any

import msgspec


class KnownTypes:
    """Types that are made known to msgspec when they are first used, by one thread at a time.

    It works out how a type is converted when that is first asked for, and lets other threads run in
    the middle of it. One that converts to the same type then finds it half done, and the process
    ends with a segmentation fault (seen with msgspec 0.22): two first requests of a kind at once
    would do. The types of tools are known from when their schemas are made.
    """

    def __init__(self) -> None:
        self._known: set[Any] = set()
        self._renew_lock()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._renew_lock)

    def _renew_lock(self) -> None:
        # A forked child's may be held by a thread that it does not have.
        self._lock = threading.Lock()

    def require(self, model: Any) -> None:
        """Make a type known, if it is not yet, and all that it is made of."""
        if model in self._known:
            return
        with self._lock:
            msgspec.json.Decoder(model)
            self._known.add(model)
