"""The contract of journals, as tests that a program runs over its own."""

from __future__ import annotations

from gpt_agent_sync.testing.journals.claims import ClaimConformance
from gpt_agent_sync.testing.journals.entries import EntryConformance
from gpt_agent_sync.testing.journals.threads import ThreadConformance

__all__ = ["JournalConformance"]


class JournalConformance(ClaimConformance, EntryConformance, ThreadConformance):
    """The tests of the journal contract, for pytest.

    A subclass named ``Test...`` has a fixture ``journal``, which gives an empty journal and closes
    it afterwards:

        class TestMyJournal(JournalConformance):
            @pytest.fixture
            def journal(self):
                with contextlib.closing(MyJournal()) as journal:
                    yield journal
    """
