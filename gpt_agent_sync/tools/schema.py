"""From a function's signature to the JSON schema of its arguments, and back to typed values.

Schema and conversion are msgspec's work: it knows attrs and dataclasses, typed dictionaries,
enums, dates and unions, checks and converts in one pass, has no dependencies, and is only
imported when the first tool is described.
"""

from __future__ import annotations

import datetime
import functools
import inspect
import json
import typing
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, get_args, get_origin

import attrs

from gpt_agent_sync.errors import ToolRegistrationError
from gpt_agent_sync.tools.docstrings import read_docstring

if TYPE_CHECKING:
    import msgspec

LARGEST_EXACT = 2.0**53
"""Floats up to here that are whole numbers stand for that integer and no other."""


class ArgumentsError(ValueError):
    """The call's arguments do not fit the tool's parameters."""


@attrs.frozen
class Signature:
    """How a handler is called.

    Attributes:
        description: The text of its docstring before the sections.
        parameters: The JSON schema of its arguments.
        context_parameter: The parameter that takes the ``ToolContext``, if it has one.
    """

    description: str
    parameters: Mapping[str, Any]
    context_parameter: str | None
    _model: type[msgspec.Struct]
    _names: tuple[tuple[str, str], ...]
    _positional: tuple[tuple[str, Any], ...]

    def bind(
        self, arguments: Mapping[str, Any], context: object
    ) -> tuple[list[Any], dict[str, Any]]:
        """Return a call's arguments, checked and converted.

        Args:
            arguments: The arguments as JSON values.
            context: The value of the context parameter.

        Returns:
            Positional and keyword arguments for the handler; parameters that the call leaves
            out are left to their defaults.

        Raises:
            ArgumentsError: If they do not fit.
        """
        import msgspec

        try:
            # Models write 3.0 where an integer is meant.
            typed = msgspec.convert(_whole_numbers(dict(arguments)), self._model, str_keys=True)
        except msgspec.ValidationError as exc:
            raise ArgumentsError(str(exc)) from exc
        values = {name: getattr(typed, field) for name, field in self._names if name in arguments}
        if self.context_parameter is not None:
            values[self.context_parameter] = context
        # Positional-only parameters up to the last one given need values, defaults included.
        given = [place for place, (name, _) in enumerate(self._positional) if name in values]
        last = given[-1] + 1 if given else 0
        positional = [values.pop(name, default) for name, default in self._positional[:last]]
        return positional, values


def _whole_numbers(value: Any) -> Any:
    """Return the JSON value with ``3.0`` as ``3``: JSON has one kind of number."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= LARGEST_EXACT:
        return int(value)
    if isinstance(value, dict):
        return {key: _whole_numbers(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_whole_numbers(item) for item in value]
    return value


def read_signature(
    handler: Callable[..., Any], name: str, context_type: type[Any], *, skip_first: bool = False
) -> Signature:
    """Return how a handler is called.

    Args:
        handler: The function.
        name: The tool's name, for errors.
        context_type: Parameters annotated with it take the context and are not in the schema.
        skip_first: Whether the first parameter is the method's own instance.

    Raises:
        ToolRegistrationError: If a parameter has no annotation, or one without a JSON schema.
    """
    import msgspec

    documented = read_docstring(_docstring(handler))
    hints = _hints(handler, name)
    context_parameter = None
    fields: list[Any] = []
    names: list[tuple[str, str]] = []
    positional: list[tuple[str, Any]] = []
    try:
        parameters = list(inspect.signature(handler).parameters.values())
    except (TypeError, ValueError) as exc:
        raise ToolRegistrationError(name, f"its signature cannot be read: {exc}") from exc
    for parameter in parameters[1:] if skip_first else parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise ToolRegistrationError(
                name, f"{parameter} has no JSON schema; name its parameters one by one"
            )
        if parameter.kind is parameter.POSITIONAL_ONLY:
            positional.append((parameter.name, parameter.default))
        hint = hints.get(parameter.name, parameter.empty)
        if hint is parameter.empty:
            raise ToolRegistrationError(
                name,
                f"parameter {parameter.name!r} has no annotation; "
                "annotate it (typing.Any takes anything)",
            )
        if _is_context(hint, context_type):
            context_parameter = parameter.name
            continue
        field = f"p{len(names)}"
        names.append((parameter.name, field))
        described = _described(hint, documented.arguments.get(parameter.name))
        fields.append((field, described, _field(parameter)))
    rename = {field: parameter_name for parameter_name, field in names}
    try:
        # Keyword-only, since a parameter without a default may follow one that has one.
        model = msgspec.defstruct(
            "Arguments", fields, kw_only=True, forbid_unknown_fields=True, rename=rename
        )
        parameters_schema = _schema_of(model, {given: hints[given] for given, _ in names})
    except (TypeError, NameError, ValueError, RecursionError) as exc:
        raise ToolRegistrationError(name, f"its signature has no JSON schema: {exc}") from exc
    return Signature(
        description=documented.description,
        parameters=parameters_schema,
        context_parameter=context_parameter,
        model=model,
        names=tuple(names),
        positional=tuple(positional),
    )


def _docstring(handler: Any) -> str | None:
    while isinstance(handler, functools.partial):
        handler = handler.func
    text = inspect.getdoc(handler)
    return text if text or inspect.isroutine(handler) else inspect.getdoc(handler.__call__)


def _hints(handler: Callable[..., Any], name: str) -> dict[str, Any]:
    target = inspect.unwrap(handler)
    while isinstance(target, functools.partial):
        target = inspect.unwrap(target.func)
    target = target if inspect.isroutine(target) else type(target).__call__
    try:
        return typing.get_type_hints(target, include_extras=True)
    except Exception as exc:
        raise ToolRegistrationError(
            name, f"its annotations cannot be read: {exc}; types must be reachable by name"
        ) from exc


def _is_context(hint: Any, context_type: type[Any]) -> bool:
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    return hint is context_type or context_type in get_args(hint)


def _described(hint: Any, documented: str | None) -> Any:
    import msgspec

    text = _annotated_text(hint) or documented
    return Annotated[hint, msgspec.Meta(description=text)] if text else hint


def _annotated_text(hint: Any) -> str | None:
    if get_origin(hint) is not Annotated:
        return None
    return next((extra for extra in get_args(hint)[1:] if isinstance(extra, str)), None)


def _field(parameter: inspect.Parameter) -> Any:
    """Return the field with its default, which is in the schema where JSON can hold it."""
    import msgspec

    default = parameter.default
    if default is parameter.empty:
        return msgspec.field()
    try:
        json.dumps(msgspec.to_builtins(default, str_keys=True), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        # The function has it all the same: what a call leaves out is not passed.
        return msgspec.field(default=msgspec.UNSET)
    if isinstance(default, (list, dict, set, bytearray)) or type(default).__hash__ is None:
        return msgspec.field(default_factory=lambda: default)
    return msgspec.field(default=default)


def _schema_of(model: type[msgspec.Struct], hints: Mapping[str, Any]) -> dict[str, Any]:
    import msgspec

    (root,), components = msgspec.json.schema_components([model], ref_template="#/$defs/{name}")
    schema: dict[str, Any] = components.pop(root["$ref"].rpartition("/")[2])
    schema.pop("title", None)
    _complete(schema, hints)
    for nested in _classes(hints.values()):
        _complete(components.get(nested.__name__, {}), _class_hints(nested))
    if components:
        schema["$defs"] = components
    return schema


def _complete(schema: dict[str, Any], hints: Mapping[str, Any]) -> None:
    """Add what msgspec leaves out: texts in ``Annotated``, and the format of date-times."""
    properties = schema.get("properties", {})
    for name, hint in hints.items():
        if name not in properties:
            continue
        text = _annotated_text(hint)
        if text:
            properties[name].setdefault("description", text)
        leaves = _leaves(hint)
        if datetime.datetime in leaves:
            leaves = _value_leaves(hint)
        # In a union with plain text any string is valid, so no format may be promised.
        if datetime.datetime in leaves and str not in leaves:
            _mark_date_times(properties[name])


def _mark_date_times(schema: dict[str, Any]) -> None:
    if schema.get("type") == "string":
        schema.setdefault("format", "date-time")
    for nested in (
        schema.get("items"),
        schema.get("additionalProperties"),
        *schema.get("anyOf", ()),
    ):
        if isinstance(nested, dict):
            _mark_date_times(nested)


def _value_leaves(hint: Any) -> set[Any]:
    arguments = get_args(hint)
    if not arguments:
        return _leaves(hint)
    if get_origin(hint) is dict:
        arguments = arguments[1:]
    return set().union(*(_value_leaves(argument) for argument in arguments))


def _leaves(hint: Any) -> set[Any]:
    arguments = get_args(hint)
    if not arguments:
        return {hint} if isinstance(hint, type) else set()
    return set().union(*(_leaves(argument) for argument in arguments))


def _classes(hints: Iterable[Any]) -> list[type[Any]]:
    """Return the classes with fields that the annotations lead to."""
    found: list[type[Any]] = []
    waiting = set().union(*(_leaves(hint) for hint in hints))
    while waiting:
        leaf = waiting.pop()
        if leaf not in found and _class_hints(leaf):
            found.append(leaf)
            waiting |= set().union(*(_leaves(hint) for hint in _class_hints(leaf).values()))
    return found


def _class_hints(described: type[Any]) -> dict[str, Any]:
    return typing.get_type_hints(described, include_extras=True)
