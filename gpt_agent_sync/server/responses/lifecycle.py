"""How responses go from status to status: pure functions from a response object to the next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpt_agent_sync.server.responses.errors import cannot_cancel_final, cannot_cancel_foreground

LIVE = frozenset({"queued", "in_progress"})

INPUT = "_input"
"""Where a response keeps its input items; not shown to clients."""

EXPIRES_AT = "_expires_at"
STORED = "_stored"

_CUT_SHORT = {"max_completion_tokens": "max_output_tokens"}

Response = dict[str, Any]


def is_live(response: Response) -> bool:
    """Tell whether the response holds its conversation."""
    return response["status"] in LIVE


def is_expired(response: Response, now: float) -> bool:
    """Tell whether a live response is past its time."""
    return is_live(response) and now >= response[EXPIRES_AT]


def begun(response: Response) -> Response:
    """Give the response at work."""
    return {**response, "status": "in_progress"}


def completed(
    response: Response, output: Sequence[Mapping[str, Any]], usage: Mapping[str, int], now: float
) -> Response:
    """Give the response completed; calls in its output wait for the next one."""
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
    """Give the response cut short."""
    return {
        **response,
        "status": "incomplete",
        "output": list(output),
        "usage": read_usage(usage),
        "incomplete_details": {"reason": _CUT_SHORT.get(reason, reason)},
    }


def failed(response: Response, code: str, message: str) -> Response:
    """Give the response failed."""
    return {**response, "status": "failed", "error": {"code": code, "message": message}}


def expired(response: Response) -> Response:
    """Give the response out of time."""
    return failed(response, "server_error", "The response took too long.")


def cancelled(response: Response) -> Response:
    """Give the response cancelled, which it may be already; its output is dropped.

    Raises:
        WireError: If it is over, or its caller waits for it.
    """
    if not response["background"]:
        raise cannot_cancel_foreground()
    if response["status"] not in (*LIVE, "cancelled"):
        raise cannot_cancel_final(response["status"])
    return {**response, "status": "cancelled", "output": []}


def read_usage(usage: Mapping[str, int]) -> dict[str, Any]:
    """Spell a model's token counts as this wire does."""
    return {
        "input_tokens": usage["prompt_tokens"],
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage["completion_tokens"],
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage["total_tokens"],
    }
