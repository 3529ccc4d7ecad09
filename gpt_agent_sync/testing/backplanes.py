"""The contract of backplanes, as tests that a program runs over its own."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import attrs
import pytest

from gpt_agent_sync.backplane.base import Backplane, Lease, LeaseLostError
from gpt_agent_sync.errors import BackplaneError
from gpt_agent_sync.event_log import START, Entry, Page, place_of_cursor
from gpt_agent_sync.events import AssistantMessageDelta, Event
from gpt_agent_sync.journal.base import Scope

PATIENCE = 10.0

_LOOK = threading.Event()


class Heard:
    """A listener that keeps what it is told.

    Args:
        answer: What it answers when it is asked.
    """

    def __init__(self, answer: Mapping[str, Any] | None = None) -> None:
        self.pages: list[Page] = []
        self.times_ownerless = 0
        self._answer = answer or {}

    def heard(self, page: Page) -> None:
        """Keep a page."""
        self.pages.append(page)

    def ownerless(self) -> None:
        """Count."""
        self.times_ownerless += 1

    def lost(self, lease: Lease) -> None:
        """Do nothing."""

    def asked(self, request: Mapping[str, Any]) -> Mapping[str, Any]:
        """Answer."""
        return {**self._answer, "to": request["verb"]} if self._answer else {}

    @property
    def texts(self) -> list[str]:
        """The texts of the events that it was told."""
        return [text for page in self.pages for entry in page.entries for text in texts(entry)]

    @property
    def marks(self) -> list[str]:
        """The marks that it was told."""
        entries = [entry for page in self.pages for entry in page.entries]
        return [entry.mark for entry in entries if entry.mark is not None]


def texts(entry: Entry) -> list[str]:
    """Return the texts of an entry's events."""
    return [event.text for event in entry.events if isinstance(event, AssistantMessageDelta)]


def new_scope() -> Scope:
    """Return a thread that has no log."""
    return Scope(service="s", thread_id=uuid.uuid4().hex)


def event(lease: Lease, text: str) -> Event:
    """Return an event of a lease, with its place."""
    told = AssistantMessageDelta(
        thread_id=lease.scope.thread_id, message_id="m", run_id="r", text=text
    )
    return attrs.evolve(told, cursor=lease.next_cursor())


def take(backplane: Backplane, scope: Scope) -> Lease:
    """Take a lease that is free."""
    lease = backplane.acquire(scope, "me")
    assert lease is not None
    return lease


def wait_until(holds: Callable[[], object]) -> None:
    """Wait until something holds."""
    until = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < until
        _LOOK.wait(0.01)


class BackplaneConformance:
    """The tests of the backplane contract, for pytest.

    A subclass named ``Test...`` has a fixture ``backplane``, which gives a backplane and closes it
    afterwards.
    """

    def test_lease_is_one_holders(self, backplane: Backplane) -> None:
        """Who comes second gets none, until the first has released it."""
        scope = new_scope()
        lease = take(backplane, scope)
        assert backplane.acquire(scope, "me") is None
        backplane.release(lease)
        assert backplane.acquire(scope, "me") is not None

    def test_of_many_at_once_one_gets_the_lease(self, backplane: Backplane) -> None:
        """However many ask at the same time."""
        scope, start = new_scope(), threading.Barrier(8)

        def acquire(_: int) -> Lease | None:
            start.wait(PATIENCE)
            return backplane.acquire(scope, "me")

        with ThreadPoolExecutor(8) as pool:
            leases = [lease for lease in pool.map(acquire, range(8)) if lease is not None]
        assert len(leases) == 1

    def test_threads_have_leases_of_their_own(self, backplane: Backplane) -> None:
        """A lease holds up nobody on another thread, or on the same thread of another service."""
        scope = new_scope()
        others = new_scope(), attrs.evolve(scope, service="other")
        assert all(backplane.acquire(each, "me") is not None for each in (scope, *others))

    def test_fences_grow(self, backplane: Backplane) -> None:
        """Every lease of a thread has a larger fence than those before."""
        scope, fences = new_scope(), []
        for _ in range(5):
            lease = take(backplane, scope)
            fences.append(lease.fence)
            backplane.release(lease)
        assert fences == sorted(set(fences))

    def test_lease_that_is_held_is_confirmed(self, backplane: Backplane) -> None:
        """It is not after its release."""
        scope = new_scope()
        lease = take(backplane, scope)
        assert (backplane.confirm(lease), backplane.is_held(scope)) == (True, True)
        backplane.release(lease)
        assert (backplane.confirm(lease), backplane.is_held(scope)) == (False, False)

    def test_release_of_a_former_holder_does_nothing(self, backplane: Backplane) -> None:
        """Released twice, a lease is not taken from the next holder."""
        scope = new_scope()
        first = take(backplane, scope)
        backplane.release(first)
        second = take(backplane, scope)
        backplane.release(first)
        assert backplane.confirm(second)

    def test_log_of_a_turn(self, backplane: Backplane) -> None:
        """It begins and ends with marks, and has its events between them in order."""
        scope, heard = new_scope(), Heard()
        backplane.listen(scope, START, heard)
        lease = take(backplane, scope)
        backplane.append(lease, (event(lease, "a"),))
        backplane.append(lease, (event(lease, "b"), event(lease, "c")), key="k")
        backplane.release(lease)
        wait_until(lambda: len(heard.marks) == 2)
        page = backplane.read(scope, START)
        assert [entry.mark for entry in page.entries] == ["begun", None, None, "settled"]
        assert [texts(entry) for entry in page.entries] == [[], ["a"], ["b", "c"], []]
        assert [entry.key for entry in page.entries] == [None, None, "k", None]
        assert [entry.owner for entry in page.entries] == ["me", None, None, None]

    def test_places_grow(self, backplane: Backplane) -> None:
        """Over all entries and events of a thread, whoever appended them."""
        scope, heard = new_scope(), Heard()
        backplane.listen(scope, START, heard)
        for text in "ab":
            lease = take(backplane, scope)
            backplane.append(lease, (event(lease, text),))
            backplane.release(lease)
        wait_until(lambda: len(heard.marks) == 4)
        places = [place_of_cursor(each.cursor) for each in backplane.read(scope, START).entries]
        assert places == sorted(set(places))

    def test_listener_is_told_once_and_in_order(self, backplane: Backplane) -> None:
        """What comes after it has begun to listen, however fast."""
        scope, heard = new_scope(), Heard()
        backplane.listen(scope, START, heard)
        lease = take(backplane, scope)
        for number in range(100):
            backplane.append(lease, (event(lease, str(number)),))
        backplane.release(lease)
        wait_until(lambda: "settled" in heard.marks)
        assert heard.texts == [str(number) for number in range(100)]

    def test_late_listener_is_told_what_it_has_missed(self, backplane: Backplane) -> None:
        """From a cursor on, in the middle of what was appended at once too."""
        scope, first = new_scope(), Heard()
        backplane.listen(scope, START, first)
        lease = take(backplane, scope)
        events = tuple(event(lease, text) for text in "abcd")
        backplane.append(lease, events[:1])
        backplane.append(lease, events[1:])
        wait_until(lambda: len(first.texts) == 4)
        heard = Heard()
        backplane.listen(scope, events[1].cursor or "", heard)
        wait_until(lambda: heard.texts == ["c", "d"])
        assert not any(page.missed for page in heard.pages)

    def test_closed_listener_is_told_nothing(self, backplane: Backplane) -> None:
        """Another one of the same thread still is."""
        scope, closed, heard = new_scope(), Heard(), Heard()
        backplane.listen(scope, START, closed).close()
        backplane.listen(scope, START, heard)
        lease = take(backplane, scope)
        backplane.append(lease, (event(lease, "a"),))
        wait_until(lambda: heard.texts == ["a"])
        assert closed.texts == []

    def test_appending_again_doubles_nothing(self, backplane: Backplane) -> None:
        """After an answer that was lost."""
        scope, heard = new_scope(), Heard()
        backplane.listen(scope, START, heard)
        lease = take(backplane, scope)
        events, before = (event(lease, "a"),), lease.newest
        backplane.append(lease, events)
        lease.newest = before
        backplane.append(lease, events)
        backplane.append(lease, (event(lease, "b"),))
        wait_until(lambda: heard.texts == ["a", "b"])

    def test_former_holder_appends_nothing(self, backplane: Backplane) -> None:
        """Its events would stand among those of the next."""
        scope = new_scope()
        former = take(backplane, scope)
        backplane.release(former)
        take(backplane, scope)
        with pytest.raises(LeaseLostError):
            backplane.append(former, (event(former, "late"),))

    def test_turn_that_was_left_is_told(self, backplane: Backplane) -> None:
        """Of a lease that is released in the middle of a turn the listeners are told."""
        scope, heard = new_scope(), Heard()
        backplane.listen(scope, START, heard)
        lease = take(backplane, scope)
        wait_until(lambda: heard.marks == ["begun"])
        backplane.release(lease, settled=False)
        wait_until(lambda: heard.times_ownerless == 1)
        assert heard.marks == ["begun"]

    def test_owner_is_asked(self, backplane: Backplane) -> None:
        """The listener that has an answer gives it."""
        scope = new_scope()
        backplane.listen(scope, START, Heard())
        backplane.listen(scope, START, Heard({"done": True}))
        lease = take(backplane, scope)
        answer = backplane.ask_owner(scope, {"verb": "stop", "fence": lease.fence}, PATIENCE)
        assert answer == {"done": True, "to": "stop"}

    def test_nobody_answers_where_nobody_is(self, backplane: Backplane) -> None:
        """It takes no longer than the caller has."""
        with pytest.raises(BackplaneError):
            backplane.ask_owner(new_scope(), {"verb": "stop"}, 0.1)

    def test_call_comes_later(self, backplane: Backplane) -> None:
        """On another thread."""
        called, me = [], threading.current_thread()
        backplane.call_in(0.01, lambda: called.append(threading.current_thread()))
        wait_until(lambda: called)
        assert called[0] is not me
