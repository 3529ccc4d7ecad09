"""What the tests of journals have in common."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from gpt_agent_sync.journal.base import Claim, Entry, Journal, Scope

SCOPE = Scope(service="assistants:example", thread_id="thread_1")
OTHER_THREAD = Scope(service="assistants:example", thread_id="thread_2")
OTHER_SERVICE = Scope(service="responses:example", thread_id="thread_1")

LONG = 600.0
"""Seconds of a lease that does not run out while a test runs."""

RAN_OUT = 0.0
"""Seconds of a lease that has run out at once."""


def claim_call(
    journal: Journal, owner: str, *, lease: float = LONG, data: dict[str, Any] | None = None
) -> Claim:
    """Claim the call of these tests."""
    return journal.claim(SCOPE, "call", "1", owner=owner, lease=lease, data=data)


def call(
    *,
    data: dict[str, Any] | None = None,
    attempt: int = 0,
    owner: str | None = None,
    done: bool = False,
) -> Entry:
    """Return the call of these tests as it should be."""
    return Entry(kind="call", key="1", data=data or {}, attempt=attempt, owner=owner, done=done)


def wait_until(happened: Callable[[], object]) -> None:
    """Look until something has happened."""
    end, pause = time.monotonic() + 30.0, threading.Event()
    while not happened():
        assert time.monotonic() < end, "waited 30 s in vain"
        pause.wait(0.01)
