"""Waits on the main thread let signals in, and those of other threads are left alone."""

from __future__ import annotations

import threading

import pytest

from gpt_agent_sync import waits


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[float | None]:
    """Return the seconds that are waited, one after the other, and have no pause last long."""
    monkeypatch.setattr(waits, "SIGNAL_PAUSE", 0.01)
    return []


def test_main_thread_wakes_up_now_and_then(asked: list[float | None]) -> None:
    """On the main thread a wait for ever is one of many short ones."""

    def wait_once(seconds: float | None) -> bool:
        asked.append(seconds)
        return len(asked) == 3

    assert waits.wait(wait_once, None)
    assert asked == [0.01, 0.01, 0.01]


def test_main_thread_waits_no_longer_than_it_may(asked: list[float | None]) -> None:
    """On the main thread the short waits end when the time is up."""
    event = threading.Event()

    def wait_once(seconds: float | None) -> bool:
        asked.append(seconds)
        return event.wait(seconds)

    assert not waits.wait(wait_once, 0.015)
    assert all(seconds is not None and seconds <= 0.01 for seconds in asked)


def test_other_threads_wait_in_one_go(asked: list[float | None]) -> None:
    """Signals are not handled on other threads, which are not woken for them."""

    def wait_once(seconds: float | None) -> bool:
        asked.append(seconds)
        return True

    thread = threading.Thread(target=waits.wait, args=(wait_once, None))
    thread.start()
    thread.join()
    assert asked == [None]
