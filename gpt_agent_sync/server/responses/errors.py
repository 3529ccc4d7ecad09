"""Refusals of the Responses wire, in the words that its clients know."""

from __future__ import annotations

from gpt_agent_sync.server.errors import WireError

_ARTICLES = {"incomplete": "an"}
"""The articles of statuses that do not take ``a``."""


def conversation_not_found(conversation_id: str) -> WireError:
    """Return the error for a conversation that is not there."""
    return WireError(404, f"Conversation with id '{conversation_id}' not found.")


def item_not_found(item_id: str) -> WireError:
    """Return the error for an item that is not there."""
    return WireError(404, f"Item with id '{item_id}' not found.")


def response_not_found(response_id: str) -> WireError:
    """Return the error for a response that is not there."""
    return WireError(404, f"Response with id '{response_id}' not found.")


def previous_response_not_found(response_id: str) -> WireError:
    """Return the error for a previous response that is not there."""
    return WireError(
        400,
        f"Previous response with id '{response_id}' not found.",
        param="previous_response_id",
        code="previous_response_not_found",
    )


def malformed_id(param: str, value: str, prefix: str) -> WireError:
    """Return the error for what cannot be an id."""
    return WireError(
        400,
        f"Invalid '{param}': '{value}'. Expected an ID that begins with '{prefix}'.",
        param=param,
        code="invalid_value",
    )


def conversation_locked() -> WireError:
    """Return the error for a response while another one is live in the conversation."""
    return WireError(
        400,
        "Another process is currently operating on this conversation. "
        "Please retry in a few seconds.",
        param="conversation",
        code="conversation_locked",
    )


def mutually_exclusive() -> WireError:
    """Return the error for two histories at once."""
    return WireError(
        400,
        "Mutually exclusive parameters: 'previous_response_id' and 'conversation' "
        "cannot be used together.",
        code="mutually_exclusive_parameters",
    )


def no_tool_output(call_id: str) -> WireError:
    """Return the error for input that leaves a call without output."""
    return WireError(400, f"No tool output found for function call {call_id}.", param="input")


def no_tool_call(call_id: str) -> WireError:
    """Return the error for an output that no call waits for."""
    return WireError(
        400,
        f"No tool call found for function call output with call_id {call_id}.",
        param="input",
    )


def not_streamed() -> WireError:
    """Return the error for an attempt to stream a response that no background has streamed."""
    return WireError(
        400,
        "This response cannot be streamed because it was not created with background=true.",
        param="stream",
    )


def stream_gone() -> WireError:
    """Return the error for a stream that ended too long ago to be read again."""
    return WireError(
        400,
        "The stream of this response ended too long ago: retrieve the response without stream.",
        param="stream",
    )


def duplicate_item(item_id: str) -> WireError:
    """Return the error for an item that is there already."""
    return WireError(
        400,
        f"Duplicate item found with id {item_id}. "
        "Remove duplicate items from your input and try again.",
        param="input",
    )


def too_many_items(count: int, limit: int) -> WireError:
    """Return the error for more items than a request may add."""
    return WireError(
        400,
        f"Invalid 'items': array too long. Expected an array with maximum length {limit}, "
        f"but got an array with length {count} instead.",
        param="items",
        code="array_above_max_length",
    )


def cannot_cancel_final(status: str) -> WireError:
    """Return the error for an attempt to cancel a response in a final status."""
    return WireError(400, f"Cannot cancel {_ARTICLES.get(status, 'a')} {status} response.")


def cannot_cancel_foreground() -> WireError:
    """Return the error for an attempt to cancel a response that its caller waits for."""
    return WireError(400, "Cannot cancel a synchronous response.")
