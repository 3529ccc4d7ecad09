"""The threads that handlers run on: few, shared by all agents, gone when idle."""

from __future__ import annotations

import collections
import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Callable, Iterator

from gpt_agent_sync import forks
from gpt_agent_sync.configuration import get_settings

logger = logging.getLogger(__name__)

LINGER = 5.0
"""Seconds an idle thread waits for more work before it ends."""


class Job:
    """A call that was given to the pool.

    Args:
        run: The call; raises nothing.

    Attributes:
        abandoned: Whether nobody waits for it any more.
        has_place: Whether it counts as one of the running jobs.
    """

    def __init__(self, run: Callable[[], None]) -> None:
        self.run = run
        self.abandoned = False
        self.has_place = False


class ToolPool:
    """At most ``size()`` daemon threads that run jobs, oldest job first.

    A job that is abandoned keeps its thread, as a thread cannot be stopped, but another takes
    its place, so that handlers that hang do not starve the others.

    Args:
        size: Returns the most threads to use; called on the thread that submits a job.
    """

    def __init__(self, size: Callable[[], int]) -> None:
        self._size = size
        self._counter = itertools.count(1)
        self._current = threading.local()
        self._reset()

    def _reset(self) -> None:
        self._condition = threading.Condition(threading.Lock())
        self._jobs: collections.deque[Job] = collections.deque()
        self._threads: set[threading.Thread] = set()
        self._working = 0
        self._idle = 0
        self._closing = False

    def submit(self, run: Callable[[], None]) -> Job:
        """Have ``run`` called on a thread of the pool, and return its job."""
        job = Job(run)
        limit = self._size()
        with self._condition:
            # A pool that was closed opens again: agents may be made after shutdown_all().
            self._closing = False
            self._jobs.append(job)
            self._condition.notify()
            # Idle threads take the waiting jobs; another is started only where they are too few.
            lacking = len(self._jobs) > self._idle and self._working + self._idle < limit
            thread = self._reserve() if lacking else None
        if thread is not None:
            self._start(thread, job)
        return job

    def abandon(self, job: Job) -> None:
        """Abandon a job: it is dropped if it waits, else its thread counts no longer."""
        with self._condition:
            job.abandoned = True
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
        job: Job | None = getattr(self._current, "job", None)
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
                if not job.abandoned:
                    self._take_place(job)

    def close(self, timeout: float) -> None:
        """End the threads: idle ones now, others after their job; wait at most ``timeout`` s."""
        with self._condition:
            self._closing = True
            self._condition.notify_all()
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
        job.has_place = True
        self._working += 1

    def _release(self, job: Job) -> threading.Thread | None:
        """Free the job's place, if it has one; return a thread to start if a job waits."""
        if not job.has_place:
            return None
        job.has_place = False
        self._working -= 1
        return self._reserve() if self._jobs else None

    def _reserve(self) -> threading.Thread:
        thread = threading.Thread(
            target=self._work, name=f"gpt-agent-tool-{next(self._counter)}", daemon=True
        )
        self._threads.add(thread)
        self._working += 1
        return thread

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
                self._current.job = job
                try:
                    job.run()
                except BaseException:
                    logger.exception("a tool job failed outside its handler")
        finally:
            with self._condition:
                self._threads.discard(threading.current_thread())

    def _next(self, done: Job | None) -> Job | None:
        with self._condition:
            if done is not None and done.abandoned:
                return None  # another thread has its place
            if done is not None:
                done.has_place = False
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
