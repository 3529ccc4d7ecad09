"""The two tools that ``gpt-agent chat`` brings: safe whatever a model asks of them."""

from __future__ import annotations

import datetime
import zoneinfo

import pytest

from gpt_agent_sync.cli.tools import calculate, current_time, example_tools


@pytest.mark.parametrize(
    "expression, value",
    [
        ("2 + 3", 5),
        ("7 - 10", -3),
        ("6 * 7", 42),
        ("1 / 4", 0.25),
        ("7 // 2", 3),
        ("7 % 4", 3),
        ("2 ** 10", 1024),
        ("2 ^ 10", 1024),
        ("+3", 3),
        ("1.5e3", 1500.0),
        ("  1 + 1  ", 2),
    ],
)
def test_calculate_knows_an_operator(expression: str, value: float) -> None:
    """Each operator does what it does in arithmetic."""
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression, value",
    [
        ("2 + 3 * 4", 14),
        ("(2 + 3) * 4", 20),
        ("2 * 3 ** 2", 18),
        ("-2 ** 2", -4),
        ("2 ** 3 ** 2", 512),
        ("10 - 4 - 3", 3),
        ("-(1 + 2)", -3),
    ],
)
def test_calculate_obeys_precedence(expression: str, value: float) -> None:
    """Operators bind as in arithmetic, and brackets before them."""
    assert calculate(expression) == value


@pytest.mark.parametrize(
    "expression",
    [
        "x",
        "abs(1)",
        "__import__('os').getcwd()",
        "(lambda: 1)()",
        "(1).real",
        "[1, 2][0]",
        "'a' * 3",
        "True + 1",
        "1j",
        "1 < 2",
        "1 if 2 else 3",
        "1 << 9",
        "~1",
        "{1}",
        "(y := 1)",
        "1, 2",
    ],
)
def test_calculate_refuses_what_is_not_arithmetic(expression: str) -> None:
    """Names, calls and everything else but numbers and operators are refused."""
    with pytest.raises(ValueError, match="is not allowed in an arithmetic expression"):
        calculate(expression)


@pytest.mark.parametrize("expression", ["", "2 +", "1; 2", "import os", "two plus two", "1 +\n2"])
def test_calculate_refuses_what_is_no_expression(expression: str) -> None:
    """A text that is no expression is refused as such."""
    with pytest.raises(ValueError, match="is no arithmetic expression"):
        calculate(expression)


@pytest.mark.parametrize(
    "expression", ["9 ** 9 ** 9", "10 ** 1000000000", "2.0 ** 99999", "(-9) ** 9999", "9 ** -99999"]
)
def test_calculate_bounds_powers(expression: str) -> None:
    """A power with more than a thousand digits is refused before it is computed."""
    with pytest.raises(ValueError, match="is too large"):
        calculate(expression)


def test_calculate_still_computes_large_powers() -> None:
    """A power with fewer digits is exact."""
    assert calculate("10 ** 400") == 10**400


@pytest.mark.parametrize("expression", ["1 / 0", "1 // 0", "1 % 0", "0 ** -1"])
def test_calculate_cannot_divide_by_zero(expression: str) -> None:
    """Division by zero is the error it always is."""
    with pytest.raises(ZeroDivisionError):
        calculate(expression)


def test_current_time_is_utc_by_default() -> None:
    """Without a zone the time is UTC's."""
    told = datetime.datetime.fromisoformat(current_time())
    assert told.utcoffset() == datetime.timedelta(0)


def test_current_time_is_now() -> None:
    """The time told is the present second."""
    before = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)
    told = datetime.datetime.fromisoformat(current_time())
    assert before <= told <= datetime.datetime.now(datetime.timezone.utc)


def test_current_time_knows_zones() -> None:
    """A zone's time has that zone's offset."""
    name = "Asia/Kolkata"
    if name not in zoneinfo.available_timezones():
        pytest.skip("there is no time zone data here")
    told = datetime.datetime.fromisoformat(current_time(name))
    assert told.utcoffset() == datetime.timedelta(hours=5, minutes=30)


def test_current_time_knows_utc_without_zone_data(monkeypatch: pytest.MonkeyPatch) -> None:
    """UTC needs no time zone data."""

    def know_nothing(name: str) -> zoneinfo.ZoneInfo:
        raise zoneinfo.ZoneInfoNotFoundError(name)

    monkeypatch.setattr(zoneinfo, "ZoneInfo", know_nothing)
    assert current_time("utc").endswith("+00:00")


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../../etc/passwd", "/etc/localtime", "a\0b"])
def test_current_time_refuses_unknown_zones(name: str) -> None:
    """What is no zone's name is refused by name."""
    with pytest.raises(ValueError, match="no time zone"):
        current_time(name)


def test_example_tools_are_these_two() -> None:
    """The toolbox holds both, under the names that models see."""
    assert example_tools.names == ("calculate", "current_time")
