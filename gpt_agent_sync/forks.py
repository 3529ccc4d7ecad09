"""Callbacks in forked children, on systems that fork."""

from __future__ import annotations

import os
from collections.abc import Callable


def in_child(callback: Callable[[], None]) -> None:
    """Have ``callback`` called in every forked child, before its own code goes on."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=callback)
