"""Threads of our own, and values that belong to a thread."""

from __future__ import annotations

import threading

from gpt_agent_sync.threads import Thread, ThreadValue
from tests.support.forks import forks, in_forked_child


def test_value_is_the_threads_own() -> None:
    """A thread does not see the value that another one holds."""
    value = ThreadValue[str]()
    seen: list[str | None] = []
    with value.holding("mine"):
        other = threading.Thread(target=lambda: seen.append(value.get()))
        other.start()
        other.join()
        seen.append(value.get())
    assert seen == [None, "mine"]


def test_value_is_held_while_the_block_runs() -> None:
    """A value that was held is gone after the block."""
    value = ThreadValue[str]()
    with value.holding("mine"):
        pass
    assert value.get() is None


@forks
def test_child_keeps_the_value_of_the_thread_that_forks() -> None:
    """A forked child keeps the value of its one thread, and none of the others'."""
    value = ThreadValue[str]()
    ready, done = threading.Event(), threading.Event()

    def hold() -> None:
        with value.holding("other"):
            ready.set()
            done.wait(20)

    other = threading.Thread(target=hold)
    other.start()
    assert ready.wait(20)
    with value.holding("mine"):
        assert in_forked_child(lambda: list(value._values.values()) == ["mine"])
    done.set()
    other.join()


def test_threads_do_not_hold_up_the_end_of_a_program() -> None:
    """Threads of ours are daemons."""
    assert Thread(lambda: None, "gpt-agent-test").daemon
