"""Every error this package raises, under one root.

Each class builds its message from its fields, so that a program can read the fields
and a person can read the message. The cause, where there is one, is kept as ``__cause__``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpt_agent_sync.events import RunCancelled, RunFailed


class GptAgentError(Exception):
    """The root of all errors of this package.

    Attributes:
        in_doubt: Whether the service may have done what was asked all the same: asking again may
            then do it twice.
    """

    in_doubt: bool = False

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle text and fields, as the arguments of ``__init__`` are not kept."""
        return _restore, (type(self), self.args, vars(self).copy())


def _restore(error_class: type[GptAgentError], args: Any, fields: dict[str, Any]) -> GptAgentError:
    error = error_class.__new__(error_class)  # past __init__, whose arguments are not kept
    error.args = args
    vars(error).update(fields)
    return error


class BlankValueError(GptAgentError, ValueError):
    """An id or a text is blank, or not a text at all.

    Attributes:
        name: The name of the argument, such as ``"thread_id"``.
        value: Its value.
    """

    def __init__(self, name: str, value: object) -> None:
        self.name = name
        self.value = value
        super().__init__(f"{name} must be a non-blank string, not {value!r}")


class InvalidThreadIdError(GptAgentError, LookupError):
    """The service has no such thread.

    Attributes:
        thread_id: The id.
        reason: Why it is invalid, as the service or the check before the request has it.
    """

    def __init__(self, thread_id: str, reason: str = "the service does not know it") -> None:
        self.thread_id = thread_id
        self.reason = reason
        # A blank id is two errors in one; super() would go to the other class's __init__.
        Exception.__init__(self, f"invalid thread id {thread_id!r}: {reason}")


class BlankThreadIdError(InvalidThreadIdError, BlankValueError):
    """A thread id is blank, or not a text: no service knows such a thread."""

    def __init__(self, value: object) -> None:
        super().__init__(str(value), "a thread id is a non-blank string")
        self.name = "thread_id"
        self.value = value


class InvalidToolCallIdError(GptAgentError, LookupError):
    """The run does not wait for an output of this tool call.

    Attributes:
        tool_call_id: The id.
        waiting: The ids of the calls that do wait for an output.
    """

    def __init__(self, tool_call_id: str, waiting: Sequence[str] = ()) -> None:
        self.tool_call_id = tool_call_id
        self.waiting = tuple(waiting)
        known = ", ".join(repr(call_id) for call_id in self.waiting) or "none"
        super().__init__(f"no unanswered tool call {tool_call_id!r}; waiting for: {known}")


class ThreadBusyError(GptAgentError):
    """The thread has a live run, of this agent or of another caller, that has to end first.

    Attributes:
        run_id: The live run, where it is known.
    """

    run_id: str | None = None


class RunInProgressError(ThreadBusyError):
    """A message, or a run, was refused because this agent's run is active; nothing was posted.

    Attributes:
        thread_id: The thread.
        run_id: The active run, ``None`` while it is being started.
    """

    def __init__(self, thread_id: str, run_id: str | None = None) -> None:
        self.thread_id = thread_id
        self.run_id = run_id
        name = f"run {run_id!r}" if run_id else "a run"
        super().__init__(
            f"{name} is in progress on thread {thread_id!r}; "
            'use when_busy="wait" or when_busy="queue", or wait() for its end'
        )


class RunNotInProgressError(GptAgentError):
    """There is no active run to cancel, or to submit a tool output to.

    Attributes:
        thread_id: The thread.
    """

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        super().__init__(f"no run is in progress on thread {thread_id!r}")


class AssistantNotSetError(GptAgentError):
    """A message cannot be run because the agent has no assistant.

    Attributes:
        thread_id: The thread.
    """

    def __init__(self, thread_id: str) -> None:
        self.thread_id = thread_id
        super().__init__(
            f"no assistant is set for thread {thread_id!r}; "
            "pass assistant_id to connect() or call set_default_assistant()"
        )


class AgentNotAliveError(GptAgentError):
    """The agent has stopped.

    Attributes:
        thread_id: The agent's thread.
        message_id: A message that was posted while the agent stopped, and has no run.
    """

    def __init__(self, thread_id: str, message_id: str | None = None) -> None:
        self.thread_id = thread_id
        self.message_id = message_id
        posted = f", after message {message_id!r} was posted" if message_id else ""
        super().__init__(
            f"the agent of thread {thread_id!r} has stopped{posted}; connect() gives a live one"
        )


class RunFailedError(GptAgentError):
    """The run that ``ask()`` began did not complete.

    Attributes:
        event: The run's closing event.
    """

    def __init__(self, event: RunFailed | RunCancelled) -> None:
        self.event = event
        if getattr(event, "in_doubt", False):
            self.in_doubt = True
        name = f"run {event.id!r}" if event.id else "a run that could not be started"
        status = getattr(event, "status", "cancelled")
        detail = ": ".join(
            text for text in (getattr(event, "code", None), getattr(event, "message", None)) if text
        )
        super().__init__(f"{name} ended as {status}" + (f" ({detail})" if detail else ""))


class WaitTimeoutError(GptAgentError, TimeoutError):
    """A bounded wait ran out; the run goes on.

    Attributes:
        thread_id: The thread.
        run_id: The run that was waited for, ``None`` when it had not been started.
        status: The run's last known status.
        age: Seconds since the turn began, ``None`` when there was none.
        tools: The tools whose outputs the run waits for.
    """

    def __init__(
        self,
        thread_id: str,
        run_id: str | None,
        status: str | None,
        age: float | None,
        tools: Sequence[str] = (),
    ) -> None:
        self.thread_id = thread_id
        self.run_id = run_id
        self.status = status
        self.age = age
        self.tools = tuple(tools)
        run = f"run {run_id!r}" if run_id else "no run yet"
        since = "" if age is None else f", {age:.1f} s old"
        waits = f"; it waits for the output of {', '.join(map(repr, tools))}" if tools else ""
        super().__init__(
            f"timed out waiting on thread {thread_id!r}: "
            f"{run}, last status {status or 'unknown'}{since}{waits}"
        )


class ToolRegistrationError(GptAgentError):
    """A handler cannot be offered as a tool.

    Attributes:
        tool: The tool's name, or the best description of the handler.
        reason: What is wrong, and how to put it right.
    """

    def __init__(self, tool: str, reason: str) -> None:
        self.tool = tool
        self.reason = reason
        super().__init__(f"cannot register tool {tool!r}: {reason}")


class ConfigurationError(GptAgentError):
    """A setting, a service argument or an installation is unusable."""


class ServiceError(GptAgentError):
    """The service refused or failed a request.

    Attributes:
        status: The HTTP status, ``None`` when there was no answer.
        code: The service's error code, such as ``"rate_limit_exceeded"``.
        message: The service's message, or what went wrong on the way.
        request_id: The service's id of the request, for a support case.
        in_doubt: Whether the service may have done it all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        in_doubt: bool = False,
    ) -> None:
        self.in_doubt = in_doubt
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        facts = [
            f"{name} {value}"
            for name, value in (("HTTP", status), ("code", code), ("request", request_id))
            if value is not None
        ]
        super().__init__(message + (f" [{', '.join(facts)}]" if facts else ""))


class AuthenticationError(ServiceError):
    """The key is missing, wrong, or not allowed to do this (401, 403)."""


class RequestRejectedError(ServiceError):
    """The service refused the request as it stands (other 4xx)."""


class OutputTooLongError(RequestRejectedError):
    """The service refused a tool's output as too long.

    Attributes:
        limit: The most bytes that it takes.
    """

    def __init__(self, message: str, *, limit: int, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.limit = limit


class ServiceBusyError(ServiceError, ThreadBusyError):
    """The service refused: the thread has a live run, or the conversation is locked.

    Attributes:
        run_id: The live run, where the service names it.
    """

    def __init__(self, message: str, *, run_id: str | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.run_id = run_id


class RateLimitError(ServiceError):
    """The service still answers 429 after the retries.

    Attributes:
        retry_after: Seconds the service asked to wait, where it did.
    """

    def __init__(self, message: str, *, retry_after: float | None = None, **facts: Any) -> None:
        super().__init__(message, **facts)
        self.retry_after = retry_after


class ServiceUnavailableError(ServiceError):
    """The service failed (5xx) or could not be reached, after the retries.

    Attributes:
        timed_out: Whether it may still be in progress: the answer did not come in time.
        retry_after: Seconds the service asked to wait, where it did.
    """

    def __init__(
        self,
        message: str,
        *,
        timed_out: bool = False,
        retry_after: float | None = None,
        **facts: Any,
    ) -> None:
        super().__init__(message, **facts)
        self.timed_out = timed_out
        self.retry_after = retry_after


class ProtocolError(ServiceError):
    """An answer is not JSON, or lacks what the wire promises."""


class JournalError(GptAgentError):
    """The journal could not be read or written; what was to be done there is not done.

    Attributes:
        journal: Which journal, such as the path of its file.
        action: What was to be done.
        reason: Why it could not be.
    """

    def __init__(self, journal: str, action: str, reason: str) -> None:
        self.journal = journal
        self.action = action
        self.reason = reason
        super().__init__(f"cannot {action} in the journal {journal}: {reason}")


class BackplaneError(GptAgentError):
    """The backplane could not be reached, or an owner did not answer; nothing was begun.

    Attributes:
        backplane: Which backplane.
        action: What was to be done.
        reason: Why it could not be.
    """

    def __init__(self, backplane: str, action: str, reason: str) -> None:
        self.backplane = backplane
        self.action = action
        self.reason = reason
        super().__init__(f"cannot {action} over the backplane {backplane}: {reason}")


def describe_error(error: BaseException) -> str:
    """Return an exception as text: its class and message; the class alone if ``str()`` raises."""
    name = type(error).__name__
    try:
        return f"{name}: {error}"
    except BaseException:
        return name
