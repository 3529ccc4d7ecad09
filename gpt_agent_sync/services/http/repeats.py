"""Repeats of requests: which failures pass, what is looked for first, and how long to wait."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection
from typing import TypeVar

from gpt_agent_sync.decisions.rate_limits import is_quota
from gpt_agent_sync.errors import (
    AuthenticationError,
    GptAgentError,
    ProtocolError,
    RateLimitError,
    ServiceError,
    ServiceUnavailableError,
)
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import Pause
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.calls import AnswerTooLargeError, RequestEndedError
from gpt_agent_sync.services.http.closing import Closing, FeedClosed

logger = get_logger(__name__)

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 8.0

LONGEST_RETRY_AFTER = 60.0
"""Seconds: where a service asks for a longer pause its error is raised instead."""

T = TypeVar("T")

BAD_MOMENT = frozenset({409, 425})
"""Statuses that say nothing is wrong with a read: it came at a bad moment."""

REPLICA_BEHIND = BAD_MOMENT | {404}
"""The same for the read of what is known to be there: a replica may not have it yet."""


def repeat_safe(
    attempt: Callable[[], Answer],
    pause: Pause,
    most: int,
    passing: Collection[int] = (),
    *,
    renews_key: bool = False,
) -> Answer:
    """Make a request that may be made any number of times, until it succeeds.

    Args:
        attempt: Makes it.
        pause: Waits between the tries.
        most: How often it may be repeated.
        passing: Statuses that pass, besides those that always do.
        renews_key: Whether a refused key is tried once more: tokens are exchanged, and a replica
            may not know the new one yet.

    Raises:
        ServiceError: If the service refuses, or still fails after the retries.
    """
    tries = 0
    while True:
        try:
            return attempt()
        except ServiceError as exc:
            renewed = renews_key and _refuses_key(exc)
            if not (renewed or passes(exc) or exc.status in passing):
                raise
            error = exc
        renews_key = renews_key and not renewed
        tries += 1
        if tries > most or _is_hopeless(error):
            raise error
        _wait(error, tries, most, pause)


def repeat_write(
    attempt: Callable[[], Answer],
    find: Callable[[], T | None] | None,
    pause: Pause,
    most: int,
    *,
    sure: bool = True,
    renews_key: bool = False,
) -> Answer | T:
    """Make a request that must take effect once, until it has.

    A request that may have been handled is looked for before it is sent again, and after the
    pause: what it does may show a little later only. One that timed out may be worked on for as
    long as it likes: it is never sent again.

    Args:
        attempt: Makes it.
        find: Returns what an earlier attempt did, ``None`` if there is nothing to be seen. Without
            it a request that may have been handled fails.
        pause: Waits between the tries.
        most: How often it may be repeated, or looked for.
        sure: Whether a look that finds nothing is the last word. Where it is not, as what was
            begun shows at its end only, a request that may have been handled is never sent again.
        renews_key: Whether a refused key is tried once more.

    Raises:
        ServiceError: If the service refuses, or still fails after the retries. After an attempt
            that may have been handled, whatever is raised is ``in_doubt``.
    """
    tries, doubted, at_work = 0, False, False
    while True:
        if not at_work:
            try:
                return attempt()
            except ServiceError as exc:
                error = exc
            renewed = renews_key and _refuses_key(error)
            renews_key = renews_key and not renewed
            if not (renewed or passes(error)):
                # Refused, as what was sent before has taken effect since we looked?
                found = _look(find, error) if doubted else None
                if found is not None:
                    return found
                error.in_doubt = error.in_doubt or doubted
                raise error
            doubted = doubted or error.in_doubt
            late = isinstance(error, ServiceUnavailableError) and error.timed_out
            at_work = late or (doubted and not sure)
            error.in_doubt = doubted
        tries += 1
        given_up = tries > most or _is_hopeless(error)
        if (doubted and find is None) or (given_up and not doubted):
            raise error
        _wait(error, tries, most, pause)
        if doubted:
            found = _look(find, error)
            if found is not None:
                return found
            if given_up:
                raise error


def _look(find: Callable[[], T | None] | None, error: ServiceError) -> T | None:
    """Look for what a failed request did.

    Raises:
        ServiceError: The request's own error, if the look fails: nobody knows what it did.
    """
    if find is None:
        return None
    try:
        found = find()
    except GptAgentError as exc:
        if exc.in_doubt:
            raise  # it says itself why there is no telling
        error.in_doubt = True
        raise error from exc
    if found is not None:
        logger.warning("%s; what it asked for was done all the same", error)
    return found


def _wait(error: ServiceError, tries: int, most: int, pause: Pause) -> None:
    """Wait before the next try.

    Raises:
        ServiceError: If the wait is given up and the request is in doubt, or the service has asked
            for a longer pause than its caller has time.
        GptAgentError: If it is given up otherwise.
    """
    asked = None if _is_hopeless(error) else _asked_pause(error)
    delay = backoff(tries) if asked is None else asked
    if isinstance(pause, Closing) and pause.closed:
        raise FeedClosed  # here already, as there will be no repeat to warn of
    logger.warning("%s; try %d of %d in %.2f s", error, min(tries, most), most, delay)
    try:
        pause(delay)
    except GptAgentError as exc:
        # That time is up says less than why it is.
        if asked is None and not error.in_doubt:
            raise
        raise error from exc


def _asked_pause(error: ServiceError) -> float | None:
    asked: float | None = getattr(error, "retry_after", None)
    return asked


def _is_hopeless(error: ServiceError) -> bool:
    """Return whether no repeat is worth it.

    A quota is used up, the pause asked for is long, or the request was not to take any longer.
    """
    if isinstance(error, (AnswerTooLargeError, RequestEndedError)):
        return True
    # A pause of minutes is the program's to decide on.
    if (_asked_pause(error) or 0.0) > LONGEST_RETRY_AFTER:
        return True
    return isinstance(error, RateLimitError) and is_quota(error.code, error.message)


def passes(error: ServiceError) -> bool:
    """Return whether a request may succeed later; an answer that cannot be read is a broken one."""
    if isinstance(error, (RateLimitError, ServiceUnavailableError)):
        return True
    return isinstance(error, ProtocolError) and error.in_doubt


def _refuses_key(error: ServiceError) -> bool:
    return isinstance(error, AuthenticationError) and error.status == 401


def backoff(tries: int) -> float:
    """Return the seconds before the next try: exponential, with jitter of up to half.

    Jitter, as clients that a service has thrown out together would come back together.
    """
    ceiling = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** (tries - 1))
    return ceiling * random.uniform(0.5, 1.0)
