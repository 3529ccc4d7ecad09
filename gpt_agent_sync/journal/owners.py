"""Who a process is in journals."""

from __future__ import annotations

import os
from collections.abc import Sequence

from gpt_agent_sync.forks import PerProcess


def this_process() -> str:
    """Return the name of this process, ``"host:pid:random"``; a forked child has its own."""
    return _name.get()


def _make(inherited: Sequence[str]) -> str:
    # Imported here: whoever asks is about to use the network anyway.
    import socket

    # A pid is used again, after a restart and in another container of the same name.
    return f"{socket.gethostname()}:{os.getpid()}:{os.urandom(6).hex()}"


_name = PerProcess(_make)
