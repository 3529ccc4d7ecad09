"""The feed that results again and again."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterable

import pytest

from gpt_agent_sync.errors import ServiceUnavailableError
from gpt_agent_sync.records import FeedUpdate, Message, Pause, RunSnapshot, ToolCall
from gpt_agent_sync.services.feeds.pacing import (
    FIRST_PAUSE,
    GROWTH,
    LONGEST_HINT,
    SHORTEST_HINT,
    Pace,
    RunTimes,
    next_pause,
)
from gpt_agent_sync.services.feeds.polling import FirstRequest, PollingFeed, PollResult, RunSource
from gpt_agent_sync.services.http.closing import FeedClosed

CALL = ToolCall(id="c", name="add", arguments="{}")


def snapshot(status: str, *calls: ToolCall, unsupported: str | None = None) -> RunSnapshot:
    """Return a snapshot."""
    return RunSnapshot(id="r", status=status, tool_calls=calls, unsupported_action=unsupported)


def feed(
    *seen: RunSnapshot, messages: Iterable[Message] = (), hint: float | None = 0
) -> PollingFeed:
    """Return a feed that sees these snapshots one by one, the last one for ever."""
    results = itertools.chain(seen, itertools.repeat(seen[-1]))
    return PollingFeed(
        RunSource(
            begin=lambda pause: PollResult(next(results), hint),
            poll=lambda run_id, pause: PollResult(next(results), hint),
            read_messages=lambda last, pause: messages,
            pace=Pace(60.0, RunTimes()),
        )
    )


def begun_with(begin: FirstRequest) -> PollingFeed:
    """Return a feed whose first request is the test's."""
    return PollingFeed(
        RunSource(
            begin=begin,
            poll=lambda run_id, pause: PollResult(snapshot("x")),
            read_messages=lambda last, pause: (),
            pace=Pace(1.0, RunTimes()),
        )
    )


def statuses(updates: Iterable[FeedUpdate]) -> list[str]:
    """Return the statuses of the snapshots."""
    return [update.status for update in updates if isinstance(update, RunSnapshot)]


def test_every_poll_is_yielded_to_the_end() -> None:
    """Snapshots are yielded as they are seen, the final one last."""
    following = feed(snapshot("queued"), snapshot("in_progress"), snapshot("completed"))
    assert statuses(following) == ["queued", "in_progress", "completed"]


def test_messages_come_before_the_final_snapshot() -> None:
    """When a run is over its messages are yielded, and then its end."""
    message = Message(id="m", role="assistant")
    updates = list(feed(snapshot("queued"), snapshot("failed"), messages=[message]))
    assert updates == [snapshot("queued"), message, snapshot("failed")]


def test_run_that_is_over_in_its_first_answer_has_begun() -> None:
    """What becomes of reading its messages does not unmake a run's start."""
    updates = list(feed(snapshot("completed")))
    assert statuses(updates) == ["in_progress", "completed"]


@pytest.mark.parametrize(
    "waiting",
    [snapshot("requires_action", CALL), snapshot("requires_action", unsupported="approval")],
)
def test_feed_ends_where_something_is_wanted(waiting: RunSnapshot) -> None:
    """A run that waits for us ends the feed."""
    assert list(feed(waiting)) == [waiting]


def test_action_without_calls_is_polled_again() -> None:
    """A server may say that it waits before it says for what."""
    following = feed(snapshot("requires_action"), snapshot("requires_action", CALL))
    assert statuses(following) == ["requires_action", "requires_action"]


def test_unknown_status_is_followed() -> None:
    """A status that nobody knows is not final."""
    assert statuses(feed(snapshot("brand_new"), snapshot("completed"))) == [
        "brand_new",
        "completed",
    ]


def test_failure_comes_out() -> None:
    """What a request raises comes out of the feed."""

    def fail(pause: Pause) -> PollResult:
        raise ServiceUnavailableError("gone")

    failing = begun_with(fail)
    with pytest.raises(ServiceUnavailableError):
        next(failing)


def test_closed_feed_yields_nothing() -> None:
    """A feed that was closed before it was read makes no request."""
    following = feed(snapshot("queued"))
    following.close()
    assert list(following) == []


def test_closing_wakes_a_pause() -> None:
    """A feed that waits for its next poll ends at once when another thread closes it."""
    following = feed(snapshot("queued"), hint=None)
    assert next(following)
    waiting = threading.Event()
    ended = threading.Event()

    def read() -> None:
        waiting.set()
        list(following)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert waiting.wait(10)
    following.close()
    assert ended.wait(10)


def test_closing_wakes_a_retry() -> None:
    """A feed whose request waits to be repeated ends at once when it is closed."""
    began = threading.Event()

    def first(pause: Pause) -> PollResult:
        began.set()
        pause(60.0)
        raise AssertionError("the pause was sat out")

    following = begun_with(first)
    ended = threading.Event()

    def read() -> None:
        list(following)
        ended.set()

    threading.Thread(target=read, daemon=True).start()
    assert began.wait(10)
    following.close()
    assert ended.wait(10)


def test_closing_is_told_to_requests() -> None:
    """A pause on a closed feed raises, so that the request gives up."""
    pauses: list[Pause] = []

    def first(pause: Pause) -> PollResult:
        pauses.append(pause)
        return PollResult(snapshot("completed"))

    following = begun_with(first)
    list(following)
    following.close()
    with pytest.raises(FeedClosed):
        pauses[0](0)


@pytest.mark.parametrize(
    "age, heartbeat, asked, expected",
    [
        (0.0, 1.0, None, FIRST_PAUSE),
        (1.0, 1.0, None, GROWTH),
        (100.0, 1.0, None, 1.0),
        (0.0, 0.01, None, 0.01),
        (0.0, 1.0, 5.0, 5.0),
        (100.0, 1.0, 0.0, SHORTEST_HINT),
        (0.0, 1.0, -1.0, SHORTEST_HINT),
        (0.0, 1.0, 1e9, LONGEST_HINT),
    ],
)
def test_pauses_grow_with_the_run(
    age: float, heartbeat: float, asked: float | None, expected: float
) -> None:
    """A pause is a share of the run's age up to the heartbeat, or what the server asks for."""
    assert next_pause(age, heartbeat, asked) == pytest.approx(expected)
