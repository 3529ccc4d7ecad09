"""Registering handlers as tools: the decorator, the toolbox, what a call runs with."""

from __future__ import annotations

import functools
import inspect
import math
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, overload

import attrs

from gpt_agent_sync import forks
from gpt_agent_sync.errors import ToolRegistrationError
from gpt_agent_sync.records import ToolSchema
from gpt_agent_sync.tools.encoding import encode_result
from gpt_agent_sync.tools.schema import Signature, read_signature

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent

Handler = TypeVar("Handler", bound=Callable[..., Any])

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What wires allow as a function's name."""

MARK = "__gpt_agent_tool__"


@attrs.frozen(kw_only=True)
class ToolContext:
    """Hold what a handler may want to know of the call it answers.

    A parameter annotated with this class receives it, and the model does not see it.

    Attributes:
        thread_id: The conversation.
        run_id: The run that waits.
        tool_call_id: The call.
        agent: The agent; its ``wait()`` and ``ask()`` are refused here.
        deadline: When the call times out, in ``time.monotonic()`` seconds; ``None`` for never.
    """

    thread_id: str
    run_id: str
    tool_call_id: str
    agent: Agent
    deadline: float | None = None


@attrs.frozen(kw_only=True)
class Tool:
    """Hold a registered handler.

    Attributes:
        schema: What the model is told.
        handler: What is called.
        timeout: Seconds it may take; ``None`` leaves that to the settings.
        signature: How it is called.
    """

    schema: ToolSchema
    handler: Callable[..., Any]
    timeout: float | None
    signature: Signature

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.schema.name

    def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Call the handler and give its result as the text for the model.

        Raises:
            ArgumentsError: If the arguments do not fit; the handler is not called.
            TypeError: If the result cannot be JSON.
            Exception: Whatever the handler raises.
        """
        positional, keywords = self.signature.bind(arguments, context)
        return encode_result(self.handler(*positional, **keywords))


@attrs.frozen(kw_only=True)
class _Options:
    name: str | None = None
    description: str | None = None
    timeout: float | None = None


class Toolbox:
    """Hold tools by name; safe to use from many threads.

    Changes replace the whole mapping, so that readers need no lock.

    Args:
        handlers: Functions to register, as by ``tool()``, or objects whose decorated
            methods are, as by ``bind()``.
    """

    def __init__(self, handlers: Iterable[Any] = ()) -> None:
        self._lock = threading.Lock()
        self._tools: dict[str, Tool] = {}
        for handler in handlers:
            if callable(handler) and not _marked_methods(handler):
                self.tool(handler)
            else:
                self.bind(handler)

    @overload
    def tool(self, function: Handler) -> Handler: ...

    @overload
    def tool(
        self,
        function: None = None,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> Callable[[Handler], Handler]: ...

    @overload
    def tool(
        self,
        function: Handler,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> Handler: ...

    def tool(
        self,
        function: Any = None,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
    ) -> Any:
        """Register a handler; a decorator with and without parentheses, or a plain call.

        The parameters' annotations give the JSON schema, and arguments are checked against it
        and converted before the call. A method decorated inside its class is only marked:
        ``bind(instance)`` registers it.

        Args:
            function: The handler. It is called on a thread of the shared pool.
            name: The tool's name; else the function's.
            description: What the model is told; else the docstring up to its first section.
            timeout: Seconds it may take; else ``Settings.tool_timeout``.

        Returns:
            The function, unchanged; or a decorator when no function is given.

        Raises:
            ToolRegistrationError: If the name is taken or unusable, or the handler is a lambda,
                asynchronous, or has a signature without a JSON schema.
        """
        options = _Options(name=name, description=description, timeout=timeout)
        if function is None:
            return lambda decorated: self._register(decorated, options)
        return self._register(function, options)

    def bind(self, instance: object) -> None:
        """Register the methods of ``instance`` that its class decorated with ``tool``.

        Raises:
            ToolRegistrationError: If there are none, or one cannot be registered.
        """
        methods = _marked_methods(instance)
        if not methods:
            raise ToolRegistrationError(
                type(instance).__name__, "it has no methods decorated with tool()"
            )
        for method, options in methods:
            self._add(describe(method, options))

    def add(self, tool: Tool) -> None:
        """Add a tool that was described already.

        Raises:
            ToolRegistrationError: If the name is taken.
        """
        self._add(tool)

    def remove(self, name: str) -> None:
        """Remove a tool.

        Raises:
            KeyError: If there is none of that name.
        """
        with self._lock:
            rest = dict(self._tools)
            del rest[name]
            self._tools = rest

    def clear(self) -> None:
        """Remove all tools."""
        with self._lock:
            self._tools = {}

    def get(self, name: str) -> Tool | None:
        """Give the tool of that name, ``None`` when there is none."""
        return self._tools.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of registration."""
        return tuple(tool.name for tool in self)

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        """What a model is told of the tools, in the order of registration."""
        return tuple(tool.schema for tool in self)

    def __contains__(self, name: object) -> bool:
        """Tell whether there is a tool of that name."""
        return name in self.names

    def __iter__(self) -> Iterator[Tool]:
        """Go through the tools as they are now."""
        return iter(list(self._tools.values()))

    def __len__(self) -> int:
        """Count the tools."""
        return len(self._tools)

    def __repr__(self) -> str:
        """Show the names."""
        return f"Toolbox({', '.join(self.names)})"

    def _register(self, function: Any, options: _Options) -> Any:
        if _is_method_in_class_body(function):
            _check_handler(function, options.name or function.__name__)
            setattr(function, MARK, options)
            return function
        self._add(describe(function, options))
        return function

    def _add(self, tool: Tool) -> None:
        with self._lock:
            taken = tool.name in self._tools
            if not taken:
                self._tools = {**self._tools, tool.name: tool}
        if taken:
            raise ToolRegistrationError(
                tool.name, "the name is taken; pass another name= or remove() the first"
            )

    def _forget(self) -> None:
        """Have a free lock, in a forked child: another thread may have held it."""
        self._lock = threading.Lock()


default_toolbox = Toolbox()
"""The toolbox that ``gpt_agent_sync.tool`` registers in and all agents look in last."""

forks.in_child(default_toolbox._forget)


def describe(function: Any, options: _Options) -> Tool:
    """Make a tool of a handler.

    Raises:
        ToolRegistrationError: If it cannot be one.
    """
    handler = function.__func__ if isinstance(function, staticmethod) else function
    name = options.name if options.name is not None else getattr(handler, "__name__", None)
    if name is None:
        raise ToolRegistrationError(repr(function), "it has no name; pass name=")
    _check_handler(handler, name)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ToolRegistrationError(
            str(name), "a name is 1 to 64 of letters, digits, '_' and '-'; pass name="
        )
    _check_timeout(name, options.timeout)
    signature = read_signature(handler, name, ToolContext)
    schema = ToolSchema(
        name=name,
        description=options.description or signature.description,
        parameters=signature.parameters,
    )
    return Tool(schema=schema, handler=handler, timeout=options.timeout, signature=signature)


def _check_handler(handler: Any, name: str) -> None:
    if not callable(handler) or isinstance(handler, type):
        raise ToolRegistrationError(name, f"{handler!r} is no function")
    if getattr(handler, "__name__", None) == "<lambda>":
        raise ToolRegistrationError(
            "<lambda>", "a lambda has no annotations; write a function with def"
        )
    call = handler.__func__ if isinstance(handler, staticmethod) else handler
    call = call.func if isinstance(call, functools.partial) else call
    call = call if inspect.isroutine(call) else type(call).__call__
    if inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call):
        raise ToolRegistrationError(
            name, "it is asynchronous, and there is no event loop here; write a plain function"
        )


def _check_timeout(name: str, timeout: object) -> None:
    if timeout is None:
        return
    if isinstance(timeout, bool) or not isinstance(timeout, (int, float)):
        raise ToolRegistrationError(name, f"timeout must be seconds, not {timeout!r}")
    if not 0 < timeout < math.inf:
        raise ToolRegistrationError(name, f"timeout must be above 0 seconds, not {timeout!r}")


def _is_method_in_class_body(function: Any) -> bool:
    """Tell a function that will become a method: it is named inside a class, and takes self."""
    if not inspect.isfunction(function):
        return False
    owner = function.__qualname__.rpartition(".")[0]
    parameters = list(inspect.signature(function).parameters.values())
    return (
        bool(owner)
        and not owner.endswith("<locals>")
        and bool(parameters)
        and parameters[0].name == "self"
        and parameters[0].annotation is inspect.Parameter.empty
    )


def _marked_methods(instance: object) -> list[tuple[Callable[..., Any], _Options]]:
    marked: dict[str, _Options] = {}
    for owner in reversed(type(instance).__mro__):
        for name, member in vars(owner).items():
            options = getattr(member, MARK, None) if inspect.isfunction(member) else None
            if options is not None:
                marked[name] = options
    return [(getattr(instance, name), options) for name, options in marked.items()]
