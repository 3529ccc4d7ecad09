"""When runs are polled: by their age, and by what runs of their kind took lately."""

from __future__ import annotations

import os
import random
import statistics
from collections.abc import Callable

import attrs
import hypothesis.strategies as st
import pytest
from hypothesis import given, settings

from gpt_agent_sync.services.feeds import pacing
from gpt_agent_sync.services.feeds.pacing import (
    DUE_SHARE,
    EARLY_SHARE,
    FIRST_PAUSE,
    GROWTH,
    JITTER,
    KINDS_KEPT,
    LONGEST_HINT,
    RUNS_KEPT,
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
    """A stand-in for the ``time`` module, at a time that the test sets."""

    now: float = 100.0

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Have paces go by a clock that the test sets."""
    clock = Clock()
    monkeypatch.setattr(pacing, "time", clock)
    return clock


def polls(expected: float, heartbeat: float, until: float) -> list[float]:
    """Return the ages at which a run in progress is polled."""
    ages = [next_pause(0.0, heartbeat, None, expected)]
    while ages[-1] < until:
        ages.append(ages[-1] + next_pause(ages[-1], heartbeat, None, expected))
    return ages


@pytest.mark.parametrize("expected", [0.5, 10.0, 300.0])
def test_one_early_poll(expected: float) -> None:
    """A run known to take long is polled once before it is due, and then when it is."""
    ages = polls(expected, LONG, expected)
    assert ages[:2] == pytest.approx([expected * EARLY_SHARE, expected])


def test_heartbeats_until_the_expected_end() -> None:
    """Before a run is due it is polled a heartbeat apart, and no more often."""
    ages = polls(100.0, 10.0, 85.0)
    assert ages == pytest.approx([10.0 * number for number in range(1, 10)])


def test_close_pauses_when_it_is_due() -> None:
    """A run that is due is polled closely, by a share of what runs of its kind take."""
    due, following = polls(10.0, LONG, 10.1)[1:3]
    assert following - due == pytest.approx(10.0 * DUE_SHARE)


def test_growing_pauses_when_it_is_overdue() -> None:
    """A run that takes far longer than was expected is polled ever less often."""
    due, overdue = 10.0, 20.0
    assert next_pause(due + overdue, LONG, None, 10.0) == pytest.approx(overdue * GROWTH)


def test_run_of_a_known_kind_costs_few_polls() -> None:
    """A run that takes what the last ones took costs two polls, and is noticed at once."""
    assert polls(2.0, 1.5, 2.0) == pytest.approx([1.0, 2.0])


def test_known_runs_are_noticed_soon_with_few_polls(clock: Clock) -> None:
    """Runs that vary by a tenth are noticed within a tenth at the median, by few polls each."""
    chance, times = random.Random(3), RunTimes()
    late, counts = [], []
    for number in range(200):
        length = 2.0 * chance.uniform(0.95, 1.05)
        pace, began, count = Pace(1.0, times, "kind"), clock.now, 1
        clock.now += pace.pause(None)
        while clock.now - began < length:
            clock.now += pace.pause(None)
            count += 1
        pace.end()
        if number >= 8:  # by then all that is known was learnt
            late.append((clock.now - began) / length - 1)
            counts.append(count)
    assert statistics.median(late) <= 0.1
    assert statistics.mean(counts) <= 4.0


@settings(deadline=None)
@given(age=seconds, expected=seconds, heartbeat=heartbeats)
def test_expectation_makes_no_poll_earlier(age: float, expected: float, heartbeat: float) -> None:
    """Before a run is due, knowing what runs take skips no time that was to be waited."""
    early = min(age, expected * EARLY_SHARE / 2 * 0.99)
    known = next_pause(early, heartbeat, None, expected)
    assert known >= min(FIRST_PAUSE, heartbeat)
    assert early + known >= min(expected * EARLY_SHARE, early + heartbeat) - 1e-6 * expected


@settings(deadline=None)
@given(age=seconds, expected=st.none() | seconds, heartbeat=heartbeats)
def test_pause_is_no_longer_than_the_heartbeat(
    age: float, expected: float | None, heartbeat: float
) -> None:
    """Whatever is known of a run, it is polled after a heartbeat at the latest."""
    assert min(FIRST_PAUSE, heartbeat) <= next_pause(age, heartbeat, None, expected) <= heartbeat


@settings(deadline=None)
@given(age=seconds, expected=st.none() | seconds, asked=st.floats(-1e9, 1e9))
def test_wish_of_the_server_rules(age: float, expected: float | None, asked: float) -> None:
    """What the server asks for is done within bounds, whatever is expected and the heartbeat."""
    pause = next_pause(age, 0.5, asked, expected)
    assert pause == pytest.approx(min(max(asked, SHORTEST_HINT), LONGEST_HINT))


@pytest.mark.parametrize("expected", [0.0, FIRST_PAUSE])
def test_quick_runs_are_polled_as_early_as_unknown_ones(expected: float) -> None:
    """Runs that take next to no time do not shorten the first pause."""
    assert next_pause(0.0, LONG, None, expected) == FIRST_PAUSE


def test_poll_just_before_the_early_one() -> None:
    """A run that was polled on the way to the early poll is next polled when it is due."""
    half = 10.0 * EARLY_SHARE / 2
    assert half + next_pause(half, LONG, None, 10.0) == pytest.approx(10.0)


def test_nothing_is_known_at_first() -> None:
    """What runs of a kind take is not known before one was recorded."""
    assert RunTimes().shortest("kind") is None


def times_of(*seconds: float, kind: str = "kind") -> RunTimes:
    """Return the times of runs that took so long."""
    recorded = RunTimes()
    for taken in seconds:
        recorded.add(kind, taken)
    return recorded


def test_quickest_run_is_recorded() -> None:
    """Of the last runs the quickest one shows what is to be expected."""
    assert times_of(3.0, 1.0, 2.0).shortest("kind") == 1.0


@pytest.mark.parametrize("later, shortest", [(RUNS_KEPT - 1, 1.0), (RUNS_KEPT, 5.0)])
def test_older_runs_are_forgotten(later: int, shortest: float) -> None:
    """A run counts until there have been so many later ones."""
    assert times_of(1.0, *[5.0] * later).shortest("kind") == shortest


def test_kinds_are_kept_apart() -> None:
    """What runs of one kind take says nothing of another kind."""
    times = times_of(1.0, kind="one")
    times.add("other", 7.0)
    assert (times.shortest("one"), times.shortest("other")) == (1.0, 7.0)


def test_kinds_are_bounded() -> None:
    """When there are too many kinds the one whose last run is longest ago is forgotten."""
    times = RunTimes()
    for number in range(KINDS_KEPT):
        times.add(number, 1.0)
    times.add(0, 1.0)
    times.add("one more", 1.0)
    kept = [times.shortest(number) is not None for number in range(KINDS_KEPT)]
    assert kept == [True, False] + [True] * (KINDS_KEPT - 2)
    assert times.shortest("one more") == 1.0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_times_after_a_fork() -> None:
    """A child can read and note times, even if the lock was held at the fork."""
    times = times_of(2.0)
    with times._lock:
        times._after_fork()
        times.add("kind", 1.0)
    assert times.shortest("kind") == 1.0


def test_finished_run_is_recorded(clock: Clock) -> None:
    """A run ended midway between the last poll that found it in progress and the next one."""
    times = RunTimes()
    pace = Pace(1.0, times, "kind")
    clock.now += 5.0
    pace.begin()
    clock.now += 2.0
    pace.pause(None)
    clock.now += 1.0
    pace.end()
    assert times.shortest("kind") == 2.5


def test_run_that_was_never_seen_in_progress(clock: Clock) -> None:
    """A run that is final at its first poll is recorded as having ended midway until then."""
    times = RunTimes()
    pace = Pace(1.0, times, "kind")
    clock.now += 2.0
    pace.end()
    assert times.shortest("kind") == 1.0


def test_run_found_in_progress_leaves_no_time(clock: Clock) -> None:
    """How long a run takes whose beginning nobody saw is not recorded."""
    times = RunTimes()
    pace = Pace(1.0, times)
    clock.now += 2.0
    pace.pause(None)
    pace.end()
    assert times.shortest(None) is None


def test_run_found_in_progress_expects_nothing(clock: Clock) -> None:
    """A run whose beginning nobody saw is polled as if nothing were known."""
    times = RunTimes()
    times.add("kind", 100.0)
    assert Pace(LONG, times).pause(None) <= FIRST_PAUSE * (1 + JITTER)


def test_pace_goes_by_earlier_runs(clock: Clock) -> None:
    """A run is polled by what the quickest run of its kind took."""
    pause = Pace(LONG, times_of(12.0, 10.0), "kind").pause(None)
    assert pause == pytest.approx(10.0 * EARLY_SHARE, rel=JITTER * 1.001)


def test_pauses_jitter_within_bounds(clock: Clock) -> None:
    """Pauses differ, so that many agents do not poll in step, by a bounded share."""
    pace = Pace(LONG, RunTimes())
    clock.now += 10.0
    pauses = [pace.pause(None) for _ in range(200)]
    middle = 10.0 * GROWTH
    assert middle * (1 - JITTER) <= min(pauses) < middle < max(pauses) <= middle * (1 + JITTER)


def test_wish_of_the_server_does_not_jitter(clock: Clock) -> None:
    """A pause that the server asks for is taken as it is."""
    pace = Pace(1.0, times_of(10.0), "kind")
    assert [pace.pause(5.0) for _ in range(20)] == [5.0] * 20


def follow(length: float, jitter: Callable[[], float], heartbeat: float = 1.0) -> list[float]:
    """Return the ages at which a first run of its kind is polled, up to the poll that ends it."""
    ages = [next_pause(0.0, heartbeat, None) * jitter()]
    while ages[-1] < length:
        ages.append(ages[-1] + next_pause(ages[-1], heartbeat, None) * jitter())
    return ages


@pytest.mark.parametrize("share", [1 - JITTER, 1.0, 1 + JITTER])
def test_first_run_costs_few_polls_at_any_jitter(share: float) -> None:
    """A first run of 2 s costs at most 14 polls, even if jitter falls to one side each time."""
    assert len(follow(2.0, lambda: share)) <= 14


def test_first_run_costs_few_polls_by_chance() -> None:
    """A first run of 2 s costs at most 14 polls, however jitter falls."""
    chance = random.Random(1)
    counts = [len(follow(2.0, lambda: chance.uniform(1 - JITTER, 1 + JITTER))) for _ in range(1000)]
    assert max(counts) <= 14


@pytest.mark.parametrize("jittered", [False, True])
def test_end_of_a_first_run_is_noticed_soon(jittered: bool) -> None:
    """Over runs of 0.05 to 10 s the end is noticed within 15 % and 30 ms at the median."""
    chance = random.Random(2)
    lengths = [0.05 * 200 ** (number / 1999) for number in range(2000)]
    shares = []
    for length in lengths:
        ages = follow(length, lambda: chance.uniform(1 - JITTER, 1 + JITTER) if jittered else 1.0)
        shares.append((ages[-1] - length) / (length * 0.15 + 0.03))
    assert statistics.median(shares) <= 1.0


@pytest.mark.parametrize("longest", [0.2, 0.5, 1.0, 2.0, 5.0, 10.0])
def test_end_of_a_first_run_is_noticed_soon_at_each_scale(longest: float) -> None:
    """Short runs and long ones alike are noticed within 15 % and 30 ms at the median."""
    lengths = [longest * (0.25 + 0.75 * number / 999) for number in range(1000)]
    shares = [
        (follow(length, lambda: 1.0)[-1] - length) / (length * 0.15 + 0.03) for length in lengths
    ]
    assert statistics.median(shares) <= 1.0
