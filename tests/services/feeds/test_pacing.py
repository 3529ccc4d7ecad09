"""When runs are looked at, by what runs of their kind took lately."""

from __future__ import annotations

import os

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gpt_agent_sync.services.feeds import pacing
from gpt_agent_sync.services.feeds.pacing import (
    EARLY_SHARE,
    EXPECTED_SHARE,
    FIRST_PAUSE,
    GROWTH,
    JITTER,
    KINDS_REMEMBERED,
    LONGEST_HINT,
    RUNS_REMEMBERED,
    SHORTEST_HINT,
    Pace,
    RunTimes,
    next_pause,
)

LONG = 1000.0
"""Seconds: a heartbeat that bounds no pause of these tests."""

seconds = st.floats(0.0, 1e4)
heartbeats = st.floats(0.001, 100.0)


@attrs.define
class Clock:
    """Stand for the ``time`` module, at a time that the test sets."""

    now: float = 100.0

    def monotonic(self) -> float:
        """Give the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have paces go by a clock that the test sets."""
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    return clock


def looks(expected: float, heartbeat: float, until: float) -> list[float]:
    """Give the ages at which a run that goes on is looked at."""
    ages = [next_pause(0.0, heartbeat, None, expected)]
    while ages[-1] < until:
        ages.append(ages[-1] + next_pause(ages[-1], heartbeat, None, expected))
    return ages


@pytest.mark.parametrize("expected", [0.5, 10.0, 300.0])
def test_one_early_look(expected: float) -> None:
    """A run known to take long is looked at once before it is due, and then when it is."""
    ages = looks(expected, LONG, expected)
    assert ages[:2] == pytest.approx([expected * EARLY_SHARE, expected * EXPECTED_SHARE])


def test_heartbeats_until_the_expected_end() -> None:
    """Before a run is due it is looked at a heartbeat apart, and no more often."""
    ages = looks(100.0, 10.0, 85.0)
    assert ages == pytest.approx([10.0 * number for number in range(1, 10)])


def test_growing_pauses_after_the_expected_share() -> None:
    """A run that takes longer than was expected is looked at like one of an unknown kind."""
    due, following = looks(10.0, LONG, 10.0)[1:3]
    assert following - due == pytest.approx(due * GROWTH)


@settings(deadline=None)
@given(age=seconds, expected=seconds, heartbeat=heartbeats)
def test_expectation_ends_when_it_is_due(age: float, expected: float, heartbeat: float) -> None:
    """From the expected share on the pause is what it were without knowing."""
    late = age + expected * EXPECTED_SHARE
    assert next_pause(late, heartbeat, None, expected) == next_pause(late, heartbeat, None)


@settings(deadline=None)
@given(age=seconds, expected=seconds, heartbeat=heartbeats)
def test_expectation_makes_no_look_earlier(age: float, expected: float, heartbeat: float) -> None:
    """Who knows what runs take does not look more often for it."""
    known, unknown = (next_pause(age, heartbeat, None, given) for given in (expected, None))
    assert known >= unknown


@settings(deadline=None)
@given(age=seconds, expected=st.none() | seconds, heartbeat=heartbeats)
def test_pause_is_no_longer_than_the_heartbeat(
    age: float, expected: float | None, heartbeat: float
) -> None:
    """Whatever is known of a run, it is looked at after a heartbeat at the latest."""
    assert min(FIRST_PAUSE, heartbeat) <= next_pause(age, heartbeat, None, expected) <= heartbeat


@settings(deadline=None)
@given(age=seconds, expected=st.none() | seconds, asked=st.floats(-1e9, 1e9))
def test_wish_of_the_server_rules(age: float, expected: float | None, asked: float) -> None:
    """What the server asks for is done within bounds, whatever is expected and the heartbeat."""
    pause = next_pause(age, 0.5, asked, expected)
    assert pause == pytest.approx(min(max(asked, SHORTEST_HINT), LONGEST_HINT))


@pytest.mark.parametrize("expected", [0.0, FIRST_PAUSE])
def test_quick_runs_are_looked_at_as_early_as_unknown_ones(expected: float) -> None:
    """Runs that take next to no time do not shorten the first pause."""
    assert next_pause(0.0, LONG, None, expected) == FIRST_PAUSE


def test_look_just_before_the_early_one() -> None:
    """A run that was looked at on the way to the early look is next looked at when it is due."""
    half = 10.0 * EARLY_SHARE / 2
    assert half + next_pause(half, LONG, None, 10.0) == pytest.approx(10.0 * EXPECTED_SHARE)


def test_nothing_is_known_at_first() -> None:
    """What runs of a kind take is not known before one was noted."""
    assert RunTimes().shortest("kind") is None


def noted(*times: float, kind: str = "kind") -> RunTimes:
    """Give what is remembered of runs that took so long."""
    remembered = RunTimes()
    for taken in times:
        remembered.note(kind, taken)
    return remembered


def test_quickest_run_is_remembered() -> None:
    """Of the last runs the quickest one tells what is to be expected."""
    assert noted(3.0, 1.0, 2.0).shortest("kind") == 1.0


@pytest.mark.parametrize("later, shortest", [(RUNS_REMEMBERED - 1, 1.0), (RUNS_REMEMBERED, 5.0)])
def test_older_runs_are_forgotten(later: int, shortest: float) -> None:
    """A run counts until there have been so many later ones."""
    assert noted(1.0, *[5.0] * later).shortest("kind") == shortest


def test_kinds_are_kept_apart() -> None:
    """What runs of one kind take says nothing of another kind."""
    times = noted(1.0, kind="one")
    times.note("other", 7.0)
    assert (times.shortest("one"), times.shortest("other")) == (1.0, 7.0)


def test_kinds_are_bounded() -> None:
    """When there are too many kinds the one whose last run is longest ago is forgotten."""
    times = RunTimes()
    for number in range(KINDS_REMEMBERED):
        times.note(number, 1.0)
    times.note(0, 1.0)
    times.note("one more", 1.0)
    kept = [times.shortest(number) is not None for number in range(KINDS_REMEMBERED)]
    assert kept == [True, False] + [True] * (KINDS_REMEMBERED - 2)
    assert times.shortest("one more") == 1.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_times_after_a_fork() -> None:
    """A child can read and note times, even if the lock was held at the fork."""
    times = noted(2.0)
    with times._lock:
        pacing._after_fork()
        times.note("kind", 1.0)
    assert times.shortest("kind") == 1.0


def test_finished_run_is_noted(clock: Clock) -> None:
    """A run ended midway between the last look that saw it going and the one that did not."""
    times = RunTimes()
    pace = Pace(1.0, times, "kind")
    clock.now += 5.0
    pace.begin()
    clock.now += 2.0
    pace.pause(None)
    clock.now += 1.0
    pace.end()
    assert times.shortest("kind") == 2.5


def test_run_that_was_never_seen_going(clock: Clock) -> None:
    """A run that is over at its first look is noted as having ended midway until then."""
    times = RunTimes()
    pace = Pace(1.0, times, "kind")
    clock.now += 2.0
    pace.end()
    assert times.shortest("kind") == 1.0


def test_run_found_going_leaves_no_time(clock: Clock) -> None:
    """How long a run takes whose beginning nobody saw is not noted."""
    times = RunTimes()
    pace = Pace(1.0, times)
    clock.now += 2.0
    pace.pause(None)
    pace.end()
    assert times.shortest(None) is None


def test_run_found_going_expects_nothing(clock: Clock) -> None:
    """A run whose beginning nobody saw is looked at as if nothing were known."""
    times = RunTimes()
    times.note("kind", 100.0)
    assert Pace(LONG, times).pause(None) <= FIRST_PAUSE * (1 + JITTER)


def test_pace_goes_by_earlier_runs(clock: Clock) -> None:
    """A run is looked at by what the quickest run of its kind took."""
    pause = Pace(LONG, noted(12.0, 10.0), "kind").pause(None)
    assert pause == pytest.approx(10.0 * EARLY_SHARE, rel=JITTER * 1.001)


def test_pauses_jitter_within_bounds(clock: Clock) -> None:
    """Pauses differ, so that many agents do not look in step, by a bounded share."""
    pace = Pace(LONG, RunTimes())
    clock.now += 10.0
    pauses = [pace.pause(None) for _ in range(200)]
    middle = 10.0 * GROWTH
    assert middle * (1 - JITTER) <= min(pauses) < middle < max(pauses) <= middle * (1 + JITTER)


def test_wish_of_the_server_does_not_jitter(clock: Clock) -> None:
    """A pause that the server asks for is taken as it is."""
    pace = Pace(1.0, noted(10.0), "kind")
    assert [pace.pause(5.0) for _ in range(20)] == [5.0] * 20
