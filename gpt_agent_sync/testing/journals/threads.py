"""The contract of journals: many threads at once."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from gpt_agent_sync.journal.base import Journal
from gpt_agent_sync.testing.journals.support import LONG, RAN_OUT, SCOPE

ROUNDS = 20


class ThreadConformance:
    """Claims and updates of several threads at once."""

    def test_one_of_many_threads_gets_an_entry(self, journal: Journal) -> None:
        """Of threads that claim one entry at once, new or to be taken over, just one gets it."""
        owners = ["ann", "ben", "cat", "dan"]
        barrier = threading.Barrier(len(owners))

        def claim(owner: str) -> list[bool]:
            taken = []
            for number in range(ROUNDS):
                barrier.wait(60)
                new = journal.claim(SCOPE, "new", str(number), owner=owner, lease=LONG)
                old = journal.claim(SCOPE, "old", str(number), owner=owner, lease=LONG)
                taken += [new.taken, old.taken]
            return taken

        for number in range(ROUNDS):
            journal.claim(SCOPE, "old", str(number), owner="eve", lease=RAN_OUT)
        with ThreadPoolExecutor(len(owners)) as pool:
            won = list(zip(*pool.map(claim, owners), strict=True))
        assert [sum(each) for each in won] == [1] * ROUNDS * 2

    def test_no_update_is_lost_among_threads(self, journal: Journal) -> None:
        """Threads that work on entries of their own do not get in each other's way."""

        def work(owner: str) -> bool:
            mine = [f"{owner}/{number}" for number in range(ROUNDS)]
            for key in mine:
                journal.claim(SCOPE, "call", key, owner=owner, lease=LONG)
                journal.update(SCOPE, "call", key, owner=owner, data={"by": key}, done=True)
            found = {entry.key: entry for entry in journal.entries(SCOPE, "call")}
            kept = all(found[key].done and found[key].data == {"by": key} for key in mine)
            journal.remove(SCOPE, "call", f"{owner}/")
            return kept

        with ThreadPoolExecutor(4) as pool:
            assert list(pool.map(work, ["ann", "ben", "cat", "dan"])) == [True] * 4
        assert list(journal.entries(SCOPE, "call")) == []
