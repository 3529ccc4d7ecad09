"""What a service's words about limits mean."""

from __future__ import annotations

import pytest

from gpt_agent_sync.decisions.rate_limits import is_quota, is_rate_limit, named_delay


@pytest.mark.parametrize(
    "message, seconds",
    [
        ("Please try again in 20s.", 20.0),
        ("Please try again in 1.5s", 1.5),
        ("try again in 350ms", 0.35),
        ("Please try again in 1m20s.", 80.0),
        ("Please try again in 6m0s.", 360.0),
        ("try again in 1h2m3s", 3723.0),
        ("Please retry after 30 seconds.", 30.0),
        ("Please retry after 1 second.", 1.0),
        ("Try again in 2 minutes", 120.0),
        ("retry in 5 milliseconds", 0.005),
        ("Try again in 1 day.", 86400.0),
        ("slow down", None),
        ("try again in a while", None),
        ("Limit 3, used 3s ago", None),
        ("", None),
        (None, None),
    ],
)
def test_delay_is_read_from_the_message(message: str | None, seconds: float | None) -> None:
    """The time that a message names is read in seconds, if it names one."""
    assert named_delay(message) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    "code, message, expected",
    [
        ("insufficient_quota", None, True),
        ("billing_hard_limit_reached", "", True),
        ("rate_limit_exceeded", "You exceeded your current quota, please check", True),
        ("rate_limit_exceeded", "Rate limit reached for requests", False),
        (None, None, False),
    ],
)
def test_quota_is_distinguished_from_a_rate_limit(
    code: str | None, message: str | None, expected: bool
) -> None:
    """Quota has codes of its own, or shares one and says so in words."""
    assert is_quota(code, message) is expected


@pytest.mark.parametrize(
    "code, expected",
    [("rate_limit_exceeded", True), ("insufficient_quota", True), ("server_error", False)],
)
def test_rate_limit_codes_are_known(code: str, expected: bool) -> None:
    """A failed run's code tells whether a limit was met."""
    assert is_rate_limit(code) is expected
