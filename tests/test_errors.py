"""Errors: one hierarchy, messages built from fields, fields to read, and no keys in them."""

from __future__ import annotations

import copy
import pickle

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync import errors
from gpt_agent_sync.errors import GptAgentError, ServiceError

FAILED = gpt.RunFailed(
    thread_id="t", id="run_1", assistant_id="a", status="failed", code="boom", message="It broke."
)
CANCELLED = gpt.RunCancelled(thread_id="t", id="run_1", assistant_id="a")
FACTS = {"status": 429, "code": "slow_down", "request_id": "req_1"}

ERRORS: list[GptAgentError] = [
    errors.BlankValueError("content", " "),
    errors.InvalidThreadIdError("t", "it is gone"),
    errors.BlankThreadIdError(" "),
    errors.InvalidToolCallIdError("call_1", ["call_2", "call_3"]),
    errors.ThreadBusyError("busy"),
    errors.RunInProgressError("t", "run_1"),
    errors.RunNotInProgressError("t"),
    errors.AssistantNotSetError("t"),
    errors.AgentNotAliveError("t"),
    errors.RunFailedError(FAILED),
    errors.WaitTimeoutError("t", "run_1", "queued", 1.5),
    errors.ToolRegistrationError("add", "the name is taken"),
    errors.ConfigurationError("no such setting"),
    errors.ServiceError("no", status=500, code="oops", request_id="req_1"),
    errors.AuthenticationError("no", status=401),
    errors.RequestRejectedError("no", status=400),
    errors.OutputTooLongError("no", status=400, limit=100),
    errors.ServiceBusyError("no", status=409, run_id="run_1"),
    errors.RateLimitError("no", status=429, retry_after=2.0),
    errors.ServiceUnavailableError("no", in_doubt=True),
    errors.ProtocolError("no", status=200),
    errors.JournalError("calls.db", "claim call 'call_1'", "disk full"),
    errors.BackplaneError("redis", "take the lease", "timed out"),
]


@pytest.mark.parametrize(
    "error, bases",
    [
        (errors.GptAgentError, (Exception,)),
        (errors.BlankValueError, (GptAgentError, ValueError)),
        (errors.InvalidThreadIdError, (GptAgentError, LookupError)),
        (errors.BlankThreadIdError, (errors.InvalidThreadIdError, errors.BlankValueError)),
        (errors.InvalidToolCallIdError, (GptAgentError, LookupError)),
        (errors.ThreadBusyError, (GptAgentError,)),
        (errors.RunInProgressError, (errors.ThreadBusyError,)),
        (errors.RunNotInProgressError, (GptAgentError,)),
        (errors.AssistantNotSetError, (GptAgentError,)),
        (errors.AgentNotAliveError, (GptAgentError,)),
        (errors.RunFailedError, (GptAgentError,)),
        (errors.WaitTimeoutError, (GptAgentError, TimeoutError)),
        (errors.ToolRegistrationError, (GptAgentError,)),
        (errors.ConfigurationError, (GptAgentError,)),
        (errors.ServiceError, (GptAgentError,)),
        (errors.AuthenticationError, (ServiceError,)),
        (errors.RequestRejectedError, (ServiceError,)),
        (errors.ServiceBusyError, (ServiceError, errors.ThreadBusyError)),
        (errors.RateLimitError, (ServiceError,)),
        (errors.ServiceUnavailableError, (ServiceError,)),
        (errors.ProtocolError, (ServiceError,)),
        (errors.JournalError, (GptAgentError,)),
        (errors.BackplaneError, (GptAgentError,)),
    ],
)
def test_hierarchy(error: type[Exception], bases: tuple[type[Exception], ...]) -> None:
    """Each error has the bases of the design."""
    assert error.__bases__ == bases


def test_table_is_complete() -> None:
    """Every error below the root is in the table that these tests go through."""
    defined = {
        error
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, GptAgentError)
    }
    assert {type(error) for error in ERRORS} == defined - {GptAgentError}


@pytest.mark.parametrize("error", [GptAgentError, *map(type, ERRORS)])
def test_public(error: type[GptAgentError]) -> None:
    """Every error can be had from the package itself."""
    assert getattr(gpt, error.__name__) is error
    assert error.__name__ in gpt.__all__


@pytest.mark.parametrize(
    "error, text",
    [
        (errors.BlankValueError("content", None), "content must be a non-blank string, not None"),
        (
            errors.InvalidThreadIdError("t"),
            "invalid thread id 't': the service does not know it",
        ),
        (errors.InvalidThreadIdError("t", "it is gone"), "invalid thread id 't': it is gone"),
        (
            errors.InvalidToolCallIdError("call_1"),
            "no unanswered tool call 'call_1'; waiting for: none",
        ),
        (
            errors.InvalidToolCallIdError("call_1", ["call_2", "call_3"]),
            "no unanswered tool call 'call_1'; waiting for: 'call_2', 'call_3'",
        ),
        (
            errors.RunInProgressError("t", "run_1"),
            "run 'run_1' is in progress on thread 't'; "
            'use when_busy="wait" or when_busy="queue", or wait() for its end',
        ),
        (
            errors.RunInProgressError("t"),
            "a run is in progress on thread 't'; "
            'use when_busy="wait" or when_busy="queue", or wait() for its end',
        ),
        (errors.RunNotInProgressError("t"), "no run is in progress on thread 't'"),
        (
            errors.AssistantNotSetError("t"),
            "no assistant is set for thread 't'; "
            "pass assistant_id to connect() or call set_default_assistant()",
        ),
        (
            errors.AgentNotAliveError("t"),
            "the agent of thread 't' has stopped; connect() gives a live one",
        ),
        (errors.RunFailedError(FAILED), "run 'run_1' ended as failed (boom: It broke.)"),
        (
            errors.RunFailedError(attrs.evolve(FAILED, id=None, code=None)),
            "a run that could not be started ended as failed (It broke.)",
        ),
        (
            errors.RunFailedError(attrs.evolve(FAILED, status="expired", code=None, message=None)),
            "run 'run_1' ended as expired",
        ),
        (errors.RunFailedError(CANCELLED), "run 'run_1' ended as cancelled"),
        (
            errors.WaitTimeoutError("t", "run_1", "queued", 1.54),
            "timed out waiting on thread 't': run 'run_1', last status queued, 1.5 s old",
        ),
        (
            errors.WaitTimeoutError("t", None, None, None),
            "timed out waiting on thread 't': no run yet, last status unknown",
        ),
        (
            errors.ToolRegistrationError("add", "the name is taken"),
            "cannot register tool 'add': the name is taken",
        ),
        (errors.ConfigurationError("no such setting"), "no such setting"),
        (errors.ServiceError("no"), "no"),
        (errors.ServiceError("no", status=500), "no [HTTP 500]"),
        (errors.ServiceError("no", code="oops"), "no [code oops]"),
        (
            errors.ServiceError("no", status=500, code="oops", request_id="req_1"),
            "no [HTTP 500, code oops, request req_1]",
        ),
    ],
)
def test_message(error: GptAgentError, text: str) -> None:
    """The message is built from the fields."""
    assert str(error) == text


@pytest.mark.parametrize(
    "error, fields",
    [
        (errors.BlankValueError("content", 7), {"name": "content", "value": 7}),
        (errors.InvalidThreadIdError("t", "why"), {"thread_id": "t", "reason": "why"}),
        (
            errors.InvalidToolCallIdError("call_1", ["call_2"]),
            {"tool_call_id": "call_1", "waiting": ("call_2",)},
        ),
        (errors.RunInProgressError("t", "run_1"), {"thread_id": "t", "run_id": "run_1"}),
        (errors.RunNotInProgressError("t"), {"thread_id": "t"}),
        (errors.AssistantNotSetError("t"), {"thread_id": "t"}),
        (errors.AgentNotAliveError("t"), {"thread_id": "t", "message_id": None}),
        (errors.AgentNotAliveError("t", "m"), {"thread_id": "t", "message_id": "m"}),
        (errors.RunFailedError(FAILED), {"event": FAILED}),
        (
            errors.WaitTimeoutError("t", "run_1", "queued", 1.5),
            {"thread_id": "t", "run_id": "run_1", "status": "queued", "age": 1.5, "tools": ()},
        ),
        (errors.ToolRegistrationError("add", "why"), {"tool": "add", "reason": "why"}),
    ],
)
def test_fields(error: GptAgentError, fields: dict[str, object]) -> None:
    """The fields can be read from the error."""
    assert vars(error) == fields


@pytest.mark.parametrize(
    "error",
    [
        errors.ServiceError,
        errors.AuthenticationError,
        errors.RequestRejectedError,
        errors.ServiceBusyError,
        errors.RateLimitError,
        errors.ServiceUnavailableError,
        errors.ProtocolError,
    ],
)
def test_fields_of_service_errors(error: type[ServiceError]) -> None:
    """Every service error tells status, code, message and request id."""
    raised = error("no", status=429, code="slow_down", request_id="req_1")
    assert {name: getattr(raised, name) for name in ("message", *FACTS)} == {
        "message": "no",
        **FACTS,
    }


@pytest.mark.parametrize(
    "error, name, value",
    [
        (errors.ServiceBusyError("no"), "run_id", None),
        (errors.ServiceBusyError("no", run_id="run_1"), "run_id", "run_1"),
        (errors.RateLimitError("no"), "retry_after", None),
        (errors.RateLimitError("no", retry_after=2.5), "retry_after", 2.5),
        (errors.ServiceUnavailableError("no"), "in_doubt", False),
        (errors.ServiceUnavailableError("no", in_doubt=True), "in_doubt", True),
    ],
)
def test_further_fields(error: ServiceError, name: str, value: object) -> None:
    """Some service errors tell more, and nothing where it is not known."""
    assert getattr(error, name) == value


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_pickling(error: GptAgentError) -> None:
    """An error keeps class, text and fields on its way to another process."""
    back = pickle.loads(pickle.dumps(error))
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_copying(error: GptAgentError) -> None:
    """A copy of an error has its text and fields."""
    back = copy.copy(error)
    assert (type(back), str(back), vars(back)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("key", ["sk secret", "sk-secret\nX-Evil: 1", "sk-secretü", " \n", ""])
def test_unusable_keys_are_not_shown(key: str) -> None:
    """The error about an unusable key does not show the key."""
    with pytest.raises(gpt.ConfigurationError, match=r"^api_key ") as caught:
        gpt.AssistantsService("http://127.0.0.1/v1", key)
    assert "secret" not in f"{caught.value!r} {caught.value}"


@pytest.mark.parametrize("key", [b"sk-secret", ["sk-secret"], {"key": "sk-secret"}])
def test_keys_of_the_wrong_type_are_not_shown(key: object) -> None:
    """The error about a key that is no text does not show it either."""
    with pytest.raises(gpt.ConfigurationError, match=r"^api_key ") as caught:
        gpt.AssistantsService("http://127.0.0.1/v1", key)  # type: ignore[arg-type]  # the point
    assert "secret" not in f"{caught.value!r} {caught.value}"


def test_key_from_the_environment_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error about an unusable ``OPENAI_API_KEY`` does not show it."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1/v1")
    with pytest.raises(gpt.ConfigurationError, match=r"^api_key ") as caught:
        gpt.AssistantsService()
    assert "secret" not in f"{caught.value!r} {caught.value}"
