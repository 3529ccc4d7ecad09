"""Refusals of the Assistants wire, in the words that its clients know."""

from __future__ import annotations

from collections.abc import Iterable

from gpt_agent_sync.server.errors import WireError


def not_found(kind: str, object_id: str) -> WireError:
    """Return the error for an id that is not there."""
    return WireError(404, f"No {kind} found with id '{object_id}'.")


def messages_locked(thread_id: str, run_id: str) -> WireError:
    """Return the error for a message while a run is live."""
    return WireError(400, f"Can't add messages to {thread_id} while a run {run_id} is active.")


def run_active(thread_id: str, run_id: str) -> WireError:
    """Return the error for a second run."""
    return WireError(400, f"Thread {thread_id} already has an active run {run_id}.")


def not_waiting(status: str) -> WireError:
    """Return the error for outputs that no run waits for."""
    return WireError(400, f'Runs in status "{status}" do not accept tool outputs.')


def wrong_outputs(expected: Iterable[str], got: Iterable[str]) -> WireError:
    """Return the error for too few, too many or wrong outputs."""
    return WireError(
        400, f"Expected tool outputs for call_ids {list(expected)!r}, got {list(got)!r}"
    )


def cannot_cancel(status: str) -> WireError:
    """Return the error for an attempt to cancel a run in a final status."""
    return WireError(400, f"Cannot cancel run with status '{status}'.")
