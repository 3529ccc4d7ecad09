"""The contract of journals: what entries hold, and how they go."""

from __future__ import annotations

import time
from typing import Any

from gpt_agent_sync.journal.base import Journal, Scope
from gpt_agent_sync.testing.journals.support import (
    LONG,
    OTHER_SERVICE,
    OTHER_THREAD,
    RAN_OUT,
    SCOPE,
    call,
    claim_call,
    wait_until,
)

ODD_KEYS = (
    "",
    " ",
    "run_1/call_1",
    "100%",
    "a_b",
    "a*b?[c]",
    "it's",
    'say "hi"',
    "back\\slash",
    "two\nlines",
    "nul\0inside",
    "naïve café",
    "日本語",
    "🙂",
    "half a pair: \ud800",
    "k" * 2000,
)

AGE = 0.5
"""Seconds after which an entry is old."""

ODD_DATA: tuple[dict[str, Any], ...] = (
    {},
    {"output": "naïve 日本語 🙂 \0 \ud800"},
    {"a": None, "b": True, "c": -1.5e300, "d": [1, [2, {"e": ""}]], "": 2**70},
    {"output": "x" * 1_000_000},
)


class EntryConformance:
    """Keys, data, order, removal and purges."""

    def test_scopes_and_kinds_are_apart(self, journal: Journal) -> None:
        """The same key in another thread, service or kind is another entry."""
        places = [(SCOPE, "call"), (OTHER_THREAD, "call"), (OTHER_SERVICE, "call"), (SCOPE, "turn")]
        for number, (scope, kind) in enumerate(places):
            journal.add(scope, kind, "1", {"number": number})
        found = [journal.get(scope, kind, "1") for scope, kind in places]
        assert [entry and entry.data["number"] for entry in found] == [0, 1, 2, 3]
        journal.remove(SCOPE, "call")
        left = [len(journal.entries(scope, kind)) for scope, kind in places]
        assert left == [0, 1, 1, 1]

    def test_entries_come_in_order_of_creation(self, journal: Journal) -> None:
        """Entries are listed as they were created, whatever was done to them since."""
        for key in ("c", "a", "d", "b"):
            journal.add(SCOPE, "call", key, {})
        journal.claim(SCOPE, "call", "d", owner="ann", lease=LONG)
        journal.update(SCOPE, "call", "d", owner="ann", data={"a": 1}, done=True)
        journal.claim(SCOPE, "call", "e", owner="ann", lease=LONG)
        journal.remove(SCOPE, "call", "c")
        journal.add(SCOPE, "call", "c", {})
        assert [entry.key for entry in journal.entries(SCOPE, "call")] == ["a", "d", "b", "e", "c"]

    def test_nothing_there(self, journal: Journal) -> None:
        """What is not there is neither got nor listed, and to remove it is no error."""
        journal.remove(SCOPE, "call", "1")
        journal.renew("ann", LONG)
        assert journal.get(SCOPE, "call", "1") is None
        assert list(journal.entries(SCOPE, "call")) == []

    def test_prefix_means_itself(self, journal: Journal) -> None:
        """Just the keys that begin with the prefix go, whatever its characters mean elsewhere."""
        for prefix in ODD_KEYS:
            keys = {prefix + "x", prefix, "A_B", "aXb", "1000", ""}
            for key in sorted(keys):
                journal.add(SCOPE, "call", key, {})
            journal.remove(SCOPE, "call", prefix)
            left = {entry.key for entry in journal.entries(SCOPE, "call")}
            assert left == {key for key in keys if not key.startswith(prefix)}
            journal.remove(SCOPE, "call")

    def test_removal_asks_no_owner(self, journal: Journal) -> None:
        """What is owned, done or nobody's is removed all the same, and begins anew."""
        claim_call(journal, "ann")
        journal.remove(SCOPE, "call", "1")
        assert not journal.update(SCOPE, "call", "1", owner="ann", data={})
        assert claim_call(journal, "ben").entry == call(attempt=1, owner="ben")

    def test_odd_keys(self, journal: Journal) -> None:
        """Every text is a key of its own."""
        for key in ODD_KEYS:
            journal.claim(SCOPE, "call", key, owner="ann", lease=LONG, data={"key": key})
        entries = journal.entries(SCOPE, "call")
        assert [(entry.key, entry.data["key"]) for entry in entries] == [(k, k) for k in ODD_KEYS]
        for key in ODD_KEYS:
            assert journal.get(SCOPE, "call", key) in entries

    def test_odd_scopes(self, journal: Journal) -> None:
        """Every text names a service, a thread, a kind or an owner of its own."""
        for name in ODD_KEYS:
            scope = Scope(service=name, thread_id=name)
            assert journal.claim(scope, name, "1", owner=name, lease=LONG).taken
            journal.renew(name, LONG)
            assert not journal.claim(scope, name, "1", owner="ann", lease=LONG).taken
            assert journal.update(scope, name, "1", owner=name, data={})

    def test_odd_data(self, journal: Journal) -> None:
        """Data come back as they were given, large ones too."""
        for number, data in enumerate(ODD_DATA):
            key = str(number)
            assert journal.claim(SCOPE, "c", key, owner="ann", lease=LONG, data=data).taken
            assert journal.update(SCOPE, "d", key, owner="ann", data=data) is False
            journal.add(SCOPE, "d", key, data)
        for kind in ("c", "d"):
            assert tuple(entry.data for entry in journal.entries(SCOPE, kind)) == ODD_DATA

    def test_what_is_no_json_is_refused(self, journal: Journal) -> None:
        """Data that JSON cannot hold are refused, and nothing is done."""
        for data in ({"a": object()}, {"a": float("nan")}):
            try:
                claim_call(journal, "ann", data=data)
            except (TypeError, ValueError):
                assert journal.get(SCOPE, "call", "1") is None
            else:
                raise AssertionError(f"{data} were taken")

    def test_data_are_copies(self, journal: Journal) -> None:
        """What was given, or what was got, may be changed without changing the entry."""
        data: dict[str, Any] = {"a": [1]}
        given = claim_call(journal, "ann", data=data).entry
        data["a"].append(2)
        given.data["a"].append(3)
        assert journal.get(SCOPE, "call", "1") == call(data={"a": [1]}, attempt=1, owner="ann")

    def test_purge_drops_what_is_old(self, journal: Journal) -> None:
        """What nobody has changed for so long is dropped, in every scope, done or not."""
        for scope in (SCOPE, OTHER_THREAD, OTHER_SERVICE):
            journal.add(scope, "call", "1", {})
        journal.claim(SCOPE, "call", "1", owner="ann", lease=RAN_OUT)
        journal.claim(OTHER_THREAD, "call", "1", owner="ann", lease=LONG)
        journal.update(OTHER_THREAD, "call", "1", owner="ann", data={}, done=True)
        assert journal.purge(LONG) == 0
        assert journal.purge(0.0) == 3
        assert list(journal.entries(SCOPE, "call")) == []

    def test_purge_spares_what_is_under_a_lease(self, journal: Journal) -> None:
        """What somebody works on is not dropped, however long that takes."""
        claim_call(journal, "ann", lease=LONG)
        assert journal.purge(0.0) == 0
        assert journal.update(SCOPE, "call", "1", owner="ann", data={})

    def test_purge_spares_what_has_changed(self, journal: Journal) -> None:
        """An update makes an entry young again."""
        for key in ("old", "changed"):
            journal.claim(SCOPE, "call", key, owner="ann", lease=RAN_OUT)
        claimed = time.monotonic()
        wait_until(lambda: time.monotonic() > claimed + AGE)

        def purge() -> bool:
            began = time.monotonic()
            # Its own already, unless a slower round has dropped it.
            journal.claim(SCOPE, "call", "changed", owner="ann", lease=RAN_OUT)
            journal.update(SCOPE, "call", "changed", owner="ann", data={})
            journal.purge(AGE)
            return time.monotonic() < began + AGE  # else it may have become old meanwhile

        wait_until(purge)
        assert [entry.key for entry in journal.entries(SCOPE, "call")] == ["changed"]

    def test_closed_journal_can_be_used_again(self, journal: Journal) -> None:
        """A journal that was closed, twice, opens again when it is used."""
        journal.close()
        journal.close()
        assert claim_call(journal, "ann").taken
