"""What the process holds: threads, descriptors, sockets, memory."""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import attrs

WARM_UP_SHARE = 0.4
"""The share of the time after which nothing may grow any more."""

ALLOWANCE = {"threads": 10.0, "descriptors": 30.0, "sockets": 30.0, "megabytes": 10.0}
"""By how much the last figures may be higher than those after the warm-up, by chance."""

_RESIDENT = re.compile(r"VmRSS:\s+(\d+) kB")


@attrs.frozen
class Figures:
    """What the process holds at a moment.

    Attributes:
        at: The moment, monotonic seconds.
        threads: Threads that run.
        descriptors: File descriptors that are open.
        sockets: Those of them that are sockets.
        megabytes: Resident memory.
    """

    at: float
    threads: int
    descriptors: int
    sockets: int
    megabytes: float


def take_figures() -> Figures:
    """Return what this process holds now."""
    targets = []
    for name in os.listdir("/proc/self/fd"):
        try:
            targets.append(os.readlink(f"/proc/self/fd/{name}"))
        except FileNotFoundError:
            # Closed meanwhile, as that of the listing itself.
            continue
    found = _RESIDENT.search(Path("/proc/self/status").read_text())
    return Figures(
        at=time.monotonic(),
        threads=threading.active_count(),
        descriptors=len(targets),
        sockets=sum(target.startswith("socket:") for target in targets),
        megabytes=int(found[1]) / 1024 if found else 0.0,
    )


def growth(taken: Sequence[Figures]) -> dict[str, tuple[float, float]]:
    """Return what has grown after the warm-up: the most there was at first, and in the end."""
    after = taken[int(len(taken) * WARM_UP_SHARE) :]
    share = max(1, len(after) // 3)
    grown = {}
    for name, allowance in ALLOWANCE.items():
        early = max(getattr(each, name) for each in after[:share])
        late = max(getattr(each, name) for each in after[-share:])
        if late > early + allowance:
            grown[name] = (early, late)
    return grown
