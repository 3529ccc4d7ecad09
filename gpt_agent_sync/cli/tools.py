"""The tools that ``gpt-agent chat`` has when it is given none."""

from __future__ import annotations

import ast
import datetime
import math
import operator
import zoneinfo
from collections.abc import Callable, Mapping

from gpt_agent_sync.tools.toolbox import Toolbox

MAX_DIGITS = 1000
"""A power of more digits is refused before it is computed."""

MAX_LENGTH = 500
"""Characters that an expression may have."""

example_tools = Toolbox()

_OPERATORS: Mapping[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_SIGNS: Mapping[type[ast.unaryop], Callable[[float], float]] = {
    ast.UAdd: operator.pos,
    ast.USub: operator.neg,
}


@example_tools.tool
def calculate(expression: str) -> float:
    """Calculate an arithmetic expression.

    Args:
        expression: Numbers with + - * / // % ** and brackets, such as "2 * (3 + 4)".
    """
    if len(expression) > MAX_LENGTH:
        raise ValueError(f"an expression of more than {MAX_LENGTH} characters is too long")
    try:
        tree = ast.parse(expression.strip().replace("^", "**"), mode="eval")
    except SyntaxError as exc:
        raise ValueError(f"{expression!r} is no arithmetic expression") from exc
    value = _value(tree.body)
    if isinstance(value, complex) or (isinstance(value, float) and not math.isfinite(value)):
        raise ValueError(f"{expression!r} has no finite real value")
    return value


def _value(node: ast.expr) -> float:
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value  # type: ignore[return-value]  # narrowed by the line above
    if isinstance(node, ast.UnaryOp) and type(node.op) in _SIGNS:
        return _SIGNS[type(node.op)](_value(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATORS:
        left, right = _value(node.left), _value(node.right)
        if isinstance(node.op, ast.Pow):
            _check_power(left, right)
        return _OPERATORS[type(node.op)](left, right)
    raise ValueError(f"{ast.unparse(node)!r} is not allowed in an arithmetic expression")


def _check_power(base: float, exponent: float) -> None:
    digits = len(str(abs(int(base)))) * abs(exponent) if abs(base) > 1 else 0
    if digits > MAX_DIGITS:
        raise ValueError(f"{base} ** {exponent} is too large")


@example_tools.tool
def current_time(timezone: str = "UTC") -> str:
    """Tell the current date and time.

    Args:
        timezone: An IANA name such as "Europe/Berlin".
    """
    try:
        zone = zoneinfo.ZoneInfo(timezone)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as exc:
        if timezone.upper() != "UTC":
            raise ValueError(f"no time zone {timezone!r} is known here") from exc
        return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")
    return datetime.datetime.now(zone).isoformat(timespec="seconds")
