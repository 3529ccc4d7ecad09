"""Registering handlers as tools: the decorator, and the tools by name."""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar, overload

from gpt_agent_sync import forks
from gpt_agent_sync.errors import ToolRegistrationError
from gpt_agent_sync.records import ToolSchema
from gpt_agent_sync.tools.recovery import AfterCrash
from gpt_agent_sync.tools.tool import ErrorsShown, Tool, ToolOptions, check_handler, describe

if TYPE_CHECKING:
    pass

Handler = TypeVar("Handler", bound=Callable[..., Any])

MARK = "__gpt_agent_tool__"


class Toolbox:
    """Tools by name; safe to use from many threads.

    Changes replace the whole mapping, so that readers need no lock.

    Args:
        handlers: Functions to register, as by ``tool()``, or objects whose decorated
            methods are, as by ``bind()``.
    """

    def __init__(self, handlers: Iterable[Any] = ()) -> None:
        self._lock = threading.Lock()
        forks.renew_in_child(self)
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
        after_crash: AfterCrash = "fail",
        errors: ErrorsShown = "full",
    ) -> Callable[[Handler], Handler]: ...

    @overload
    def tool(
        self,
        function: Handler,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        after_crash: AfterCrash = "fail",
        errors: ErrorsShown = "full",
    ) -> Handler: ...

    def tool(
        self,
        function: Any = None,
        *,
        name: str | None = None,
        description: str | None = None,
        timeout: float | None = None,
        after_crash: AfterCrash = "fail",
        errors: ErrorsShown = "full",
    ) -> Any:
        """Register a handler; a decorator with and without parentheses, or a plain call.

        The parameters' annotations give the JSON schema, and arguments are checked against it
        and converted before the call. A method decorated inside its class is only marked:
        ``bind(instance)`` registers it.

        Args:
            function: The handler. It is called on a thread of the shared pool.
            name: The tool's name; else the function's.
            description: How the model is told of it; else by the docstring up to its first section.
            timeout: Seconds it may take; else ``Settings.tool_timeout``.
            after_crash: What becomes of a call that was begun, by this process or another, and not
                finished. ``"fail"``: the model is told that it is not known whether it took effect.
                ``"rerun"``: the handler is called again, for what only reads or may happen twice.
                ``"ask"``: ``ToolCallInterrupted`` is told, and the call waits for
                ``submit_tool_output()`` or ``rerun_tool_call()``. A function of the call's
                arguments (a ``dict``) and its ``ToolContext``, called on a thread of the pool: it
                looks at the destination, and returns the output, ``RERUN`` or ``FAIL``.
            errors: What the model is told of an exception: ``"full"`` for its class and message,
                without the secrets that are known or look like one, ``"class"`` for its class
                alone. ``ToolCallFailed`` has both.

        Returns:
            The function, unchanged; or a decorator when no function is given.

        Raises:
            ToolRegistrationError: If the name is taken or unusable, another argument is unknown, or
                the handler is a lambda, asynchronous, or has a signature without a JSON schema.
        """
        options = ToolOptions(
            name=name,
            description=description,
            timeout=timeout,
            after_crash=after_crash,
            errors=errors,
        )
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
        forks.check()
        with self._lock:
            rest = dict(self._tools)
            del rest[name]
            self._tools = rest

    def clear(self) -> None:
        """Remove all tools."""
        forks.check()
        with self._lock:
            self._tools = {}

    def get(self, name: str) -> Tool | None:
        """Return the tool of that name, ``None`` when there is none."""
        return self._tools.get(name)

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order of registration."""
        return tuple(tool.name for tool in self)

    @property
    def schemas(self) -> tuple[ToolSchema, ...]:
        """The descriptions for a model, in the order of registration."""
        return tuple(tool.schema for tool in self)

    def __contains__(self, name: object) -> bool:
        """Return whether there is a tool of that name."""
        return name in self.names

    def __iter__(self) -> Iterator[Tool]:
        """Iterate over the tools as they are now."""
        return iter(list(self._tools.values()))

    def __len__(self) -> int:
        """Return the number of tools."""
        return len(self._tools)

    def __repr__(self) -> str:
        """Show the names."""
        return f"Toolbox({', '.join(self.names)})"

    def _register(self, function: Any, options: ToolOptions) -> Any:
        if _is_method_in_class_body(function):
            # There is no instance yet to call it on, so bind() registers what is marked.
            check_handler(function, options.name or function.__name__)
            setattr(function, MARK, options)
            return function
        self._add(describe(function, options))
        return function

    def _add(self, tool: Tool) -> None:
        forks.check()
        with self._lock:
            taken = tool.name in self._tools
            if not taken:
                self._tools = {**self._tools, tool.name: tool}
        if taken:
            raise ToolRegistrationError(
                tool.name, "the name is taken; pass another name= or remove() the first"
            )

    def _after_fork(self) -> None:
        """Have a free lock in a forked child: another thread may have held it."""
        self._lock = threading.Lock()


default_toolbox = Toolbox()
"""The toolbox that ``gpt_agent_sync.tool`` registers in, and that all agents search last."""


def _is_method_in_class_body(function: Any) -> bool:
    """Return whether the function will be a method: named inside a class, and takes ``self``."""
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


def _marked_methods(instance: object) -> list[tuple[Callable[..., Any], ToolOptions]]:
    # In the classes' dictionaries, as getattr() on the instance would run its properties.
    marked: dict[str, ToolOptions] = {}
    for owner in reversed(type(instance).__mro__):
        for name, member in vars(owner).items():
            options = getattr(member, MARK, None) if inspect.isfunction(member) else None
            if options is not None:
                marked[name] = options
    return [(getattr(instance, name), options) for name, options in marked.items()]
