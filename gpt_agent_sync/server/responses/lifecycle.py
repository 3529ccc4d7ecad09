"""A response's way from status to status: pure functions from a response object to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt_agent_sync.server.responses.errors import cannot_cancel_final, cannot_cancel_foreground

LIVE = frozenset({"queued", "in_progress"})
"""The statuses in which a response locks its conversation."""

INPUT = "_input"
"""Where a response keeps its input items; not shown to clients."""

EXPIRES_AT = "_expires_at"
"""Where a response keeps the Unix time of its expiry, for which this wire has no field."""

STORED = "_stored"
"""Where a response keeps whether clients may read it again, and responses follow it."""

SAMPLING = "_sampling"
"""Where a response keeps what its client has said of sampling, which it shows with defaults."""

QUEUED_AT = "_queued_at"
"""Where a response keeps the Unix time since when it waits for, or has, its model."""

STREAMED = "_streamed"
"""Where a response keeps whether its stream may be resumed."""

_CUT_SHORT = {"max_completion_tokens": "max_output_tokens"}

Response = dict[str, Any]


def is_live(response: Response) -> bool:
    """Return whether the response locks its conversation."""
    return response["status"] in LIVE


def is_expired(response: Response, now: float) -> bool:
    """Return whether a live response is past its time."""
    return is_live(response) and now >= response[EXPIRES_AT]


def begun(response: Response) -> Response:
    """Return the response in progress."""
    return {**response, "status": "in_progress"}


def completed(
    response: Response, output: Sequence[Mapping[str, Any]], usage: Mapping[str, int], now: float
) -> Response:
    """Return the response completed; the next one answers the calls in its output."""
    return {
        **response,
        "status": "completed",
        "output": list(output),
        "usage": read_usage(usage),
        "completed_at": int(now),
    }


def incomplete(
    response: Response, output: Sequence[Mapping[str, Any]], usage: Mapping[str, int], reason: str
) -> Response:
    """Return the response cut short."""
    return {
        **response,
        "status": "incomplete",
        "output": list(output),
        "usage": read_usage(usage),
        "incomplete_details": {"reason": _CUT_SHORT.get(reason, reason)},
    }


def failed(response: Response, code: str, message: str) -> Response:
    """Return the response failed."""
    return {**response, "status": "failed", "error": {"code": code, "message": message}}


def expired(response: Response) -> Response:
    """Return the response failed for want of time."""
    # This wire has no status "expired".
    return failed(response, "server_error", "The response took too long.")


def cancelled(response: Response) -> Response:
    """Return the response cancelled, which it may be already; its output is dropped.

    Raises:
        WireError: If its status is another final one, or its caller waits for it.
    """
    if not response["background"]:
        raise cannot_cancel_foreground()
    # Cancelling again answers the same, so that a client may repeat a request that was lost.
    if response["status"] not in (*LIVE, "cancelled"):
        raise cannot_cancel_final(response["status"])
    return abandoned(response)


def abandoned(response: Response) -> Response:
    """Return the response cancelled, as nobody waits for it any more."""
    return {**response, "status": "cancelled", "output": []}


def read_usage(usage: Mapping[str, int]) -> dict[str, Any]:
    """Return a model's token counts in the wire's words."""
    return {
        "input_tokens": usage["prompt_tokens"],
        # Models do not count these, and OpenAI's types demand them.
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }
