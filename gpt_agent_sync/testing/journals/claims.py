"""The contract of journals: who owns an entry."""

from __future__ import annotations

from gpt_agent_sync.journal.base import Claim, Journal
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


class ClaimConformance:
    """Claims, updates, releases and renewals."""

    def test_new_entry_is_the_claimers(self, journal: Journal) -> None:
        """A claim of what is not there creates it, as the claimer's."""
        claim = claim_call(journal, "ann", data={"a": 1})
        assert claim == Claim(entry=call(data={"a": 1}, attempt=1, owner="ann"), taken=True)
        assert not claim.interrupted

    def test_new_entry_without_data(self, journal: Journal) -> None:
        """An entry that was claimed without data holds an empty object."""
        assert claim_call(journal, "ann").entry.data == {}

    def test_added_entry_is_nobodys(self, journal: Journal) -> None:
        """An added entry is nobody's, and nobody has begun it."""
        journal.add(SCOPE, "call", "1", {"a": 1})
        assert journal.get(SCOPE, "call", "1") == call(data={"a": 1})

    def test_adding_again_changes_nothing(self, journal: Journal) -> None:
        """An entry that is there stays as it is when it is added again."""
        claim_call(journal, "ann", data={"a": 1})
        journal.add(SCOPE, "call", "1", {"a": 2})
        assert journal.get(SCOPE, "call", "1") == call(data={"a": 1}, attempt=1, owner="ann")

    def test_first_claim_of_an_added_entry(self, journal: Journal) -> None:
        """The first claim of an added entry takes it, with its own data, and interrupts nobody."""
        journal.add(SCOPE, "call", "1", {"a": 1})
        claim = claim_call(journal, "ann", data={"a": 2})
        assert claim == Claim(entry=call(data={"a": 1}, attempt=1, owner="ann"), taken=True)
        assert not claim.interrupted

    def test_entry_under_anothers_lease_is_not_taken(self, journal: Journal) -> None:
        """What another works on is not taken, and stays as it is."""
        claim_call(journal, "ann", data={"a": 1})
        claim = claim_call(journal, "ben", data={"a": 2})
        assert claim == Claim(entry=call(data={"a": 1}, attempt=1, owner="ann"), taken=False)
        assert not claim.interrupted

    def test_own_entry_is_not_taken_again(self, journal: Journal) -> None:
        """What the claimer works on already is not taken again, nor where its lease ran out."""
        for lease in (LONG, RAN_OUT):
            journal.claim(SCOPE, "call", str(lease), owner="ann", lease=lease)
            claim = journal.claim(SCOPE, "call", str(lease), owner="ann", lease=LONG)
            assert not claim.taken
            assert claim.entry.attempt == 1

    def test_lease_that_ran_out_is_taken_over(self, journal: Journal) -> None:
        """Where the owner's lease ran out another takes over, with the data as they are."""
        claim_call(journal, "ann", lease=RAN_OUT, data={"a": 1})
        claim = claim_call(journal, "ben", data={"a": 2})
        assert claim == Claim(entry=call(data={"a": 1}, attempt=2, owner="ben"), taken=True)
        assert claim.interrupted

    def test_lease_runs_out_by_itself(self, journal: Journal) -> None:
        """A lease runs out as time passes."""
        claim_call(journal, "ann", lease=0.2)
        wait_until(lambda: claim_call(journal, "ben").taken)

    def test_every_takeover_counts(self, journal: Journal) -> None:
        """Attempts count those who took the entry."""
        owners = ["ann", "ben", "ann", "cat"]
        claims = [claim_call(journal, owner, lease=RAN_OUT) for owner in owners]
        assert [claim.entry.attempt for claim in claims] == [1, 2, 3, 4]

    def test_owner_updates(self, journal: Journal) -> None:
        """The owner replaces all of the data, and stays the owner."""
        claim_call(journal, "ann", data={"a": 1, "b": 2})
        assert journal.update(SCOPE, "call", "1", owner="ann", data={"a": 3})
        assert journal.get(SCOPE, "call", "1") == call(data={"a": 3}, attempt=1, owner="ann")

    def test_update_keeps_the_lease(self, journal: Journal) -> None:
        """An update does not prolong a lease, nor end one."""
        claim_call(journal, "ann")
        journal.claim(SCOPE, "call", "2", owner="ann", lease=RAN_OUT)
        for key in ("1", "2"):
            journal.update(SCOPE, "call", key, owner="ann", data={})
        taken = [journal.claim(SCOPE, "call", key, owner="ben", lease=LONG).taken for key in "12"]
        assert taken == [False, True]

    def test_owner_updates_after_its_lease(self, journal: Journal) -> None:
        """An owner whose lease ran out is the owner until another takes over."""
        claim_call(journal, "ann", lease=RAN_OUT)
        assert journal.update(SCOPE, "call", "1", owner="ann", data={"a": 1}, done=True)
        assert journal.get(SCOPE, "call", "1") == call(data={"a": 1}, attempt=1, done=True)

    def test_former_owner_changes_nothing(self, journal: Journal) -> None:
        """Who was taken over from can neither update nor release."""
        claim_call(journal, "ann", lease=RAN_OUT)
        claim_call(journal, "ben", lease=RAN_OUT)
        assert not journal.update(SCOPE, "call", "1", owner="ann", data={"a": 1}, done=True)
        assert not journal.release(SCOPE, "call", "1", owner="ann")
        assert journal.get(SCOPE, "call", "1") == call(attempt=2, owner="ben")

    def test_nobody_changes_what_is_nobodys(self, journal: Journal) -> None:
        """What is nobody's, or not there, is neither updated nor released."""
        journal.add(SCOPE, "call", "1", {"a": 1})
        for key in ("1", "2"):
            assert not journal.update(SCOPE, "call", key, owner="ann", data={"a": 2})
            assert not journal.release(SCOPE, "call", key, owner="ann")
        assert journal.entries(SCOPE, "call") == [call(data={"a": 1})]

    def test_done_is_done(self, journal: Journal) -> None:
        """What is done is nobody's, and is neither taken, updated nor released."""
        claim_call(journal, "ann")
        assert journal.update(SCOPE, "call", "1", owner="ann", data={"a": 1}, done=True)
        done = call(data={"a": 1}, attempt=1, done=True)
        assert claim_call(journal, "ben", data={"a": 2}) == Claim(entry=done, taken=False)
        assert claim_call(journal, "ann") == Claim(entry=done, taken=False)
        assert not journal.update(SCOPE, "call", "1", owner="ann", data={"a": 2})
        assert not journal.release(SCOPE, "call", "1", owner="ann")
        assert journal.get(SCOPE, "call", "1") == done

    def test_released_entry_is_taken_by_the_next(self, journal: Journal) -> None:
        """What was released keeps its data, and the next claim takes it, from its owner too."""
        for owner in ("ben", "ann"):
            journal.remove(SCOPE, "call")
            claim_call(journal, "ann", data={"a": 1})
            assert journal.release(SCOPE, "call", "1", owner="ann")
            assert journal.get(SCOPE, "call", "1") == call(data={"a": 1}, attempt=1)
            claim = claim_call(journal, owner)
            assert claim.entry == call(data={"a": 1}, attempt=2, owner=owner)
            assert claim.interrupted

    def test_renewed_lease_runs_from_now(self, journal: Journal) -> None:
        """A renewal has leases run from now in every scope and kind, also those that ran out."""
        for scope in (SCOPE, OTHER_THREAD, OTHER_SERVICE):
            for kind in ("call", "turn"):
                journal.claim(scope, kind, "1", owner="ann", lease=RAN_OUT)
                journal.renew("ann", LONG)
                assert not journal.claim(scope, kind, "1", owner="ben", lease=LONG).taken

    def test_renewal_is_the_owners_alone(self, journal: Journal) -> None:
        """A renewal leaves alone what is another's, nobody's or done."""
        claim_call(journal, "ann", lease=RAN_OUT)
        journal.add(SCOPE, "call", "2", {})
        journal.claim(SCOPE, "call", "3", owner="ben", lease=LONG)
        journal.update(SCOPE, "call", "3", owner="ben", data={}, done=True)
        before = journal.entries(SCOPE, "call")
        journal.renew("ben", LONG)
        assert journal.entries(SCOPE, "call") == before
        claims = [journal.claim(SCOPE, "call", key, owner="cat", lease=LONG) for key in "123"]
        assert [claim.taken for claim in claims] == [True, True, False]
