"""What a forked child begins anew, with and without Python's hooks."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from gpt_agent_sync import forks as forks_module
from gpt_agent_sync.forks import PerProcess
from tests.support.forks import forks, in_forked_child, in_unnoticed_child


class Counted:
    """An object that counts how often it began anew."""

    def __init__(self) -> None:
        self.times = 0
        forks_module.renew_in_child(self)

    def _after_fork(self) -> None:
        self.times += 1
        assert forks_module.check() == os.getpid()  # what is called may check for itself


@forks
def test_child_begins_anew_once() -> None:
    """Objects begin anew in a forked child once, and not in the parent."""
    counted = Counted()

    def checks_again() -> bool:
        forks_module.check()
        return counted.times == 1

    assert in_forked_child(checks_again)
    assert counted.times == 0


@forks
def test_child_without_hooks_begins_anew_at_the_first_check() -> None:
    """A child that Python does not know of begins anew when it first checks."""
    counted = Counted()

    def checks_twice() -> bool:
        before = counted.times
        forks_module.check()
        forks_module.check()
        return (before, counted.times) == (0, 1)

    assert in_unnoticed_child(checks_twice)


@forks
def test_grandchild_begins_anew_too() -> None:
    """The child of a child begins anew as well."""
    counted = Counted()
    assert in_forked_child(lambda: in_forked_child(lambda: counted.times == 2))


def test_objects_are_held_weakly() -> None:
    """An object that nobody holds any more is not kept for the sake of forks."""
    counted = Counted()
    key = id(counted)
    assert forks_module._process.objects.get(key) is counted
    del counted
    gc.collect()
    assert key not in forks_module._process.objects


def _make(inherited: Sequence[object]) -> object:
    return object()


def test_value_is_made_once() -> None:
    """A process has one value."""
    value = PerProcess(_make)
    assert value.get() is value.get()


def test_threads_share_a_value() -> None:
    """Threads that ask first at once get the same value."""
    barrier = threading.Barrier(8)
    value = PerProcess(_make)

    def get(number: int) -> object:
        barrier.wait(10)
        return value.get()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(get, range(8)))) == 1


@forks
def test_child_has_a_value_of_its_own() -> None:
    """A forked child makes its own value, once, and knows its parent's."""
    value = PerProcess[tuple[int, list[object]]](lambda inherited: (os.getpid(), list(inherited)))
    parent = value.get()

    def its_own() -> bool:
        child = value.get()
        return child == (os.getpid(), [parent]) and value.get() is child

    assert in_forked_child(its_own)
    assert value.get() is parent


@forks
def test_child_is_known_without_hooks() -> None:
    """A child that C code forked, without a word to Python, makes its own value too."""
    value = PerProcess[int](lambda inherited: os.getpid())
    parent = value.get()
    assert in_unnoticed_child(lambda: value.get() == os.getpid() != parent)
    assert value.get() == parent
