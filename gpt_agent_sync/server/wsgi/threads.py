"""The threads that answer requests: as many as there is work for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from waitress.task import ThreadedTaskDispatcher

LEAST_THREADS, MOST_THREADS = 4, 1000
"""Threads that answer requests; each open stream takes one."""

IDLE_SECONDS = 30.0
"""After which a thread ends that has nothing to do."""


def do_nothing() -> None:
    """Do nothing."""


class Dispatcher(ThreadedTaskDispatcher):
    """The threads that answer requests: as many as there is work for.

    Args:
        most: How many there may be.

    Attributes:
        on_end: Called by the last thread, when it ends.
    """

    def __init__(self, most: int = MOST_THREADS) -> None:
        super().__init__()
        self.on_end: Callable[[], object] = do_nothing
        self._least = min(LEAST_THREADS, most)
        self._most = most
        self._next = 0
        self.set_thread_count(self._least)

    def add_task(self, task: Any) -> None:
        """Have a request answered, by a new thread where all others have work."""
        with self.lock:
            self.queue.append(task)
            living = len(self.threads) - self.stop_count
            # One that was woken and has not yet begun counts as idle, and its task is waiting.
            if len(self.queue) > living - self.active_count and living < self._most:
                self._add_thread()
            self.queue_cv.notify()

    def _add_thread(self) -> None:
        while self._next in self.threads:
            self._next += 1
        number = self._next
        self.threads.add(number)
        self.active_count += 1
        try:
            self.start_new_thread(self.handler_thread, number)
        except RuntimeError:
            # There is none to be had: the request waits for another one.
            self.threads.discard(number)
            self.active_count -= 1

    def start_new_thread(self, target: Callable[[int], None], thread_no: int) -> None:
        """Start a thread."""
        name = f"gpt-agent-server-request-{thread_no}"
        threading.Thread(target=target, name=name, args=(thread_no,), daemon=True).start()

    def handler_thread(self, thread_no: int) -> None:
        """Answer requests, until there are none for long."""
        while True:
            with self.lock:
                while not self.queue and not self.stop_count:
                    self.active_count -= 1
                    woken = self.queue_cv.wait(IDLE_SECONDS)
                    self.active_count += 1
                    is_spare = len(self.threads) - self.stop_count > self._least
                    if not woken and not self.queue and is_spare:
                        self._end(thread_no)
                        return
                if self.stop_count:
                    self.stop_count -= 1
                    self._end(thread_no)
                    return
                task = self.queue.popleft()
            try:
                task.service()
            except BaseException:
                self.logger.exception("a request could not be answered")
            # Nothing of it is held while this waits for the next one.
            del task

    def _end(self, thread_no: int) -> None:
        self.active_count -= 1
        self.threads.discard(thread_no)
        self.thread_exit_cv.notify()
        if not self.threads:
            self.on_end()
