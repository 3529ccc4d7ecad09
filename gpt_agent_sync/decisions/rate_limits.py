"""What a service says of its limits: how long to wait, or that waiting is no use."""

from __future__ import annotations

import re

RATE_LIMIT_CODES = frozenset({"rate_limit_exceeded", "rate_limit_error", "too_many_requests"})
QUOTA_CODES = frozenset({"insufficient_quota", "billing_hard_limit_reached"})

_SECONDS_PER_UNIT = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNIT = r"(ms|milliseconds?|s|secs?|seconds?|m|mins?|minutes?|h|hrs?|hours?|d|days?)"
# Bounded, as services may say anything: of a long number every rest would be read again.
_NUMBER = r"\d{1,9}(?:\.\d{1,9})?"
_AMOUNT = re.compile(rf"(?<![\d.])({_NUMBER})\s*{_UNIT}(?![a-z])", re.IGNORECASE)
_PHRASE = re.compile(
    rf"(?:try again|retry)\s+(?:in|after)\s+((?:{_NUMBER}\s*{_UNIT}\s*)+)", re.IGNORECASE
)


def is_quota(code: str | None, message: str | None) -> bool:
    """Return whether the account's quota is used up, which no retry mends.

    On the Assistants wire quota and rate limits share a code; only the message differs.
    """
    return code in QUOTA_CODES or "current quota" in (message or "").lower()


def is_rate_limit(code: str | None) -> bool:
    """Return whether the code of a failed run is that of a rate limit, or of a quota."""
    return code in RATE_LIMIT_CODES or code in QUOTA_CODES


def named_delay(message: str | None) -> float | None:
    """Return the seconds that a message such as ``Please try again in 1m20.5s`` names.

    Returns:
        Seconds, or ``None`` when the message names no time.
    """
    phrase = _PHRASE.search(message or "")
    if phrase is None:
        return None
    return sum(
        float(amount) * _SECONDS_PER_UNIT[_unit(unit)]
        for amount, unit in _AMOUNT.findall(phrase.group(1))
    )


def _unit(word: str) -> str:
    # Minutes and milliseconds begin alike; every other unit is known by its first letter.
    word = word.lower()
    return "ms" if word.startswith(("ms", "milli")) else word[0]
