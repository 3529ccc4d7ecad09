"""A handler as a tool: how it is described to the model, called, and its result encoded."""

from __future__ import annotations

import functools
import inspect
import json
import math
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

import attrs

from gpt_agent_sync.errors import ToolRegistrationError
from gpt_agent_sync.records import ToolSchema
from gpt_agent_sync.tools.recovery import AfterCrash, check_after_crash
from gpt_agent_sync.tools.schema import Signature, read_signature

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent

NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
"""What wires allow as a function's name."""


ErrorsShown = Literal["full", "class"]
"""What the model is told of an exception: class and message, or the class alone."""


class CallMemory(Protocol):
    """What keeps a handler's note for its next attempt."""

    @property
    def remembered(self) -> Any:
        """What was remembered last, ``None`` when nothing was."""

    def remember(self, value: Any) -> None:
        """Keep a value that JSON can hold."""


@attrs.frozen(kw_only=True)
class ToolContext:
    """The call that a handler answers.

    A parameter annotated with this class receives it, and the model does not see it.

    Attributes:
        thread_id: The conversation.
        run_id: The run that waits.
        tool_call_id: The call.
        agent: The agent; a handler of its calls may use all but ``wait()`` and ``ask()``.
        deadline: When the call times out, in ``time.monotonic()`` seconds; ``None`` for never.
        attempt: The number of this attempt, from 1: how often the call was begun, by this process
            or another that was interrupted.
        idempotency_key: A UUID of the call, the same in every process and for every attempt: what
            a destination that knows such keys is given, so that it acts once.
    """

    thread_id: str
    run_id: str
    tool_call_id: str
    agent: Agent
    deadline: float | None = None
    attempt: int = 1
    idempotency_key: str = ""
    _memory: CallMemory | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def remembered(self) -> Any:
        """What ``remember()`` was given last, in this attempt or an earlier one, else ``None``."""
        return None if self._memory is None else self._memory.remembered

    def remember(self, value: Any) -> None:
        """Keep a value in the journal, for the next attempt should this one be interrupted.

        Args:
            value: What JSON can hold, such as the id of what was created at the destination.

        Raises:
            TypeError: If JSON cannot hold it.
            JournalError: If it cannot be kept.
        """
        if self._memory is not None:
            self._memory.remember(value)


@attrs.frozen(kw_only=True)
class Tool:
    """A handler that is offered to models.

    Attributes:
        schema: How it is described to the model.
        handler: The function that is called.
        timeout: Seconds it may take; ``None`` leaves that to the settings.
        signature: How it is called.
        after_crash: What becomes of a call that was interrupted.
        errors: What the model is told of an exception.
    """

    schema: ToolSchema
    handler: Callable[..., Any]
    timeout: float | None
    signature: Signature
    after_crash: AfterCrash = "fail"
    errors: ErrorsShown = "full"

    @property
    def name(self) -> str:
        """The tool's name."""
        return self.schema.name

    def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:
        """Call the handler and return its result as the text for the model.

        Raises:
            ArgumentsError: If the arguments do not fit; the handler is not called.
            TypeError: If the result cannot be JSON.
            Exception: Whatever the handler raises.
        """
        positional, keywords = self.signature.bind(arguments, context)
        return encode_result(self.handler(*positional, **keywords))


@attrs.frozen(kw_only=True)
class ToolOptions:
    """The arguments of ``Toolbox.tool()``.

    Attributes:
        name: The tool's name; else the function's.
        description: How the tool is described; else by the docstring up to its first section.
        timeout: Seconds it may take; else ``Settings.tool_timeout``.
        after_crash: What becomes of a call that was interrupted.
        errors: What the model is told of an exception.
    """

    name: str | None = None
    description: str | None = None
    timeout: float | None = None
    after_crash: AfterCrash = "fail"
    errors: ErrorsShown = "full"


def describe(function: Any, options: ToolOptions) -> Tool:
    """Return the tool that a handler makes.

    Raises:
        ToolRegistrationError: If it cannot be one.
    """
    # The signature and the docstring are those of the function that a static method wraps.
    handler = function.__func__ if isinstance(function, staticmethod) else function
    name = options.name if options.name is not None else getattr(handler, "__name__", None)
    if name is None:
        raise ToolRegistrationError(repr(function), "it has no name; pass name=")
    check_handler(handler, name)
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ToolRegistrationError(
            str(name), "a name is 1 to 64 of letters, digits, '_' and '-'; pass name="
        )
    _check_timeout(name, options.timeout)
    check_after_crash(name, options.after_crash)
    if options.errors not in get_args(ErrorsShown):
        raise ToolRegistrationError(
            name, f"errors must be 'full' or 'class', not {options.errors!r}"
        )
    signature = read_signature(handler, name, ToolContext)
    schema = ToolSchema(
        name=name,
        description=options.description or signature.description,
        parameters=signature.parameters,
    )
    return Tool(
        schema=schema,
        handler=handler,
        timeout=options.timeout,
        signature=signature,
        after_crash=options.after_crash,
        errors=options.errors,
    )


def check_handler(handler: Any, name: str) -> None:
    """Check that a handler can be called as a plain function.

    Raises:
        ToolRegistrationError: If it cannot.
    """
    # A class is callable, and registering one is nearly always a slip for one of its methods.
    if not callable(handler) or isinstance(handler, type):
        raise ToolRegistrationError(name, f"{handler!r} is no function")
    if getattr(handler, "__name__", None) == "<lambda>":
        raise ToolRegistrationError(
            "<lambda>", "a lambda has no annotations; write a function with def"
        )
    # An object's own __call__ may be the coroutine, or what a partial wraps.
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


def encode_output(output: object) -> str:
    """Return an output as the text for the model: a ``str`` as it is, anything else as JSON.

    Raises:
        TypeError: If JSON cannot hold it; NaN and infinities included.
    """
    return _encode(output, None)


def encode_result(result: object) -> str:
    """Return a handler's result as the text for the model.

    It takes what ``encode_output`` takes, and the types that arguments can have: attrs classes and
    dataclasses, enums, dates, UUIDs.

    Raises:
        TypeError: If it cannot be JSON.
    """
    return _encode(result, _to_builtins)


def _encode(value: object, prepare: Callable[[Any], Any] | None) -> str:
    if isinstance(value, str):
        return str.__str__(value)  # an enum of texts is its value, whatever its own str() says
    try:
        plain = value if prepare is None else prepare(value)
        return json.dumps(plain, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as exc:
        raise TypeError(f"JSON cannot hold {type(value).__name__} {value!r:.200}: {exc}") from exc


def _to_builtins(value: object) -> object:
    # Imported here: a program without tools need not pay for it.
    import msgspec

    return msgspec.to_builtins(value, str_keys=True)
