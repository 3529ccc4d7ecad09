"""The names of processes in journals."""

from __future__ import annotations

import os
import socket

from gpt_agent_sync.journal.owners import this_process
from tests.support.forks import forks, in_forked_child


def test_name_stays() -> None:
    """A process keeps its name."""
    assert this_process() == this_process()


def test_name_says_where_it_runs() -> None:
    """A name tells host and process, and a part that is made by chance."""
    assert this_process().startswith(f"{socket.gethostname()}:{os.getpid()}:")
    assert len(this_process().rpartition(":")[2]) == 12


@forks
def test_child_has_a_name_of_its_own() -> None:
    """A forked child is another owner than its parent."""
    parent = this_process()
    assert in_forked_child(lambda: this_process() not in ("", parent))
    assert this_process() == parent
