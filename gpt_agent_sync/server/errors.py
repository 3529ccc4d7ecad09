"""Refusals as clients know them: the error object, and those of both wires."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from gpt_agent_sync.server.models.base import ContextLengthError, ModelError


class WireError(Exception):
    """A refusal, which is answered as an error object.

    Attributes:
        status: The HTTP status.
        message: The text.
        kind: The error's type.
        param: The parameter it is about.
        code: The error's code.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        kind: str = "invalid_request_error",
        param: str | None = None,
        code: str | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.message = message
        self.kind = kind
        self.param = param
        self.code = code

    def body(self) -> dict[str, Any]:
        """Return the JSON body."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error}


def missing(param: str) -> WireError:
    """Return the error for a body without a required parameter."""
    return WireError(
        400,
        f"Missing required parameter: '{param}'.",
        param=param,
        code="missing_required_parameter",
    )


def not_one_of(param: str, value: object, known: Iterable[str]) -> WireError:
    """Return the error for a value that is none of those there are."""
    supported = ", ".join(f"'{each}'" for each in known)
    return WireError(
        400,
        f"Invalid value: '{value}'. Supported values are: {supported}.",
        param=param,
        code="invalid_value",
    )


def not_answered(error: ModelError) -> WireError:
    """Return the error for a request whose model cannot answer."""
    if isinstance(error, ContextLengthError):
        return WireError(400, error.message, code="context_length_exceeded")
    if error.code == "rate_limit_exceeded":
        return WireError(429, error.message, kind="rate_limit_error", code=error.code)
    return WireError(502, error.message, kind="server_error", code=error.code)


def interrupted() -> WireError:
    """Return the error for a request that is ended before its model has answered."""
    return WireError(503, "The request was interrupted.", kind="server_error")


def unknown_model(model: str) -> WireError:
    """Return the error for a model that nobody serves."""
    return WireError(
        400,
        f"The requested model '{model}' does not exist.",
        param="model",
        code="model_not_found",
    )
