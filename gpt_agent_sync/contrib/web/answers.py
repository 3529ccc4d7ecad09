"""Answers of the HTTP face as values, and what errors become; pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from gpt_agent_sync.errors import (
    AgentNotAliveError,
    BackplaneError,
    BlankValueError,
    GptAgentError,
    InvalidThreadIdError,
    InvalidToolCallIdError,
    JournalError,
    RateLimitError,
    RunNotInProgressError,
    ServiceError,
    ServiceUnavailableError,
    ThreadBusyError,
)


@attrs.frozen
class Answer:
    """An answer in JSON.

    Attributes:
        status: Its HTTP status.
        body: A JSON object.
        headers: Further headers.
    """

    status: int
    body: Mapping[str, Any] = attrs.field(factory=dict)
    headers: Mapping[str, str] = attrs.field(factory=dict)


class Refusal(Exception):
    """A request that is refused.

    Args:
        status: The HTTP status.
        kind: A name for programs.
        message: Words for people, which hold nothing that is not the client's to know.
    """

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.answer = refusal(status, kind, message)


def refusal(status: int, kind: str, message: str, *, in_doubt: bool = False) -> Answer:
    """Return the answer of a request that is refused."""
    error = {"type": kind, "message": message, "in_doubt": in_doubt}
    headers = {"Retry-After": "1"} if status == 503 else {}
    return Answer(status, {"error": error}, headers)


# From the particular to the general. Words of services and backplanes tell of hosts and accounts:
# they are for the log.
_REFUSALS: Mapping[type[GptAgentError], tuple[int, str]] = {
    InvalidThreadIdError: (404, "there is no such conversation"),
    InvalidToolCallIdError: (404, "the run does not wait for this tool call"),
    BlankValueError: (400, "a value is blank"),
    ThreadBusyError: (409, "an answer is still being written"),
    RunNotInProgressError: (409, "no answer is being written"),
    AgentNotAliveError: (503, "the server is stopping; try again"),
    BackplaneError: (503, "the server cannot do this now; try again"),
    JournalError: (503, "the server cannot do this now; try again"),
    RateLimitError: (503, "the assistant's service is busy; try again later"),
    ServiceUnavailableError: (503, "the assistant's service cannot be reached; try again"),
    ServiceError: (502, "the assistant's service refused"),
}

_ANSWERED_ELSEWHERE = (400, 404, 409)


def answer_to(error: GptAgentError) -> Answer:
    """Return the answer to a request that met an error."""
    fitting = (told for error_class, told in _REFUSALS.items() if isinstance(error, error_class))
    status, message = next(fitting, (500, "the server is not set up to do this"))
    return refusal(status, type(error).__name__, message, in_doubt=error.in_doubt)


def is_the_clients(answer: Answer) -> bool:
    """Return whether what went wrong is the client's to know, and nobody else's."""
    return answer.status in _ANSWERED_ELSEWHERE
