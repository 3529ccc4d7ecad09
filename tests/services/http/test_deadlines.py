"""Deadlines: what takes too long is ended, and nothing else."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import pytest

from gpt_agent_sync.services.http.closing import Interruptible
from gpt_agent_sync.services.http.deadlines import Deadlines
from tests.support.forks import forks, in_forked_child

PATIENCE = 10.0


class Call(Interruptible):
    """A call that waits until it is ended."""

    def __init__(self) -> None:
        self.ended = threading.Event()

    def end(self) -> None:
        """End it."""
        self.ended.set()


@pytest.fixture
def deadlines() -> Iterator[Deadlines]:
    """Return deadlines of their own; their thread is ended."""
    deadlines = Deadlines()
    yield deadlines
    deadlines.close(PATIENCE)


def names() -> list[str]:
    """Return the names of the threads there are."""
    return [thread.name for thread in threading.enumerate()]


def test_call_past_its_deadline_is_ended(deadlines: Deadlines) -> None:
    """A block that takes longer has its call ended."""
    call = Call()
    with deadlines.at(0.01, call):
        assert call.ended.wait(PATIENCE)


def test_call_within_its_deadline_is_left_alone(deadlines: Deadlines) -> None:
    """A block that is done in time has its call left alone, however long others take."""
    quick, slow = Call(), Call()
    with deadlines.at(0.05, quick):
        pass
    with deadlines.at(0.1, slow):
        assert slow.ended.wait(PATIENCE)
    assert not quick.ended.is_set()


def test_earlier_deadline_is_not_kept_waiting(deadlines: Deadlines) -> None:
    """A deadline that comes before one that was set earlier is met first."""
    late, early = Call(), Call()
    with deadlines.at(PATIENCE * 6, late), deadlines.at(0.01, early):
        assert early.ended.wait(PATIENCE)
        assert not late.ended.is_set()


def test_thread_is_there_only_while_it_is_needed(deadlines: Deadlines) -> None:
    """No thread runs before the first deadline, nor when the deadlines are closed."""
    assert "gpt-agent-deadlines" not in names()
    with deadlines.at(PATIENCE, Call()):
        assert "gpt-agent-deadlines" in names()
    deadlines.close(PATIENCE)
    assert "gpt-agent-deadlines" not in names()


def test_deadlines_can_be_used_again(deadlines: Deadlines) -> None:
    """Deadlines that were closed are met again when there are new ones."""
    deadlines.close(PATIENCE)
    call = Call()
    with deadlines.at(0.01, call):
        assert call.ended.wait(PATIENCE)


@forks
def test_child_has_a_thread_of_its_own(deadlines: Deadlines) -> None:
    """A forked child, which has no threads of its parent, meets its deadlines all the same."""

    def met() -> bool:
        deadlines.forget()
        call = Call()
        with deadlines.at(0.01, call):
            return call.ended.wait(PATIENCE)

    with deadlines.at(PATIENCE, Call()):
        assert in_forked_child(met)


def test_all_that_is_under_way_can_be_ended(deadlines: Deadlines) -> None:
    """What has time left is ended too when everything is."""
    calls = [Call(), Call()]
    with deadlines.at(PATIENCE, calls[0]), deadlines.at(PATIENCE, calls[1]):
        deadlines.end_all()
        assert [call.ended.is_set() for call in calls] == [True, True]


@pytest.mark.parametrize("strict", [True, False])
def test_block_may_do_without_a_thread(
    deadlines: Deadlines, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    """Where no thread can be started, only a block that needs its deadline is not run."""

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(deadlines, "_start", refuse)
    ran = False
    with (
        contextlib.suppress(RuntimeError),
        deadlines.at(PATIENCE, Call(), strict=strict),
    ):
        ran = True
    assert ran is not strict
