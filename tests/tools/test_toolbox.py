"""Toolboxes: what can be registered and how, and how results become texts for the model."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import functools
import json
import math
import threading
import uuid
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.errors import ToolRegistrationError
from gpt_agent_sync.records import ToolSchema
from gpt_agent_sync.tools.schema import ArgumentsError
from gpt_agent_sync.tools.tool import Tool, ToolContext, encode_output, encode_result
from gpt_agent_sync.tools.toolbox import Toolbox, default_toolbox

CONTEXT = ToolContext(
    thread_id="t", run_id="run_1", tool_call_id="call_1", agent=cast("gpt.Agent", None)
)


def add(a: int, b: int = 1) -> int:
    """Add two numbers.

    Args:
        a: The first summand.
        b: The second summand.
    """
    return a + b


class Color(enum.Enum):
    """An enumeration."""

    RED = "red"


class Level(enum.IntEnum):
    """An enumeration of numbers."""

    LOW = 1


class Word(str, enum.Enum):
    """An enumeration of texts."""

    YES = "yes"


@dataclasses.dataclass
class Point:
    """A dataclass."""

    x: float


@attrs.define
class Box:
    """An attrs class."""

    corner: Point


marks = Toolbox()
"""The toolbox whose decorator marks the methods below."""


class Calculator:
    """A class with decorated methods."""

    def __init__(self, offset: int = 0) -> None:
        self.offset = offset

    @marks.tool
    def plus(self, a: int) -> int:
        """Add the offset."""
        return self.offset + a

    @marks.tool(name="product", description="Multiply.", timeout=2)
    def times(self, a: int) -> int:
        """Multiply by the offset."""
        return self.offset * a

    def secret(self) -> None:
        """Stay out of it."""


class Better(Calculator):
    """A class that overrides a decorated method, and decorates one more."""

    def plus(self, a: float) -> int:
        """Add the offset, rounded."""
        return round(self.offset + a)

    @marks.tool
    def minus(self, a: int) -> int:
        """Take from the offset."""
        return self.offset - a


def one(toolbox: Toolbox) -> Tool:
    """Return the toolbox's only tool."""
    (only,) = toolbox
    return only


def call(toolbox: Toolbox, name: str, **arguments: object) -> str:
    """Call a tool as a tool call does."""
    tool = toolbox.get(name)
    assert tool is not None
    return tool.call(arguments, CONTEXT)


def test_decorator_without_parentheses() -> None:
    """The bare decorator registers the function under its name."""
    toolbox = Toolbox()

    @toolbox.tool
    def double(a: int) -> int:
        return 2 * a

    assert call(toolbox, "double", a=2) == "4"


def test_decorator_with_parentheses() -> None:
    """The decorator with options registers the function with them."""
    toolbox = Toolbox()

    @toolbox.tool(name="twice", description="Double it.", timeout=1.5)
    def double(a: int) -> int:
        """Say something else."""
        return 2 * a

    tool = one(toolbox)
    assert (tool.name, tool.schema.description, tool.timeout) == ("twice", "Double it.", 1.5)


def test_decorator_with_empty_parentheses() -> None:
    """The decorator with empty parentheses is like the bare one."""
    toolbox = Toolbox()
    toolbox.tool()(add)
    assert toolbox.names == ("add",)


def test_plain_call() -> None:
    """A plain call registers, with options or without."""
    toolbox = Toolbox()
    toolbox.tool(add)
    toolbox.tool(add, name="sum", timeout=3)
    assert [(tool.name, tool.timeout) for tool in toolbox] == [("add", None), ("sum", 3)]


@pytest.mark.parametrize(
    "register",
    [
        lambda toolbox: toolbox.tool(add),
        lambda toolbox: toolbox.tool()(add),
        lambda toolbox: toolbox.tool(add, name="sum"),
        lambda toolbox: toolbox.tool(name="sum")(add),
    ],
)
def test_function_is_returned_unchanged(register: Callable[[Toolbox], object]) -> None:
    """Every way of registering gives the function back as it was."""
    before = dict(vars(add))
    assert register(Toolbox()) is add
    assert vars(add) == before


def test_handlers_of_the_constructor() -> None:
    """The constructor registers functions and binds objects with decorated methods."""
    assert Toolbox([add, Calculator()]).names == ("add", "plus", "product")


def test_default_toolbox() -> None:
    """``gpt_agent_sync.tool`` registers in the default toolbox."""
    gpt.tool(add)
    assert default_toolbox.names == ("add",)


def test_schema() -> None:
    """The model gets name, description and parameters."""
    assert Toolbox([add]).schemas == (
        ToolSchema(
            name="add",
            description="Add two numbers.",
            parameters={
                "type": "object",
                "properties": {
                    "a": {"type": "integer", "description": "The first summand."},
                    "b": {
                        "type": "integer",
                        "description": "The second summand.",
                        "default": 1,
                    },
                },
                "required": ["a"],
                "additionalProperties": False,
            },
        ),
    )


def test_description_is_optional() -> None:
    """A function without a docstring has an empty description."""

    def bare(a: int) -> int:
        return a

    assert one(Toolbox([bare])).schema.description == ""


@pytest.mark.parametrize("name", ["a", "add-2", "ADD_2", "9", "x" * 64])
def test_usable_names(name: str) -> None:
    """A name is 1 to 64 of letters, digits, ``_`` and ``-``."""
    toolbox = Toolbox()
    toolbox.tool(add, name=name)
    assert toolbox.names == (name,)


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a.b", "größe", "a\n", " a", "a/b"])
def test_unusable_names(name: str) -> None:
    """Any other name is refused, with the remedy."""
    with pytest.raises(ToolRegistrationError, match=r"1 to 64 of letters.*; pass name="):
        Toolbox().tool(add, name=name)


def test_name_of_the_wrong_type() -> None:
    """A name that is no text is refused."""
    with pytest.raises(ToolRegistrationError, match=r"'7': a name is"):
        Toolbox().tool(add, name=7)  # type: ignore[call-overload]  # the point


def test_name_that_no_wire_takes() -> None:
    """A function whose own name no wire takes needs another."""

    def größe(a: int) -> int:
        return a

    with pytest.raises(ToolRegistrationError, match=r"'größe': a name is 1 to 64"):
        Toolbox().tool(größe)


def test_duplicate() -> None:
    """A second tool of a name is refused, with the remedies, and the first one stays."""
    toolbox = Toolbox([add])
    with pytest.raises(
        ToolRegistrationError, match=r"'add': the name is taken; pass another name= or remove\(\)"
    ):
        toolbox.tool(Calculator().secret, name="add")
    assert one(toolbox).handler is add


def test_many_threads_register_one_name() -> None:
    """Of many threads that register one name at once, one is let."""
    toolbox = Toolbox()
    barrier = threading.Barrier(8)
    refused: list[ToolRegistrationError] = []

    def register() -> None:
        barrier.wait(10)
        try:
            toolbox.tool(add)
        except ToolRegistrationError as exc:
            refused.append(exc)

    threads = [threading.Thread(target=register) for _ in range(8)]
    for worker in threads:
        worker.start()
    for worker in threads:
        worker.join(10)
    assert (len(refused), len(toolbox)) == (7, 1)


@pytest.mark.parametrize("timeout", [1, 0.5, 10**6])
def test_usable_timeouts(timeout: float) -> None:
    """A timeout is a number of seconds above 0."""
    toolbox = Toolbox()
    toolbox.tool(add, timeout=timeout)
    assert one(toolbox).timeout == timeout


@pytest.mark.parametrize("timeout", [0, -1, math.nan, math.inf, "5", True, [1]])
def test_unusable_timeouts(timeout: Any) -> None:
    """Any other timeout is refused, naming the tool."""
    with pytest.raises(ToolRegistrationError, match=r"tool 'add': timeout must be"):
        Toolbox().tool(add, timeout=timeout)


async def coroutine(a: int) -> int:
    """Be asynchronous."""
    return a


async def generator(a: int) -> AsyncIterator[int]:
    """Be an asynchronous generator."""
    yield a


class AsyncCallable:
    """Be called asynchronously."""

    async def __call__(self, a: int) -> int:
        """Be asynchronous."""
        return a

    async def method(self, a: int) -> int:
        """Be asynchronous."""
        return a


@functools.wraps(add)
async def wrapped_async(*arguments: Any, **keywords: Any) -> Any:
    """Be an asynchronous wrapper of a plain function."""
    return add(*arguments, **keywords)


@pytest.mark.parametrize(
    "handler",
    [
        coroutine,
        generator,
        AsyncCallable(),
        AsyncCallable().method,
        functools.partial(coroutine, 1),
        staticmethod(coroutine),
        wrapped_async,
    ],
)
def test_asynchronous_handlers(handler: Callable[..., Any]) -> None:
    """Whatever gives a coroutine when called is refused, with the remedy."""
    with pytest.raises(ToolRegistrationError, match=r"'x': it is asynchronous.*plain function"):
        Toolbox().tool(handler, name="x")


def test_plain_wrapper_of_a_coroutine() -> None:
    """A plain function around an asynchronous one, such as ``asyncio.run``, is a handler."""

    @functools.wraps(coroutine)
    def plain(a: int) -> int:
        return a

    assert call(Toolbox([plain]), "coroutine", a=1) == "1"


@pytest.mark.parametrize("name", [None, "double"])
def test_lambda(name: str | None) -> None:
    """A lambda is refused under any name, with the remedy."""
    with pytest.raises(ToolRegistrationError, match=r"'<lambda>': .*write a function with def"):
        Toolbox().tool(lambda a: 2 * a, name=name)


@pytest.mark.parametrize("handler", [Point, int, Color, 7, "add", [add], object()])
def test_no_function(handler: Any) -> None:
    """A class, or what cannot be called, is refused."""
    with pytest.raises(ToolRegistrationError, match=r"'x': .* is no function"):
        Toolbox().tool(handler, name="x")


def test_registering_a_text() -> None:
    """``tool("name")`` is refused, as the name must be given by its keyword."""
    with pytest.raises(ToolRegistrationError, match=r"pass name="):
        Toolbox().tool("add")  # type: ignore[call-overload]  # the point


def test_handler_without_annotations() -> None:
    """A signature without a schema is refused, naming tool, parameter and remedy."""

    def bare(a):  # type: ignore[no-untyped-def]  # the point
        return a

    with pytest.raises(ToolRegistrationError, match=r"tool 'bare': parameter 'a' .*; annotate it"):
        Toolbox().tool(bare)


def test_refused_handlers_are_not_registered() -> None:
    """A refused handler leaves nothing in the toolbox."""
    toolbox = Toolbox()
    with pytest.raises(ToolRegistrationError):
        toolbox.tool(add, timeout=0)
    assert not toolbox.names


class Statics:
    """A class with tools that need no instance."""

    toolbox = Toolbox()

    @staticmethod
    @toolbox.tool
    def inner(a: int) -> int:
        """Be decorated below ``staticmethod``."""
        return a

    @toolbox.tool
    @staticmethod
    def outer(a: int) -> int:
        """Be decorated above ``staticmethod``."""
        return a

    @classmethod
    def make(cls, a: int) -> str:
        """Be a class method."""
        return f"{cls.__name__} {a}"


@pytest.mark.parametrize("name", ["inner", "outer"])
def test_static_methods(name: str) -> None:
    """A static method is registered in the class body, in either order of the decorators."""
    assert call(Statics.toolbox, name, a=1) == "1"


@pytest.mark.parametrize("name", ["inner", "outer"])
def test_static_methods_stay_static_methods(name: str) -> None:
    """A registered static method can still be called on its class."""
    assert getattr(Statics, name)(1) == 1


def test_bound_class_method() -> None:
    """A bound class method is registered like a function."""
    assert call(Toolbox([Statics.make]), "make", a=1) == "Statics 1"


def test_unbound_class_method() -> None:
    """A ``classmethod`` object, which cannot be called, is refused."""
    with pytest.raises(ToolRegistrationError, match=r"is no function"):
        Toolbox().tool(vars(Statics)["make"])


def test_bound_method() -> None:
    """A bound method is registered with its instance."""
    assert call(Toolbox([Calculator(10).plus]), "plus", a=1) == "11"


def test_decorated_methods_are_only_marked() -> None:
    """A method decorated in its class is in no toolbox until an instance is bound."""
    assert not marks.names


def test_decorated_method_stays_a_method() -> None:
    """A decorated method is called like any other."""
    assert Calculator(10).plus(1) == 11


def test_bind() -> None:
    """Binding an instance registers its decorated methods with that instance."""
    toolbox = Toolbox()
    toolbox.bind(Calculator(10))
    assert [call(toolbox, "plus", a=2), call(toolbox, "product", a=2)] == ["12", "20"]


def test_options_of_decorated_methods() -> None:
    """The options of the decorator hold for the bound method."""
    tool = Toolbox([Calculator()]).get("product")
    assert tool is not None
    assert (tool.schema.description, tool.timeout) == ("Multiply.", 2)


def test_self_is_not_in_the_schema() -> None:
    """The model does not see a bound method's instance."""
    tool = Toolbox([Calculator()]).get("plus")
    assert tool is not None
    assert list(tool.schema.parameters["properties"]) == ["a"]


def test_bind_to_another_toolbox() -> None:
    """Any toolbox can bind an instance, whichever decorated its methods."""
    first, second = Toolbox([Calculator(1)]), Toolbox([Calculator(2)])
    assert [call(first, "plus", a=1), call(second, "plus", a=1)] == ["2", "3"]


def test_bind_inherited_methods() -> None:
    """Decorated methods of base classes are bound too, the base's first."""
    assert Toolbox([Better()]).names == ("plus", "product", "minus")


def test_bind_overridden_method() -> None:
    """An overriding method stands in for a decorated one, with its own signature."""
    assert call(Toolbox([Better(1)]), "plus", a=1.6) == "3"


def test_bind_without_decorated_methods() -> None:
    """An instance without decorated methods is refused, naming its class."""
    with pytest.raises(ToolRegistrationError, match=r"'Point': it has no methods decorated with"):
        Toolbox().bind(Point(1))


def test_bind_twice() -> None:
    """A second instance of a class finds the names taken."""
    toolbox = Toolbox([Calculator()])
    with pytest.raises(ToolRegistrationError, match=r"'plus': the name is taken"):
        toolbox.bind(Calculator())


def test_asynchronous_method_in_a_class_body() -> None:
    """An asynchronous method is refused where it is decorated."""
    with pytest.raises(ToolRegistrationError, match=r"'fetch': it is asynchronous"):

        class Asynchronous:
            @marks.tool
            async def fetch(self, a: int) -> int:
                return a


def test_partial_needs_a_name() -> None:
    """A partial has no name of its own, and the error gives the remedy."""
    with pytest.raises(ToolRegistrationError, match=r"it has no name; pass name="):
        Toolbox().tool(functools.partial(add, 1))


def test_partial() -> None:
    """A partial with a name takes the arguments that are left."""
    toolbox = Toolbox()
    toolbox.tool(functools.partial(add, 10), name="add_ten")
    assert call(toolbox, "add_ten", b=2) == "12"


class Adder:
    """Add to a number."""

    def __init__(self, number: int) -> None:
        self.number = number

    def __call__(self, a: int) -> int:
        """Add one number."""
        return self.number + a


class Undescribed:  # noqa: D101  (the point)
    def __call__(self, a: int) -> int:
        """Give it back."""
        return a


def test_callable_instance_needs_a_name() -> None:
    """A callable instance has no name of its own, and the error gives the remedy."""
    with pytest.raises(ToolRegistrationError, match=r"it has no name; pass name="):
        Toolbox([Adder(1)])


def test_callable_instance() -> None:
    """A callable instance with a name is a handler."""
    toolbox = Toolbox()
    toolbox.tool(Adder(10), name="add_ten")
    assert call(toolbox, "add_ten", a=1) == "11"


def test_description_of_a_callable_instance() -> None:
    """Where the class of a callable instance says nothing, its ``__call__`` describes it."""
    toolbox = Toolbox()
    toolbox.tool(Undescribed(), name="same")
    assert one(toolbox).schema.description == "Give it back."


def test_get() -> None:
    """A tool is found by its name."""
    tool = Toolbox([add]).get("add")
    assert tool is not None
    assert tool.handler is add


def test_get_nothing() -> None:
    """There is nothing under an unknown name."""
    assert Toolbox([add]).get("sub") is None


def test_add() -> None:
    """A described tool can go into another toolbox."""
    toolbox = Toolbox()
    toolbox.add(one(Toolbox([add])))
    assert call(toolbox, "add", a=1) == "2"


def test_add_a_duplicate() -> None:
    """A described tool whose name is taken is refused."""
    toolbox = Toolbox([add])
    with pytest.raises(ToolRegistrationError, match=r"the name is taken"):
        toolbox.add(one(toolbox))


def test_remove() -> None:
    """A removed tool's name is free again."""
    toolbox = Toolbox([add])
    toolbox.remove("add")
    toolbox.tool(add)
    assert toolbox.names == ("add",)


def test_remove_nothing() -> None:
    """An unknown name cannot be removed."""
    with pytest.raises(KeyError, match=r"sub"):
        Toolbox([add]).remove("sub")


def test_clear() -> None:
    """A cleared toolbox is empty."""
    toolbox = Toolbox([add, Calculator()])
    toolbox.clear()
    assert len(toolbox) == 0


def test_order() -> None:
    """Tools are gone through in the order of their registration."""
    toolbox = Toolbox()
    for name in ("c", "a", "b"):
        toolbox.tool(add, name=name)
    assert [tool.name for tool in toolbox] == ["c", "a", "b"]


def test_iteration_sees_one_version() -> None:
    """Going through the tools is not disturbed by changes meanwhile."""
    toolbox = Toolbox([add, Calculator()])
    for tool in toolbox:
        toolbox.remove(tool.name)
    assert not toolbox.names


@pytest.mark.parametrize("name, known", [("add", True), ("sub", False), (7, False)])
def test_contains(name: object, known: bool) -> None:
    """A toolbox tells which names it has."""
    assert (name in Toolbox([add])) is known


def test_len() -> None:
    """The length is the number of tools."""
    assert len(Toolbox([add, Calculator()])) == 3


def test_repr() -> None:
    """The representation shows the names."""
    assert repr(Toolbox([add, Calculator()])) == "Toolbox(add, plus, product)"


def test_call_converts_arguments() -> None:
    """A call gives the handler typed arguments."""

    def day(at: datetime.date) -> str:
        return type(at).__name__

    assert call(Toolbox([day]), "day", at="2024-01-02") == "date"


def test_call_with_unfit_arguments() -> None:
    """The handler is not called with arguments that do not fit."""
    called = []

    def note(a: int) -> None:
        called.append(a)

    with pytest.raises(ArgumentsError):
        call(Toolbox([note]), "note", a="x")
    assert not called


def test_call_passes_the_context() -> None:
    """A handler that asks for the context receives it."""

    def which(context: ToolContext) -> str:
        return context.tool_call_id

    assert call(Toolbox([which]), "which") == "call_1"


def test_context_has_no_deadline_by_default() -> None:
    """A call without a timeout has no deadline."""
    assert CONTEXT.deadline is None


def test_call_lets_errors_through() -> None:
    """What the handler raises comes out of the call."""

    def fail() -> None:
        raise LookupError("nothing there")

    with pytest.raises(LookupError, match=r"nothing there"):
        call(Toolbox([fail]), "fail")


def test_call_encodes_the_result() -> None:
    """A handler's result becomes the text for the model."""

    def corner() -> Box:
        return Box(Point(1))

    assert json.loads(call(Toolbox([corner]), "corner")) == {"corner": {"x": 1}}


@pytest.mark.parametrize("encode", [encode_output, encode_result])
@pytest.mark.parametrize(
    "value, text",
    [
        ("", ""),
        ("hi", "hi"),
        ('{"a": 1}', '{"a": 1}'),
        (Word.YES, "yes"),
        (None, "null"),
        (True, "true"),
        (3, "3"),
        (0.5, "0.5"),
        (Level.LOW, "1"),
        ("größe", "größe"),
        (["größe"], '["größe"]'),
        ((1, 2), "[1, 2]"),
        ({"a": [None, {"b": 1}]}, '{"a": [null, {"b": 1}]}'),
        ({1: "a"}, '{"1": "a"}'),
    ],
)
def test_encoding(encode: Callable[[object], str], value: object, text: str) -> None:
    """A text is given as it is, anything else as JSON."""
    assert encode(value) == text


@pytest.mark.parametrize("encode", [encode_output, encode_result])
def test_encoded_text_is_a_plain_str(encode: Callable[[object], str]) -> None:
    """A subclass of ``str`` becomes a plain one."""
    assert type(encode(Word.YES)) is str


def _endless() -> list[object]:
    endless: list[object] = []
    endless.append(endless)
    return endless


@pytest.mark.parametrize("encode", [encode_output, encode_result])
@pytest.mark.parametrize(
    "value",
    [math.nan, math.inf, [-math.inf], {"a": math.nan}, object(), add, {(1, 2): 3}, _endless()],
)
def test_what_json_cannot_hold(encode: Callable[[object], str], value: object) -> None:
    """NaN, infinities, circles and strange objects are refused, naming the type."""
    with pytest.raises(TypeError, match=f"^JSON cannot hold {type(value).__name__} "):
        encode(value)


TYPED = [
    (Color.RED, "red"),
    ([Color.RED], ["red"]),
    (Point(1.5), {"x": 1.5}),
    (Box(Point(1.5)), {"corner": {"x": 1.5}}),
    ({"box": Box(Point(1.5))}, {"box": {"corner": {"x": 1.5}}}),
    ({1}, [1]),
    (datetime.date(2024, 1, 2), "2024-01-02"),
    (datetime.datetime(2024, 1, 2, tzinfo=datetime.timezone.utc), "2024-01-02T00:00:00Z"),
    (uuid.UUID(int=7), "00000000-0000-0000-0000-000000000007"),
    (decimal.Decimal("1.10"), "1.10"),
    (b"hi", "aGk="),
    ({Color.RED: 1}, {"red": 1}),
    ({datetime.date(2024, 1, 2): 1}, {"2024-01-02": 1}),
]


@pytest.mark.parametrize("value, decoded", TYPED)
def test_typed_results(value: object, decoded: object) -> None:
    """A handler's result may be of any type that its arguments can have."""
    text = encode_result(value)
    assert (text if isinstance(decoded, str) else json.loads(text)) in (
        decoded,
        json.dumps(decoded),
    )


@pytest.mark.parametrize("value", [value for value, _ in TYPED])
def test_typed_outputs(value: object) -> None:
    """An output that is given by hand must be JSON as it is."""
    with pytest.raises(TypeError, match=f"^JSON cannot hold {type(value).__name__} "):
        encode_output(value)


def test_nan_within_a_typed_result() -> None:
    """NaN is refused within a dataclass too."""
    with pytest.raises(TypeError, match=r"^JSON cannot hold Point "):
        encode_result(Point(math.nan))


def test_long_values_are_cut() -> None:
    """The error does not repeat the whole of a long value."""
    with pytest.raises(TypeError) as caught:
        encode_output({"x" * 10_000: object()})
    assert len(str(caught.value)) < 1_000


def test_unknown_choice_of_errors_is_refused() -> None:
    """What the model is told of an exception is one of two words."""
    with pytest.raises(ToolRegistrationError, match="errors must be 'full' or 'class', not 'all'"):
        Toolbox().tool(add, errors="all")  # type: ignore[call-overload]  # the point
