"""From a signature to the JSON schema of its arguments, and from JSON back to typed values."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal, Optional, TypedDict, Union, cast

import attrs
import msgspec
import pytest

from gpt_agent_sync.errors import ToolRegistrationError
from gpt_agent_sync.tools.schema import ArgumentsError, Signature, read_signature
from gpt_agent_sync.tools.tool import ToolContext

if TYPE_CHECKING:
    from collections import OrderedDict as OnlyForTheTypeChecker

CONTEXT = object()


class Color(enum.Enum):
    """An enumeration of texts."""

    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    """An enumeration of numbers."""

    LOW = 1
    HIGH = 2


class Address(TypedDict):
    """A dictionary with known keys."""

    street: Annotated[str, "Street and number."]
    zip: str


class Note(TypedDict, total=False):
    """A dictionary whose keys may be missing."""

    text: str


@dataclasses.dataclass(frozen=True)
class Point:
    """A dataclass."""

    x: Annotated[int, "The abscissa."]
    y: float = 0.0


@attrs.define
class Box:
    """An attrs class around a dataclass."""

    corner: Point
    tags: list[str] = attrs.field(factory=list)
    made: Optional[datetime.datetime] = None  # noqa: UP045  (people write it so)


@dataclasses.dataclass
class Branch:
    """A class that holds its own kind."""

    name: str
    branches: list[Branch] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Arguments:
    """A class of the name that the schema's own model has."""

    a: int


class Unsupported:
    """A class whose fields nobody tells."""

    def __init__(self, a: int) -> None:
        self.a = a


def read(handler: Callable[..., Any]) -> Signature:
    """Read a handler's signature as ``Toolbox.tool`` does."""
    return read_signature(handler, "handler", ToolContext)


def annotated(hint: Any) -> Callable[..., Any]:
    """Make a handler with one parameter, ``value``, of this annotation, which gives it back."""

    def handler(value: Any) -> Any:
        return value

    handler.__annotations__["value"] = hint
    return handler


def with_default(hint: Any, default: object) -> Callable[..., Any]:
    """Make a handler with one parameter, ``value``, of this annotation and default."""

    def handler(value: Any = default) -> Any:
        return value

    handler.__annotations__["value"] = hint
    return handler


def property_of(hint: Any) -> dict[str, Any]:
    """Return the schema of a parameter annotated so."""
    return cast("dict[str, Any]", read(annotated(hint)).parameters["properties"]["value"])


def bound(handler: Callable[..., Any], **arguments: object) -> object:
    """Call the handler as a tool call with these arguments does."""
    positional, keywords = read(handler).bind(arguments, CONTEXT)
    return handler(*positional, **keywords)


@pytest.mark.parametrize(
    "hint, schema",
    [
        (str, {"type": "string"}),
        (int, {"type": "integer"}),
        (float, {"type": "number"}),
        (bool, {"type": "boolean"}),
        (None, {"type": "null"}),
        (Any, {}),
        (bytes, {"type": "string", "contentEncoding": "base64"}),
        (decimal.Decimal, {"type": "string", "format": "decimal"}),
        (datetime.datetime, {"type": "string", "format": "date-time"}),
        (datetime.date, {"type": "string", "format": "date"}),
        (datetime.timedelta, {"type": "string", "format": "duration"}),
        (uuid.UUID, {"type": "string", "format": "uuid"}),
        (list, {"type": "array"}),
        (list[int], {"type": "array", "items": {"type": "integer"}}),
        (
            list[list[str]],
            {"type": "array", "items": {"type": "array", "items": {"type": "string"}}},
        ),
        (set[int], {"type": "array", "items": {"type": "integer"}, "uniqueItems": True}),
        (dict, {"type": "object"}),
        (dict[str, int], {"type": "object", "additionalProperties": {"type": "integer"}}),
        (tuple, {"type": "array"}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}),
        (
            tuple[int, str],
            {
                "type": "array",
                "prefixItems": [{"type": "integer"}, {"type": "string"}],
                "minItems": 2,
                "maxItems": 2,
                "items": False,
            },
        ),
        (Optional[int], {"anyOf": [{"type": "integer"}, {"type": "null"}]}),  # noqa: UP045
        (Union[int, str], {"anyOf": [{"type": "integer"}, {"type": "string"}]}),  # noqa: UP007
        (str | None, {"anyOf": [{"type": "string"}, {"type": "null"}]}),
        (Literal["a", "b"], {"enum": ["a", "b"]}),
        (Literal[1, 2], {"enum": [1, 2]}),
        (
            list[datetime.datetime],
            {"type": "array", "items": {"type": "string", "format": "date-time"}},
        ),
        (
            dict[str, datetime.datetime],
            {
                "type": "object",
                "additionalProperties": {"type": "string", "format": "date-time"},
            },
        ),
        (
            datetime.datetime | None,
            {"anyOf": [{"type": "string", "format": "date-time"}, {"type": "null"}]},
        ),
        (Annotated[int, "How many."], {"type": "integer", "description": "How many."}),
        (Annotated[int, 5], {"type": "integer"}),
        (Annotated[int, msgspec.Meta(ge=1)], {"type": "integer", "minimum": 1}),
        (
            Annotated[datetime.datetime, "When."],
            {"type": "string", "format": "date-time", "description": "When."},
        ),
    ],
)
def test_schema_of_an_annotation(hint: Any, schema: dict[str, Any]) -> None:
    """Each annotation has the JSON schema of its values."""
    assert property_of(hint) == schema


@pytest.mark.parametrize(
    "hint, name, schema",
    [
        (Color, "Color", {"title": "Color", "enum": ["blue", "red"]}),
        (Level, "Level", {"title": "Level", "enum": [1, 2]}),
        (
            Address,
            "Address",
            {
                "title": "Address",
                "type": "object",
                "properties": {
                    "street": {"type": "string", "description": "Street and number."},
                    "zip": {"type": "string"},
                },
                "required": ["street", "zip"],
            },
        ),
        (
            Note,
            "Note",
            {
                "title": "Note",
                "type": "object",
                "properties": {"text": {"type": "string"}},
                "required": [],
            },
        ),
        (
            Point,
            "Point",
            {
                "title": "Point",
                "type": "object",
                "properties": {
                    "x": {"type": "integer", "description": "The abscissa."},
                    "y": {"type": "number", "default": 0.0},
                },
                "required": ["x"],
            },
        ),
        (
            Branch,
            "Branch",
            {
                "title": "Branch",
                "type": "object",
                "properties": {
                    "name": {"type": "string"},
                    "branches": {
                        "type": "array",
                        "items": {"$ref": "#/$defs/Branch"},
                        "default": [],
                    },
                },
                "required": ["name"],
            },
        ),
    ],
)
def test_schema_of_a_class(hint: Any, name: str, schema: dict[str, Any]) -> None:
    """A class is referred to, and described once below ``$defs``."""
    parameters = read(annotated(hint)).parameters
    assert parameters["properties"]["value"] == {"$ref": f"#/$defs/{name}"}
    described = dict(parameters["$defs"][name])
    described.pop("description", None)
    assert _without_empty_lists(described) == _without_empty_lists(schema)


def _without_empty_lists(schema: Any) -> Any:
    """Leave out what a version of msgspec may say or not: empty ``required``, list defaults."""
    if not isinstance(schema, dict):
        return schema
    return {
        key: _without_empty_lists(value)
        for key, value in schema.items()
        if value != [] or key not in ("required", "default")
    }


def test_schema_of_nested_classes() -> None:
    """The classes within a class are described too, their texts and formats included."""
    definitions = read(annotated(list[Box])).parameters["$defs"]
    assert definitions["Point"]["properties"]["x"]["description"] == "The abscissa."
    assert definitions["Box"]["properties"]["made"]["anyOf"][0]["format"] == "date-time"


def test_class_of_the_models_own_name() -> None:
    """A class called ``Arguments`` is as good as any other."""
    assert bound(annotated(Arguments), value={"a": 1}) == Arguments(a=1)


def test_two_classes_of_one_name() -> None:
    """Two classes of the same name are both described."""

    @dataclasses.dataclass
    class Point:
        z: int

    local = Point

    def handler(first: Any, second: Any) -> object:
        return first, second

    handler.__annotations__.update(first=globals()["Point"], second=local)
    first, second = cast("tuple[Any, Any]", bound(handler, first={"x": 1}, second={"z": 2}))
    assert (first.x, second.z) == (1, 2)


def test_schema_of_a_signature() -> None:
    """The schema is an object with the parameters, closed to others."""

    def handler(a: int, b: str = "x", *, c: bool) -> None: ...

    assert read(handler).parameters == {
        "type": "object",
        "properties": {
            "a": {"type": "integer"},
            "b": {"type": "string", "default": "x"},
            "c": {"type": "boolean"},
        },
        "required": ["a", "c"],
        "additionalProperties": False,
    }


def test_schema_without_parameters() -> None:
    """A handler without parameters takes an empty object."""

    def handler() -> None: ...

    assert read(handler).parameters == {
        "type": "object",
        "properties": {},
        "required": [],
        "additionalProperties": False,
    }


@pytest.mark.parametrize(
    "hint, default, shown",
    [
        (int, 3, 3),
        (float, 0.5, 0.5),
        (bool, False, False),
        (str, "", ""),
        (int | None, None, None),
        (Color, Color.RED, "red"),
        (Literal["a", "b"], "a", "a"),
        (datetime.date, datetime.date(2024, 1, 2), "2024-01-02"),
        (tuple[int, int], (1, 2), [1, 2]),
        (Point, Point(x=1, y=2.0), {"x": 1, "y": 2.0}),
    ],
)
def test_default_in_the_schema(hint: Any, default: object, shown: object) -> None:
    """A default is shown where JSON can say it, and the parameter is not required."""
    parameters = json.loads(json.dumps(read(with_default(hint, default)).parameters))
    assert parameters["properties"]["value"]["default"] == shown
    assert parameters["required"] == []


@pytest.mark.parametrize(
    "hint, default",
    [
        (Any, object()),
        (float, math.inf),
        (float, math.nan),
        (list[float], [math.nan]),
        (list[int], [1]),
        (dict[str, int], {"a": 1}),
        (set[int], {1}),
        (Box, Box(corner=Point(x=1))),
    ],
)
def test_default_that_stays_unsaid(hint: Any, default: object) -> None:
    """Whatever the default, the schema is JSON and does not require the parameter."""
    parameters = read(with_default(hint, default)).parameters
    json.dumps(parameters, allow_nan=False)
    assert parameters["required"] == []


@pytest.mark.parametrize("default", [object(), [1], {"a": 1}, {1}, math.inf, None])
def test_default_is_left_to_the_function(default: object) -> None:
    """A parameter that the call leaves out has the function's own default, not a copy."""
    assert bound(with_default(Any, default)) is default


def test_google_docstring() -> None:
    """The docstring gives the description and those of the parameters."""

    def handler(  # noqa: D417  (one parameter is left out on purpose)
        a: int, b: str, c: Annotated[int, "The annotation's words."]
    ) -> None:
        """Do it at once.

        Args:
            a: The first,
                on two lines.
            c: The docstring's words.

        Returns:
            Nothing.
        """

    signature = read(handler)
    properties = signature.parameters["properties"]
    assert signature.description == "Do it at once."
    assert [properties[name].get("description") for name in "abc"] == [
        "The first, on two lines.",
        None,
        "The annotation's words.",
    ]


def test_docstring_of_a_parameter_of_a_class() -> None:
    """What the docstring says of a parameter is in the schema even if a class describes it."""

    def handler(value: Point) -> None:
        """Do it.

        Args:
            value: Where to do it.
        """

    assert "Where to do it." in json.dumps(read(handler).parameters["properties"]["value"])


@pytest.mark.parametrize(
    "hint, given, value",
    [
        (str, "x", "x"),
        (int, 3, 3),
        (int, 3.0, 3),
        (int, -3.0, -3),
        (float, 3, 3.0),
        (float, 3.0, 3.0),
        (float, 2.5, 2.5),
        (bool, True, True),
        (None, None, None),
        (Any, {"a": [1]}, {"a": [1]}),
        (list, [1, "a"], [1, "a"]),
        (list[int], [1.0, 2], [1, 2]),
        (dict[str, int], {"a": 1.0}, {"a": 1}),
        (dict[int, str], {"1": "a"}, {1: "a"}),
        (dict[Color, int], {"red": 1}, {Color.RED: 1}),
        (dict[datetime.date, int], {"2024-01-02": 1}, {datetime.date(2024, 1, 2): 1}),
        (tuple[int, str], [1, "a"], (1, "a")),
        (tuple[int, ...], [1, 2], (1, 2)),
        (set[str], ["a", "a"], {"a"}),
        (int | None, None, None),
        (int | None, 1, 1),
        (int | str, "1", "1"),
        (Literal["a", "b"], "b", "b"),
        (Color, "red", Color.RED),
        (Level, 2.0, Level.HIGH),
        (bytes, "aGk=", b"hi"),
        (decimal.Decimal, "1.10", decimal.Decimal("1.10")),
        (
            datetime.datetime,
            "2024-01-02T03:04:05Z",
            datetime.datetime(2024, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc),
        ),
        (datetime.date, "2024-01-02", datetime.date(2024, 1, 2)),
        (uuid.UUID, "12345678-1234-5678-1234-567812345678", uuid.UUID("12345678" * 4)),
        (Address, {"street": "s", "zip": "z"}, {"street": "s", "zip": "z"}),
        (Note, {}, {}),
        (Point, {"x": 1.0}, Point(x=1, y=0.0)),
        (Box, {"corner": {"x": 1, "y": 2}}, Box(corner=Point(x=1, y=2.0))),
        (
            Branch,
            {"name": "a", "branches": [{"name": "b"}]},
            Branch("a", [Branch("b")]),
        ),
        (Point | None, {"x": 1}, Point(x=1)),
        (list[Point], [{"x": 1}], [Point(x=1)]),
        (Annotated[int, "How many."], 1, 1),
        (Annotated[int, msgspec.Meta(ge=1)], 1, 1),
    ],
)
def test_arguments_are_converted(hint: Any, given: object, value: object) -> None:
    """A JSON value that fits becomes the value, and the type, that the annotation says."""
    given = json.loads(json.dumps(given))
    passed = bound(annotated(hint), value=given)
    assert (passed, type(passed)) == (value, type(value))


@pytest.mark.parametrize(
    "hint, given",
    [
        (str, 1),
        (str, None),
        (int, "1"),
        (int, 1.5),
        (int, True),
        (int, 1e300),
        (float, "1.5"),
        (float, True),
        (bool, 1),
        (bool, "true"),
        (None, 0),
        (list[int], ["a"]),
        (list[int], 1),
        (dict[str, int], [1]),
        (dict[int, str], {"one": "a"}),
        (tuple[int, str], [1]),
        (tuple[int, str], [1, "a", 2]),
        (int | None, "x"),
        (Literal["a", "b"], "c"),
        (Color, "green"),
        (Level, 3),
        (datetime.datetime, "yesterday"),
        (datetime.date, "2024-13-01"),
        (uuid.UUID, "7"),
        (Address, {"street": "s"}),
        (Point, {"y": 1.0}),
        (Point, {"x": "left"}),
        (Box, {"corner": {"x": "left"}}),
        (Annotated[int, msgspec.Meta(ge=1)], 0),
    ],
)
def test_arguments_that_do_not_fit(hint: Any, given: object) -> None:
    """A value that the annotation does not take is refused, and the error says where it is."""
    with pytest.raises(ArgumentsError, match=r"value"):
        bound(annotated(hint), value=given)


def test_missing_argument() -> None:
    """A required argument that is missing is refused by name."""
    with pytest.raises(ArgumentsError, match=r"missing required field `value`"):
        bound(annotated(int))


def test_unknown_argument() -> None:
    """An argument that no parameter takes is refused by name."""
    with pytest.raises(ArgumentsError, match=r"unknown field `other`"):
        bound(annotated(int), value=1, other=2)


def test_arguments_are_not_changed() -> None:
    """The arguments that came stay as they came."""
    arguments = {"value": [1.0, {"a": 2.0}]}
    read(annotated(list[Any])).bind(arguments, CONTEXT)
    assert repr(arguments) == "{'value': [1.0, {'a': 2.0}]}"


@pytest.mark.parametrize("name", ["self", "type", "p0", "größe", "_private", "x" * 64])
def test_names_of_parameters(name: str) -> None:
    """A parameter may have any name."""
    namespace: dict[str, Any] = {}
    exec(f"def handler(p1: int, {name}: int) -> object: return p1, {name}", namespace)
    assert bound(namespace["handler"], **{"p1": 1, name: 2}) == (1, 2)


def test_positional_only_parameters() -> None:
    """Positional-only parameters are given by place."""

    def handler(a: int, b: str, /, c: float) -> tuple[object, ...]:
        return a, b, c

    assert bound(handler, b="x", a=1, c=2) == (1, "x", 2.0)


def test_positional_only_parameter_left_out() -> None:
    """A positional-only parameter that is left out keeps its default when a later one is given."""

    def handler(a: int = 1, b: int = 2, /) -> tuple[int, int]:
        return a, b

    assert bound(handler, b=5) == (1, 5)


def test_keyword_only_parameters() -> None:
    """Keyword-only parameters are given by name."""

    def handler(*, a: int, b: int = 2) -> tuple[int, int]:
        return a, b

    assert bound(handler, a=1) == (1, 2)


def test_skipped_first_parameter() -> None:
    """The first parameter of a method is left out where that is asked for."""

    def method(self: object, a: int) -> None: ...

    signature = read_signature(method, "method", ToolContext, skip_first=True)
    assert list(signature.parameters["properties"]) == ["a"]


def with_context(a: int, context: ToolContext) -> tuple[int, object]:
    """Take the context last."""
    return a, context


def with_optional_context(a: int, context: ToolContext | None = None) -> tuple[int, object]:
    """Take the context if there is one."""
    return a, context


def with_annotated_context(
    a: int, context: Annotated[ToolContext, "What it is about."]
) -> tuple[int, object]:
    """Take the context, and say what it is for."""
    return a, context


def with_positional_context(context: ToolContext, a: int, /) -> tuple[int, object]:
    """Take the context by place."""
    return a, context


def with_keyword_context(a: int, *, context: ToolContext) -> tuple[int, object]:
    """Take the context by name."""
    return a, context


CONTEXT_HANDLERS = [
    with_context,
    with_optional_context,
    with_annotated_context,
    with_positional_context,
    with_keyword_context,
]


@pytest.mark.parametrize("handler", CONTEXT_HANDLERS)
def test_context_is_not_in_the_schema(handler: Callable[..., Any]) -> None:
    """A parameter annotated ``ToolContext`` is not shown to the model."""
    signature = read(handler)
    assert signature.parameters["properties"] == {"a": {"type": "integer"}}
    assert "$defs" not in signature.parameters


@pytest.mark.parametrize("handler", CONTEXT_HANDLERS)
def test_context_is_passed(handler: Callable[..., Any]) -> None:
    """A parameter annotated ``ToolContext`` gets the context."""
    assert bound(handler, a=1) == (1, CONTEXT)


def test_context_cannot_come_from_the_model() -> None:
    """An argument by the name of the context parameter is refused."""
    with pytest.raises(ArgumentsError, match=r"context"):
        bound(with_context, a=1, context={})


def unannotated(a, b: int = 1):  # type: ignore[no-untyped-def]  # the point
    """Have a parameter without an annotation."""


def variadic(*names: str) -> None:
    """Take any number of names."""


def keyword_variadic(**options: str) -> None:
    """Take any options."""


def unresolvable(a: NoSuchType) -> None:  # type: ignore[name-defined]  # noqa: F821  # the point
    """Have an annotation that names nothing."""


def only_for_the_type_checker(a: OnlyForTheTypeChecker[str, int]) -> None:
    """Have an annotation that is only imported for the type checker."""


@pytest.mark.parametrize(
    "handler, words",
    [
        (unannotated, "'a' has no annotation; annotate it"),
        (variadic, r"\*names.* has no JSON schema; name its parameters one by one"),
        (keyword_variadic, r"\*\*options.* has no JSON schema"),
        (unresolvable, "annotations cannot be read: name 'NoSuchType' is not defined"),
        (only_for_the_type_checker, "annotations cannot be read.*reachable by name"),
        (annotated(Unsupported), "no JSON schema: .*Unsupported"),
        (annotated(object), "no JSON schema: .*object"),
        (annotated(complex), "no JSON schema: .*complex"),
        (annotated(Callable[[], int]), "no JSON schema: .*Callable"),
        (annotated(list[Unsupported]), "no JSON schema: .*Unsupported"),
        (annotated(Literal[1.5]), "no JSON schema: .*Literal"),
        (annotated(datetime.datetime | datetime.date), "no JSON schema: .*unions"),
        (annotated(Point | Box), "no JSON schema: .*unions"),
    ],
)
def test_signature_without_schema(handler: Callable[..., Any], words: str) -> None:
    """A signature that has no JSON schema is refused, by the tool's name and the reason."""
    with pytest.raises(
        ToolRegistrationError, match=f"(?s)^cannot register tool 'handler': .*{words}"
    ):
        read(handler)


@pytest.mark.parametrize("builtin", [max, min, dict.get, dict.pop, str.maketrans])
def test_function_without_signature(builtin: Callable[..., Any]) -> None:
    """A built-in function whose parameters nobody can tell is refused."""
    with pytest.raises(ToolRegistrationError, match=r"cannot register tool 'handler'"):
        read(builtin)


def gives_a_context() -> ToolContext:
    """Have a return annotation whose own fields cannot be resolved."""
    raise NotImplementedError


def gives_an_unsupported() -> Unsupported:
    """Have a return annotation without a JSON schema."""
    raise NotImplementedError


@pytest.mark.parametrize("handler", [gives_a_context, gives_an_unsupported])
def test_return_annotation_is_not_in_the_schema(handler: Callable[..., Any]) -> None:
    """What the handler gives back plays no part in the schema of its arguments."""
    assert read(handler).parameters["properties"] == {}


def test_wrapped_function() -> None:
    """A decorated function is described by the function it wraps."""

    def handler(a: int) -> int:
        """Do it."""
        return a

    @functools.wraps(handler)
    def wrapper(*arguments: Any, **keywords: Any) -> Any:
        return handler(*arguments, **keywords)

    assert read(wrapper).description == "Do it."
    assert bound(wrapper, a=2.0) == 2


def test_partial() -> None:
    """A partial takes the parameters that are left, with their own annotations."""

    def handler(a: int, b: str, c: int = 3) -> tuple[object, ...]:
        return a, b, c

    partial = functools.partial(handler, 1)
    assert list(read(partial).parameters["properties"]) == ["b", "c"]
    assert bound(partial, b="x") == (1, "x", 3)


def test_partial_with_keywords() -> None:
    """A keyword of a partial is the default of its parameter."""

    def handler(a: int, b: str) -> tuple[object, ...]:
        return a, b

    partial = functools.partial(handler, b="x")
    assert read(partial).parameters["properties"]["b"] == {"type": "string", "default": "x"}
    assert bound(partial, a=1) == (1, "x")


def test_docstring_of_a_partial() -> None:
    """A partial is described by its function's docstring, not by that of ``partial``."""

    def handler(a: int) -> None:
        """Do it."""

    assert read(functools.partial(handler, 1)).description == "Do it."


class Adder:
    """Add to a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, a: int) -> int:
        """Add one number."""
        return self.number + a


def test_callable_instance() -> None:
    """A callable instance is described by its class and by the parameters of its call."""
    signature = read(Adder(1))
    assert signature.description == "Add to a number."
    assert list(signature.parameters["properties"]) == ["a"]


def test_bound_method() -> None:
    """A bound method is described without its own instance."""
    assert list(read(Adder(1).__call__).parameters["properties"]) == ["a"]


def test_order_of_properties() -> None:
    """The properties come in the order of the parameters, whatever their kind."""

    def handler(z: int, /, b: Color, *, a: Box | None = None) -> None: ...

    assert list(read(handler).parameters["properties"]) == ["z", "b", "a"]
