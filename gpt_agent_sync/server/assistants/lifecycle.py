"""A run's way from status to status: pure functions from a run object to the next one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from gpt_agent_sync.server.assistants.errors import cannot_cancel, not_waiting, wrong_outputs

LIVE = frozenset({"queued", "in_progress", "requires_action", "cancelling"})
"""The statuses in which a run locks its thread."""

CANCELLABLE = frozenset({"queued", "in_progress", "requires_action"})

ROUNDS = "_rounds"
"""Where a run keeps its tool rounds; not shown to clients."""

QUEUED_AT = "_queued_at"
"""Where a run keeps the Unix time since when it waits for, or has, its model."""

Run = dict[str, Any]


def is_live(run: Run) -> bool:
    """Return whether the run locks its thread."""
    return run["status"] in LIVE


def is_expired(run: Run, now: float) -> bool:
    """Return whether a live run is past its time."""
    return is_live(run) and run["expires_at"] is not None and now >= run["expires_at"]


def begun(run: Run, now: float) -> Run:
    """Return the run in progress."""
    # A run begins again after each round of tools; it started once.
    return {**run, "status": "in_progress", "started_at": run["started_at"] or int(now)}


def waiting(
    run: Run, calls: list[dict[str, Any]], usage: Mapping[str, int], step_id: str | None = None
) -> Run:
    """Return the run waiting for the outputs of ``calls``, which are one step of it."""
    rounds = [*run[ROUNDS], {"calls": calls, "outputs": {}, "step": step_id}]
    action = {"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}}
    return {
        **run,
        "status": "requires_action",
        "required_action": action,
        ROUNDS: rounds,
        "_usage": _added(run["_usage"], usage),
    }


def answered(run: Run, outputs: Mapping[str, str], got: Iterable[str], now: float) -> Run:
    """Return the run queued again with the outputs of its calls.

    Raises:
        WireError: If it does not wait for outputs, or for other ones.
    """
    if run["status"] != "requires_action":
        raise not_waiting(run["status"])
    rounds = run[ROUNDS]
    expected = [call["id"] for call in rounds[-1]["calls"]]
    given = list(got)
    # In any order, but all of them at once and none twice: hence lists and not sets.
    if sorted(given) != sorted(expected):
        raise wrong_outputs(expected, given)
    answered_round = {**rounds[-1], "outputs": dict(outputs)}
    return {
        **run,
        "status": "queued",
        "required_action": None,
        QUEUED_AT: now,
        ROUNDS: [*rounds[:-1], answered_round],
    }


def completed(run: Run, usage: Mapping[str, int], now: float) -> Run:
    """Return the run completed."""
    return _final(run, "completed", usage, completed_at=int(now))


def failed(run: Run, code: str, message: str, now: float) -> Run:
    """Return the run failed."""
    error = {"code": code, "message": message}
    # Without usage of its own: models that fail do not say what it cost.
    return _final(run, "failed", {}, failed_at=int(now), last_error=error)


def incomplete(run: Run, reason: str, usage: Mapping[str, int]) -> Run:
    """Return the run cut short."""
    return _final(run, "incomplete", usage, incomplete_details={"reason": reason})


def expired(run: Run) -> Run:
    """Return the run expired."""
    return _final(run, "expired", {})


def cancelled(run: Run, now: float) -> Run:
    """Return the run cancelled."""
    return _final(run, "cancelled", {}, cancelled_at=int(now))


def cancelling(run: Run, now: float) -> Run:
    """Return the run on its way to cancelled; one that no model answers is cancelled at once.

    Raises:
        WireError: If its status is final.
    """
    if run["status"] not in CANCELLABLE:
        raise cannot_cancel(run["status"])
    # Only here a model may be answering, whose work then sees the status.
    if run["status"] == "in_progress":
        return {**run, "status": "cancelling"}
    return cancelled(run, now)


def _final(run: Run, status: str, usage: Mapping[str, int], **fields: Any) -> Run:
    spent = _added(run["_usage"], usage)
    return {
        **run,
        "status": status,
        "required_action": None,
        # Null once final, as on the real wire, and so is the usage before.
        "expires_at": None,
        "usage": spent,
        "_usage": spent,
        **fields,
    }


def _added(spent: Mapping[str, int], usage: Mapping[str, int]) -> dict[str, int]:
    return {name: spent[name] + usage.get(name, 0) for name in spent}
