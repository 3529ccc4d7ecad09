"""The pool that handlers run on: bounded, oldest first, and not starved by what hangs."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from typing import Protocol

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.tools import pool as pool_module
from gpt_agent_sync.tools.pool import Job, ToolPool, shared_pool

PATIENCE = 10.0
"""Seconds to wait for what must happen."""

MOMENT = 0.1
"""Seconds to wait for what must not happen."""

SOON = 0.01
"""Seconds after which a job is taken for one that hangs."""


class Work:
    """A job that tells when it has begun, and goes on until it is released."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()
        self.done = threading.Event()
        self.worker: threading.Thread | None = None

    def __call__(self) -> None:
        """Begin, wait, end."""
        self.worker = threading.current_thread()
        self.begun.set()
        self.released.wait(PATIENCE)
        self.done.set()


class Crew:
    """A pool, and the work given to it."""

    def __init__(self, pool: ToolPool) -> None:
        self.pool = pool
        self.works: list[Work] = []

    def submit(self, name: str = "work") -> tuple[Work, Job]:
        """Return the pool work."""
        work = Work()
        self.works.append(work)
        return work, self.pool.submit(work, name)

    def begin(self, name: str = "work") -> tuple[Work, Job]:
        """Return the pool work, and wait until it has begun."""
        work, job = self.submit(name)
        assert work.begun.wait(PATIENCE)
        return work, job

    def end(self) -> None:
        """Release all work, and end the threads."""
        for work in self.works:
            work.released.set()
        self.pool.close(PATIENCE)
        for work in self.works:
            if work.worker is not None:
                work.worker.join(PATIENCE)
        for thread in threading.enumerate():
            if thread.name.startswith("gpt-agent-tool"):
                thread.join(PATIENCE)


class MakeCrew(Protocol):
    """A maker of pools."""

    def __call__(self, size: int, patience: float = PATIENCE) -> Crew:
        """Return a pool of a size."""


@pytest.fixture
def make_crew() -> Iterator[MakeCrew]:
    """Return a maker of pools of a size; they are emptied and closed."""
    crews: list[Crew] = []

    def make(size: int, patience: float = PATIENCE) -> Crew:
        crews.append(Crew(ToolPool(lambda: size, patience)))
        return crews[-1]

    yield make
    for crew in crews:
        crew.end()


def test_job_runs_on_a_thread_of_the_pool(make_crew: MakeCrew) -> None:
    """A job runs on a daemon thread named for its purpose."""
    work, _ = make_crew(1).begin()
    assert work.worker is not None
    assert work.worker.daemon
    assert work.worker.name.startswith("gpt-agent-tool-")


def test_jobs_run_at_the_same_time(make_crew: MakeCrew) -> None:
    """As many jobs as the pool may have threads run at once."""
    crew = make_crew(3)
    begun = [crew.begin()[0] for _ in range(3)]
    assert not any(work.done.is_set() for work in begun)


def test_bound(make_crew: MakeCrew) -> None:
    """One job more than the pool may have threads waits."""
    crew = make_crew(2)
    crew.begin()
    crew.begin()
    work, _ = crew.submit()
    assert not work.begun.wait(MOMENT)


def test_waiting_job_begins_when_one_ends(make_crew: MakeCrew) -> None:
    """A job that waits begins when another ends."""
    crew = make_crew(1)
    first, _ = crew.begin()
    second, _ = crew.submit()
    first.released.set()
    assert second.begun.wait(PATIENCE)


def test_bound_under_load(make_crew: MakeCrew) -> None:
    """However many jobs come from however many threads, the bound is kept."""
    crew = make_crew(3)
    lock = threading.Lock()
    all_done = threading.Event()
    running = peak = count = 0

    def job() -> None:
        nonlocal running, peak, count
        with lock:
            running += 1
            peak = max(peak, running)
        with lock:
            running -= 1
            count += 1
            if count == 400:
                all_done.set()

    def submit() -> None:
        for _ in range(50):
            crew.pool.submit(job)

    threads = [threading.Thread(target=submit) for _ in range(8)]
    for submitter in threads:
        submitter.start()
    for submitter in threads:
        submitter.join(PATIENCE)
    assert all_done.wait(PATIENCE)
    assert 1 <= peak <= 3


def test_oldest_first(make_crew: MakeCrew) -> None:
    """Jobs that wait begin in the order in which they came."""
    crew = make_crew(1)
    first, _ = crew.begin()
    order: list[int] = []
    all_done = threading.Event()
    for number in range(5):
        crew.pool.submit(lambda number=number: order.append(number))  # type: ignore[misc]
    crew.pool.submit(all_done.set)
    first.released.set()
    assert all_done.wait(PATIENCE)
    assert order == [0, 1, 2, 3, 4]


def test_thread_is_used_again(make_crew: MakeCrew) -> None:
    """One thread does one job after the other."""
    crew = make_crew(1)
    first, _ = crew.begin()
    second, _ = crew.submit()
    first.released.set()
    assert second.begun.wait(PATIENCE)
    assert second.worker is first.worker


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_job_that_raises(
    make_crew: MakeCrew, caplog: pytest.LogCaptureFixture, error: type[BaseException]
) -> None:
    """A job that raises is logged with its traceback, and its thread goes on."""
    crew = make_crew(1)

    def fail() -> None:
        raise error("oops")

    crew.pool.submit(fail)
    crew.begin()
    (record,) = [record for record in caplog.records if record.name == "gpt_agent_sync.tools.pool"]
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None
    assert record.exc_info[0] is error


def test_abandoned_job_gives_its_place_to_a_waiting_one(make_crew: MakeCrew) -> None:
    """When a job that hangs is abandoned, a waiting one begins."""
    crew = make_crew(1)
    hanging, job = crew.begin()
    waiting, _ = crew.submit()
    crew.pool.abandon(job)
    assert waiting.begun.wait(PATIENCE)
    assert not hanging.done.is_set()


def test_abandoned_job_gives_its_place_to_a_later_one(make_crew: MakeCrew) -> None:
    """When a job that hangs is abandoned while none waits, the next one begins at once."""
    crew = make_crew(1)
    _, job = crew.begin()
    crew.pool.abandon(job)
    crew.begin()


def test_abandoning_twice_frees_one_place(make_crew: MakeCrew) -> None:
    """A job that is abandoned again does not give its place away again."""
    crew = make_crew(1)
    _, job = crew.begin()
    crew.pool.abandon(job)
    crew.begin()
    crew.pool.abandon(job)
    work, _ = crew.submit()
    assert not work.begun.wait(MOMENT)


def test_abandoning_a_finished_job_frees_no_place(make_crew: MakeCrew) -> None:
    """A job that has finished has no place to give away."""
    crew = make_crew(1)
    first, job = crew.begin()
    second, _ = crew.submit()
    first.released.set()
    assert second.begun.wait(PATIENCE)
    crew.pool.abandon(job)
    third, _ = crew.submit()
    assert not third.begun.wait(MOMENT)


def test_thread_of_an_abandoned_job_ends(make_crew: MakeCrew) -> None:
    """The thread of an abandoned job ends with it, and takes no other job."""
    crew = make_crew(1)
    hanging, job = crew.begin()
    crew.pool.abandon(job)
    crew.begin()
    waiting, _ = crew.submit()
    hanging.released.set()
    assert hanging.worker is not None
    hanging.worker.join(PATIENCE)
    assert not hanging.worker.is_alive()
    assert not waiting.begun.is_set()


def test_abandoned_waiting_job_is_dropped(make_crew: MakeCrew) -> None:
    """A job that is abandoned while it waits never begins."""
    crew = make_crew(1)
    first, _ = crew.begin()
    dropped, job = crew.submit()
    last, _ = crew.submit()
    crew.pool.abandon(job)
    first.released.set()
    assert last.begun.wait(PATIENCE)
    assert not dropped.begun.is_set()


def test_abandoning_a_waiting_job_frees_no_place(make_crew: MakeCrew) -> None:
    """A job that waits holds no place, so none is given away with it."""
    crew = make_crew(1)
    crew.begin()
    _, job = crew.submit()
    crew.pool.abandon(job)
    work, _ = crew.submit()
    assert not work.begun.wait(MOMENT)


def test_hanging_job_gives_way(make_crew: MakeCrew) -> None:
    """A job that waits as long as another runs begins at last, though the other never ends."""
    crew = make_crew(1, SOON)
    hanging, _ = crew.begin()
    waiting, _ = crew.submit()
    assert waiting.begun.wait(PATIENCE)
    assert not hanging.done.is_set()


def test_as_many_give_way_as_there_are_places(make_crew: MakeCrew) -> None:
    """The pool has at most twice as many threads as it may have jobs at once."""
    crew = make_crew(2, SOON)
    for _ in range(4):
        crew.begin()
    work, _ = crew.submit()
    assert not work.begun.wait(MOMENT)


def test_next_one_gives_way_when_one_that_hung_ends(make_crew: MakeCrew) -> None:
    """A job that hung and ends lets another give way in its place."""
    crew = make_crew(1, SOON)
    first, _ = crew.begin()
    crew.begin()
    waiting, _ = crew.submit()
    first.released.set()
    assert waiting.begun.wait(PATIENCE)


def test_next_one_gives_way_when_one_that_hung_is_abandoned(make_crew: MakeCrew) -> None:
    """A job that hung and is abandoned lets another give way in its place."""
    crew = make_crew(1, SOON)
    _, job = crew.begin()
    crew.begin()
    waiting, _ = crew.submit()
    crew.pool.abandon(job)
    assert waiting.begun.wait(PATIENCE)


def test_bound_is_back_when_those_that_hung_end(make_crew: MakeCrew) -> None:
    """When the jobs that hung have ended, the pool has as many threads as before."""
    crew = make_crew(1, MOMENT)
    first, _ = crew.begin()
    second, _ = crew.begin()
    for work in (first, second):
        work.released.set()
        assert work.worker is not None
    first.worker.join(PATIENCE)  # type: ignore[union-attr]  # it has begun
    last, _ = crew.begin()
    waiting, _ = crew.submit()
    assert not waiting.begun.wait(MOMENT / 2)
    assert not last.done.is_set()


def test_hanging_jobs_are_logged(make_crew: MakeCrew, caplog: pytest.LogCaptureFixture) -> None:
    """One warning says by what the threads are taken, however long jobs wait."""
    crew = make_crew(2, MOMENT)
    crew.begin("slow")
    crew.begin("stuck")
    waiting = [crew.submit()[0] for _ in range(3)]
    for work in waiting[:2]:
        assert work.begun.wait(PATIENCE)
    assert not waiting[2].begun.wait(3 * MOMENT)
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert "taken by slow (1), stuck (1)" in record.message


def test_job_that_waits_for_others_does_not_hang(
    make_crew: MakeCrew, caplog: pytest.LogCaptureFixture
) -> None:
    """A job whose place is released for a while is not one that hangs."""
    crew = make_crew(1, SOON)
    begun, released = threading.Event(), threading.Event()

    def wait_for_others() -> None:
        with crew.pool.place_released():
            begun.set()
            released.wait(PATIENCE)

    crew.pool.submit(wait_for_others, "patient")
    assert begun.wait(PATIENCE)
    crew.begin("slow")
    crew.begin()
    released.set()
    assert "patient" not in caplog.text
    assert "slow" in caplog.text


def test_idle_thread_ends(make_crew: MakeCrew, monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread without work ends after a while."""
    monkeypatch.setattr(pool_module, "LINGER", 0.01)
    work, _ = make_crew(1).begin()
    work.released.set()
    assert work.worker is not None
    work.worker.join(PATIENCE)
    assert not work.worker.is_alive()


def test_work_after_the_idle_thread_has_ended(
    make_crew: MakeCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the idle thread has ended, the next job gets a new one."""
    monkeypatch.setattr(pool_module, "LINGER", 0.01)
    crew = make_crew(1)
    first, _ = crew.begin()
    first.released.set()
    assert first.worker is not None
    first.worker.join(PATIENCE)
    second, _ = crew.begin()
    assert second.worker is not first.worker


def test_close_ends_idle_threads(make_crew: MakeCrew) -> None:
    """Closing ends the threads that have nothing to do, at once."""
    crew = make_crew(1)
    work, _ = crew.begin()
    work.released.set()
    crew.pool.close(PATIENCE)
    assert work.worker is not None
    assert not work.worker.is_alive()


def test_close_waits_for_jobs(make_crew: MakeCrew) -> None:
    """Closing waits until the jobs under way are done."""
    crew = make_crew(1)
    work, _ = crew.begin()
    closer = threading.Thread(target=crew.pool.close, args=(PATIENCE,))
    closer.start()
    closer.join(MOMENT)
    assert closer.is_alive()
    work.released.set()
    closer.join(PATIENCE)
    assert not closer.is_alive()


def test_close_waits_no_longer_than_it_may(make_crew: MakeCrew) -> None:
    """Closing gives up waiting for a job that hangs."""
    crew = make_crew(1)
    work, _ = crew.begin()
    crew.pool.close(MOMENT)
    assert not work.done.is_set()


def test_close_without_threads(make_crew: MakeCrew) -> None:
    """Closing a pool that never worked does nothing, and it still works afterwards."""
    crew = make_crew(1)
    crew.pool.close(PATIENCE)
    crew.begin()


def test_close_within_a_job(make_crew: MakeCrew) -> None:
    """A job that closes the pool does not wait for itself."""
    crew = make_crew(1)
    done = threading.Event()

    def close() -> None:
        crew.pool.close(PATIENCE)
        done.set()

    crew.pool.submit(close)
    assert done.wait(PATIENCE / 2)


def test_use_after_close(make_crew: MakeCrew) -> None:
    """A closed pool works again when it is given a job."""
    crew = make_crew(1)
    first, _ = crew.begin()
    first.released.set()
    crew.pool.close(PATIENCE)
    crew.begin()


def test_thread_starts_while_the_pool_is_closed(
    make_crew: MakeCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Closing at the moment in which a thread is being started raises nothing."""
    crew = make_crew(1)
    starting, go_on, ran = threading.Event(), threading.Event(), threading.Event()
    start = threading.Thread.start

    def slow_start(self: threading.Thread) -> None:
        if self.name.startswith("gpt-agent-tool-"):
            starting.set()
            go_on.wait(PATIENCE)
        start(self)

    monkeypatch.setattr(threading.Thread, "start", slow_start)
    submitter = threading.Thread(target=crew.pool.submit, args=(ran.set,))
    submitter.start()
    assert starting.wait(PATIENCE)
    try:
        crew.pool.close(MOMENT)
    finally:
        go_on.set()
        submitter.join(PATIENCE)
    assert ran.wait(PATIENCE)


def test_thread_that_cannot_be_started(
    make_crew: MakeCrew, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the system has no thread to give, the caller receives of it and no place is lost."""
    crew = make_crew(1)

    def refuse(self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start new thread"):
            crew.pool.submit(print)
    ran = threading.Event()
    crew.pool.submit(ran.set)
    assert ran.wait(1)


@pytest.fixture
def limits() -> Iterator[tuple[Crew, list[int]]]:
    """Return a pool whose limit is the last number of a list."""
    numbers = [1]
    crew = Crew(ToolPool(lambda: numbers[-1]))
    yield crew, numbers
    crew.end()


def test_raised_limit_holds_from_the_next_job(limits: tuple[Crew, list[int]]) -> None:
    """A limit that has been raised lets more jobs run from the next one that comes."""
    crew, numbers = limits
    crew.begin()
    numbers.append(2)
    crew.begin()


def test_lowered_limit_holds_from_the_next_job(limits: tuple[Crew, list[int]]) -> None:
    """A limit that has been lowered lets no further job run beside the others."""
    crew, numbers = limits
    numbers.append(3)
    crew.begin()
    numbers.append(1)
    work, _ = crew.submit()
    assert not work.begun.wait(MOMENT)


def test_raised_limit_lets_the_oldest_begin(limits: tuple[Crew, list[int]]) -> None:
    """The job that has waited longest is the one that a raised limit lets begin."""
    crew, numbers = limits
    crew.begin()
    waiting, _ = crew.submit()
    numbers.append(2)
    latest, _ = crew.submit()
    assert waiting.begun.wait(PATIENCE)
    assert not latest.begun.wait(MOMENT)


def test_after_fork(make_crew: MakeCrew) -> None:
    """After a fork the pool counts none of the threads it had."""
    crew = make_crew(1)
    crew.begin()
    crew.pool.after_fork()
    crew.begin()


def test_abandoning_a_forgotten_job(make_crew: MakeCrew) -> None:
    """A job that waited before the pool forgot it can be abandoned, and frees no place."""
    crew = make_crew(1, 2 * MOMENT)
    crew.begin()
    _, job = crew.submit()
    crew.pool.after_fork()
    crew.begin()
    crew.pool.abandon(job)
    work, _ = crew.submit()
    assert not work.begun.wait(MOMENT)


def test_shared_pool_obeys_the_settings() -> None:
    """The process's pool has as many threads as ``tool_workers`` says."""
    gpt.configure(tool_workers=1)
    crew = Crew(shared_pool)
    crew.begin()
    work, _ = crew.submit()
    try:
        assert not work.begun.wait(MOMENT)
    finally:
        crew.end()
