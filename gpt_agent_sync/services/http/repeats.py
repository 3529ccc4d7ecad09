"""Repeats of requests: which failures pass, what is looked for first, and how long to wait."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import TypeVar

from gpt_agent_sync.decisions.rate_limits import is_quota
from gpt_agent_sync.errors import (
    ProtocolError,
    RateLimitError,
    ServiceError,
    ServiceUnavailableError,
)
from gpt_agent_sync.records import Pause
from gpt_agent_sync.services.http.answers import Answer

logger = logging.getLogger(__name__)

FIRST_BACKOFF = 0.5
LONGEST_BACKOFF = 8.0

LONGEST_RETRY_AFTER = 60.0
"""Seconds: where a service asks for a longer pause its error is raised instead."""

T = TypeVar("T")

_PASSING_FOR_READS = (409, 425)
"""Statuses that say nothing is wrong with a read: it came at a bad moment."""


def repeat(
    attempt: Callable[[], Answer],
    recover: Callable[[ServiceError], T | None],
    pause: Pause,
    retries: Callable[[], int],
    *,
    reads: bool = False,
) -> Answer | T:
    """Make a request until it succeeds, or has failed too often.

    Args:
        attempt: Makes it.
        recover: Finds what a failed one did all the same; raises where it must not be repeated.
        pause: Waits between the tries.
        retries: Returns how often it may be repeated.
        reads: Whether it only reads.

    Raises:
        ServiceError: If the service refuses, or still fails after the retries.
    """
    tries = 0
    while True:
        try:
            return attempt()
        except ServiceError as exc:
            if not _passes(exc, reads=reads):
                raise
            error = exc
        # What may have been handled is looked for before it is sent again: a message or a run that
        # stands twice cannot be taken back.
        found = recover(error)
        if found is not None:
            return found
        tries += 1
        most = retries()
        asked: float | None = getattr(error, "retry_after", None)
        hopeless = isinstance(error, RateLimitError) and is_quota(error.code, error.message)
        # A pause of minutes is the program's to decide on; a used-up quota no pause mends.
        if tries > most or (asked or 0.0) > LONGEST_RETRY_AFTER or hopeless:
            raise error
        delay = backoff(tries) if asked is None else asked
        logger.warning("%s; repeat %d of %d in %.2f s", error, tries, most, delay)
        pause(delay)


def _passes(error: ServiceError, *, reads: bool) -> bool:
    """Return whether a request may succeed later; an answer that cannot be read is a broken one."""
    if isinstance(error, (RateLimitError, ServiceUnavailableError)):
        return True
    broken = isinstance(error, ProtocolError) and error.in_doubt
    return broken or (reads and error.status in _PASSING_FOR_READS)


def backoff(tries: int) -> float:
    """Return the seconds before the next try: exponential, with jitter of up to half.

    Jitter, as clients that a service has thrown out together would come back together.
    """
    ceiling = min(LONGEST_BACKOFF, FIRST_BACKOFF * 2.0 ** (tries - 1))
    return ceiling * random.uniform(0.5, 1.0)
