"""Refusals, in the words that clients of this wire know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any


class WireError(Exception):
    """Be answered as an error object.

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
        """Give the JSON body."""
        error = {"message": self.message, "type": self.kind, "param": self.param, "code": self.code}
        return {"error": error}


def not_found(kind: str, object_id: str) -> WireError:
    """Give the refusal of an id that is not there."""
    return WireError(404, f"No {kind} found with id '{object_id}'.")


def missing(param: str) -> WireError:
    """Give the refusal of a body without a required parameter."""
    return WireError(
        400,
        f"Missing required parameter: '{param}'.",
        param=param,
        code="missing_required_parameter",
    )


def messages_locked(thread_id: str, run_id: str) -> WireError:
    """Give the refusal of a message while a run is live."""
    return WireError(400, f"Can't add messages to {thread_id} while a run {run_id} is active.")


def run_active(thread_id: str, run_id: str) -> WireError:
    """Give the refusal of a second run."""
    return WireError(400, f"Thread {thread_id} already has an active run {run_id}.")


def not_waiting(status: str) -> WireError:
    """Give the refusal of outputs that no run waits for."""
    return WireError(400, f'Runs in status "{status}" do not accept tool outputs.')


def wrong_outputs(expected: Iterable[str], got: Iterable[str]) -> WireError:
    """Give the refusal of too few, too many or wrong outputs."""
    return WireError(
        400, f"Expected tool outputs for call_ids {list(expected)!r}, got {list(got)!r}"
    )


def cannot_cancel(status: str) -> WireError:
    """Give the refusal to cancel a run that is over."""
    return WireError(400, f"Cannot cancel run with status '{status}'.")


def unknown_model(model: str) -> WireError:
    """Give the refusal of a model that nobody serves."""
    return WireError(
        400,
        f"The requested model '{model}' does not exist.",
        param="model",
        code="model_not_found",
    )
