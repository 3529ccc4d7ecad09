"""What this server does not have: refused by name, as nothing is accepted and then dropped."""

from __future__ import annotations

from typing import Any

from gpt_agent_sync.server.errors import WireError

_SAMPLING = {
    "temperature": (0, 2),
    "top_p": (0, 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
}
"""The bounds of what says how a model chooses its words."""


def unsupported(param: str, feature: str) -> WireError:
    """Return the error for a feature that there is not.

    Args:
        param: The parameter that asks for it.
        feature: What it is called, in the wire's word.
    """
    return WireError(
        400,
        f"Unsupported parameter: '{param}'. This server does not support {feature}.",
        param=param,
        code="unsupported_parameter",
    )


def out_of_range(param: str, value: float, least: float | None, most: float | None) -> WireError:
    """Return the error for a number that is too small or too large."""
    is_low = least is not None and value < least
    kind = "integer" if isinstance(value, int) else "decimal"
    side, sign, bound = ("below minimum", ">=", least) if is_low else ("above maximum", "<=", most)
    code = f"{kind}_{'below_min' if is_low else 'above_max'}_value"
    return WireError(
        400,
        f"Invalid '{param}': {kind} {side} value. Expected a value {sign} {bound}, but got "
        f"{value} instead.",
        param=param,
        code=code,
    )


def check_range(
    param: str, value: float | None, least: float | None = None, most: float | None = None
) -> None:
    """Check that a number is within its bounds.

    Raises:
        WireError: If it is not.
    """
    if value is None:
        return
    if (least is not None and value < least) or (most is not None and value > most):
        raise out_of_range(param, value, least, most)


def check_sampling(fields: object) -> None:
    """Check how a model is to choose its words, as far as the fields of a request say so.

    Raises:
        WireError: If a number is out of its bounds.
    """
    for param, (least, most) in _SAMPLING.items():
        check_range(param, getattr(fields, param, None), least, most)


def says_something(value: Any) -> bool:
    """Return whether a value is more than nested objects and lists with nothing in them."""
    waiting = [value]
    while waiting:
        found = waiting.pop()
        if isinstance(found, dict):
            waiting.extend(found.values())
        elif isinstance(found, list):
            waiting.extend(found)
        elif found is not None:
            return True
    return False


def check_tier(tier: str | None) -> None:
    """Check a service tier.

    Raises:
        WireError: If it is another than that of everybody.
    """
    if tier not in (None, "auto", "default"):
        raise unsupported("service_tier", f"the service tier '{tier}'")
