"""The threads that handlers run on: few, shared by all agents, gone when idle."""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

from gpt_agent_sync import forks, logs
from gpt_agent_sync.configuration import get_settings
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.threads import Thread, ThreadValue, ends_greenlet

logger = get_logger(__name__)

LINGER = 5.0
"""Seconds an idle thread waits for more work before it ends."""

PATIENCE = 10.0
"""Seconds that a job waits before those that have run for as long give way to it."""


class Job:
    """A call that was given to the pool.

    Args:
        run: The call; raises nothing.
        name: What is called, for the log.

    Attributes:
        since: Since when it waits, or has its place, in monotonic seconds.
        abandoned: Whether nobody waits for it any more.
        hangs: Whether it has lost its place to others, for having run too long.
    """

    def __init__(self, run: Callable[[], None], name: str) -> None:
        self.run = run
        self.name = name
        self.since = time.monotonic()
        self.abandoned = False
        self.hangs = False


class ToolPool:
    """At most ``size()`` daemon threads that run jobs, oldest job first.

    A job that is abandoned keeps its thread, as a thread cannot be stopped, but another takes
    its place, so that handlers that hang do not starve the others. So does one that has run for
    longer than the pool's patience while another has waited for as long; at most ``size()`` of
    these go on beside the others. That is logged, once until no job waits any more.

    Args:
        size: Returns the most threads to use; called on the thread that submits a job.
        patience: Seconds.
    """

    def __init__(self, size: Callable[[], int], patience: float = PATIENCE) -> None:
        self._size = size
        self._patience = patience
        self._counter = itertools.count(1)
        self._current = ThreadValue[Job]()
        self._reset()

    def _reset(self) -> None:
        lock = threading.Lock()
        self._condition = threading.Condition(lock)
        self._close_asked = threading.Condition(lock)
        self._jobs: collections.deque[Job] = collections.deque()
        self._placed: set[Job] = set()
        self._hanging: set[Job] = set()
        self._threads: set[threading.Thread] = set()
        self._watcher: threading.Thread | None = None
        self._limit = 1
        self._working = 0
        self._idle = 0
        self._closing = False

    def submit(self, run: Callable[[], None], name: str = "a job") -> Job:
        """Have ``run`` called on a thread of the pool, and return its job."""
        job = Job(run, name)
        limit = self._size()
        watcher = thread = None
        with self._condition:
            # A pool that was closed opens again: agents may be made after shutdown_all().
            self._closing = False
            self._limit = limit
            self._jobs.append(job)
            self._condition.notify()
            # Idle threads take the waiting jobs; another is started only where they are too few.
            if len(self._jobs) > self._idle:
                if self._working + self._idle < limit:
                    thread = self._reserve()
                elif self._watcher is None:
                    watcher = self._watcher = self._new_thread(self._watch, "gpt-agent-tool-watch")
        if thread is not None:
            self._start(thread, job)
        if watcher is not None:
            self._start_watcher(watcher)
        return job

    def abandon(self, job: Job) -> None:
        """Abandon a job: it is dropped if it waits, else its thread counts no longer."""
        with self._condition:
            job.abandoned = True
            self._hanging.discard(job)
            if job in self._jobs:
                self._jobs.remove(job)
            thread = self._release(job)
        if thread is not None:
            self._start(thread)

    @contextlib.contextmanager
    def place_released(self) -> Iterator[None]:
        """Free the current job's place for another while it waits for something.

        On a thread that is not of the pool this does nothing.
        """
        job = self._current.get()
        if job is None:
            yield
            return
        with self._condition:
            thread = self._release(job)
        if thread is not None:
            self._start(thread)
        try:
            yield
        finally:
            # It takes its place back at once, above the limit if need be: to wait for a place here
            # could be to wait for a job that waits for this one.
            with self._condition:
                if not job.abandoned and not job.hangs:
                    self._take_place(job)

    def close(self, timeout: float) -> None:
        """End the threads: idle ones now, others after their job; wait at most ``timeout`` s."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
            self._close_asked.notify_all()
            threads = self._threads - {threading.current_thread()}
        until = time.monotonic() + timeout
        for thread in threads:
            if thread.ident is None:
                continue  # its submitter is about to start it, or could not
            thread.join(max(0.0, until - time.monotonic()))

    def after_fork(self) -> None:
        """Start over in a forked child, which has none of the threads."""
        self._reset()

    def _take_place(self, job: Job) -> None:
        job.since = time.monotonic()
        self._placed.add(job)
        self._working += 1

    def _release(self, job: Job) -> threading.Thread | None:
        """Free the job's place, if it has one; return a thread to start if a job waits."""
        if job not in self._placed:
            return None
        self._placed.remove(job)
        self._working -= 1
        return self._reserve() if self._jobs else None

    def _reserve(self) -> threading.Thread:
        self._working += 1
        return self._new_thread(self._work, f"gpt-agent-tool-{next(self._counter)}")

    def _new_thread(self, target: Callable[[], None], name: str) -> threading.Thread:
        thread = Thread(target, name)
        self._threads.add(thread)
        return thread

    def _start_watcher(self, watcher: threading.Thread) -> None:
        try:
            watcher.start()
        except RuntimeError:
            # Threads are scarce: then there is none for those that wait, either.
            with self._condition:
                self._threads.discard(watcher)
                self._watcher = None

    def _watch(self) -> None:
        """Have jobs that hang give way to those that wait, until none waits any more."""
        warned = False
        while True:
            with self._condition:
                self._close_asked.wait_for(lambda: self._closing, self._seconds_to_check())
                if self._closing or not self._jobs:
                    self._watcher = None
                    self._threads.discard(threading.current_thread())
                    return
                too_long = self._run_too_long(time.monotonic())
                names = [job.name for job in (*self._hanging, *too_long)]
                threads = self._give_way(too_long, time.monotonic())
            if too_long and not warned:
                warned = True
                logger.warning(
                    "tool calls wait for a thread, for longer than %g s: theirs are taken by %s; "
                    "give these tools a timeout, or the settings more tool_workers",
                    self._patience,
                    ", ".join(f"{name} ({names.count(name)})" for name in sorted(set(names))),
                )
            for thread in threads:
                # Without another thread the jobs wait on.
                with contextlib.suppress(RuntimeError):
                    self._start(thread)

    def _seconds_to_check(self) -> float:
        """Return the seconds until a job that waits may have one that hangs give way."""
        if not self._jobs:
            return 0.0
        longest = min((job.since for job in self._placed), default=0.0)
        left = max(self._jobs[0].since, longest) + self._patience - time.monotonic()
        return left if left > 0 else self._patience

    def _run_too_long(self, now: float) -> list[Job]:
        """Return the jobs that hold a place for too long, oldest first, if one waits too long."""
        if now < self._jobs[0].since + self._patience:
            return []
        too_long = (job for job in self._placed if now >= job.since + self._patience)
        return sorted(too_long, key=lambda job: job.since)

    def _give_way(self, too_long: Sequence[Job], now: float) -> list[threading.Thread]:
        """Take their places from jobs that hang, and return the threads to start for others."""
        waiting = sum(1 for job in self._jobs if now >= job.since + self._patience)
        most = max(0, min(waiting, self._limit - len(self._hanging)))
        threads = []
        for job in too_long[:most]:
            job.hangs = True
            self._hanging.add(job)
            thread = self._release(job)
            threads += [] if thread is None else [thread]
        return threads

    def _start(self, thread: threading.Thread, job: Job | None = None) -> None:
        # Outside the lock, as it takes its time, and may fail where threads are scarce.
        try:
            thread.start()
        except BaseException:
            with self._condition:
                self._threads.discard(thread)
                self._working -= 1
                if job is not None and job in self._jobs:
                    self._jobs.remove(job)
            raise

    def _work(self) -> None:
        try:
            job = None
            while True:
                job = self._next(job)
                if job is None:
                    return
                try:
                    with self._current.holding(job):
                        job.run()
                except BaseException as exc:
                    if ends_greenlet(exc):
                        raise
                    logs.log_exception(
                        logger, logging.ERROR, "a tool job failed outside its handler"
                    )
        finally:
            with self._condition:
                self._threads.discard(threading.current_thread())

    def _next(self, done: Job | None) -> Job | None:
        with self._condition:
            if done is not None:
                self._hanging.discard(done)
                if done not in self._placed:
                    return None  # another thread has its place
                self._placed.remove(done)
            self._working -= 1
            self._idle += 1
            try:
                if not self._jobs and not self._closing:
                    self._condition.wait_for(lambda: self._jobs or self._closing, LINGER)
                if not self._jobs:
                    return None
                job = self._jobs.popleft()
                self._take_place(job)
                return job
            finally:
                self._idle -= 1


def _limit() -> int:
    return get_settings().tool_workers


shared_pool = ToolPool(_limit)
"""The pool of the process; it has no threads until the first handler is called."""

forks.in_child(shared_pool.after_fork)
