"""Requests under way: how long each may take, and what ends it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from typing import NoReturn

from gpt_agent_sync.errors import ProtocolError, ServiceUnavailableError
from gpt_agent_sync.services.http.closing import Interruptible


class RequestEndedError(ServiceUnavailableError):
    """A request was ended, as its time was up or all agents were shut down: it is not repeated."""


class AnswerTooLargeError(ProtocolError):
    """An answer is larger than it may be: the next one would be too, so that it is not repeated."""


class Call(Interruptible):
    """One request, from its connection to the last byte of its answer, or to a stream's opening.

    One thread makes it, any thread ends it. Ending it shuts the socket down that it has come to, as
    the request's thread may wait in a library that knows nothing of deadlines.

    Args:
        seconds: How long it may take.

    Attributes:
        ended: Whether it was ended.
        may_be_sent: Whether the service may have it.
    """

    def __init__(self, seconds: float) -> None:
        self.ended = False
        self.may_be_sent = False
        self._is_watched = False
        self._seconds = seconds
        self._until = time.monotonic() + seconds
        self._shut_down: Callable[[], object] | None = None

    def seconds_left(self) -> float:
        """Return how long it may still take; not quite nothing where time is up."""
        return max(0.001, self._until - time.monotonic())

    def comes_to(self, shut_down: Callable[[], object], *, may_be_sent: bool) -> None:
        """Take note of the connection that it is about to use.

        Args:
            shut_down: Shuts its socket down, from any thread.
            may_be_sent: Whether the service may have the request from now on.

        Raises:
            RequestEndedError: If it was ended already.
        """
        self._shut_down, self._is_watched = shut_down, True
        # After that is noted: whoever ends it at this moment sees it, or is seen.
        if self.ended:
            self.raise_ended("it")
        self.may_be_sent = self.may_be_sent or may_be_sent

    def is_answered(self, shut_down: Callable[[], object]) -> None:
        """Take note of its answer, whose body is still to come.

        Args:
            shut_down: Ends the wait for that, from any thread.
        """
        self._shut_down, self.may_be_sent = shut_down, True
        if self.ended:
            self.end()

    def end(self) -> None:
        """End it, from any thread."""
        self.ended = True
        shut_down = self._shut_down
        if shut_down is not None:
            # A connection that is gone, or back in its pool, has nobody to be woken.
            with contextlib.suppress(OSError, ValueError, RuntimeError, AttributeError):
                shut_down()

    def raise_ended(self, what: str, cause: BaseException | None = None) -> NoReturn:
        """Raise the error that says that it was ended.

        Args:
            what: Method and address.
            cause: What its thread was woken by.

        Raises:
            RequestEndedError: Always.
        """
        is_late = time.monotonic() >= self._until
        why = f"no whole answer in {self._seconds:.3g} s" if is_late else "ended by a shutdown"
        # Over a program's own session nobody has told how far it had come: the cause knows more.
        in_doubt = self.may_be_sent
        if not self._is_watched:
            in_doubt = in_doubt or getattr(cause, "in_doubt", False)
        raise RequestEndedError(
            f"{what} failed: {why}", in_doubt=in_doubt, timed_out=is_late
        ) from cause
