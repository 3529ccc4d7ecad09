"""What an agent is asked by another process, and what that gets for an answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from gpt_agent_sync import errors
from gpt_agent_sync.errors import GptAgentError, RunNotInProgressError, ServiceError
from gpt_agent_sync.logs import get_logger

if TYPE_CHECKING:
    from gpt_agent_sync.agent.agent import Agent

logger = get_logger(__name__)

DONE: Mapping[str, Any] = {"done": True}


def answer(agent: Agent, request: Mapping[str, Any]) -> Mapping[str, Any]:
    """Do what another process asks, and return the answer: done, or the error."""
    verb = _VERBS.get(str(request.get("verb")))
    if verb is None:
        return _failure(ServiceError(f"this version knows no {request.get('verb')!r}"))
    try:
        verb(agent, request)
    except GptAgentError as exc:
        return _failure(exc)
    except Exception as exc:
        logger.exception("another process asked for %s, and that failed", request.get("verb"))
        return _failure(ServiceError(f"{type(exc).__name__}: {exc}"))
    return DONE


def too_late(thread_id: str) -> Mapping[str, Any]:
    """Return the answer to a request about a turn that has ended."""
    return _failure(RunNotInProgressError(thread_id))


def read(found: Mapping[str, Any]) -> None:
    """Read an answer.

    Raises:
        GptAgentError: What the verb has raised in the process that runs the turn.
    """
    failed = found.get("error")
    if failed is None:
        return
    error_class = getattr(errors, str(failed["class"]), ServiceError)
    if not (isinstance(error_class, type) and issubclass(error_class, GptAgentError)):
        error_class = ServiceError
    error = error_class.__new__(error_class)  # past __init__, whose arguments are not kept
    error.args = (failed["text"],)
    vars(error).update(failed["fields"])
    raise error


def _failure(error: GptAgentError) -> Mapping[str, Any]:
    fields = {name: value for name, value in vars(error).items() if _is_json(value)}
    return {"error": {"class": type(error).__name__, "text": str(error), "fields": fields}}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True


_VERBS: dict[str, Callable[[Agent, Mapping[str, Any]], object]] = {
    "cancel_run": lambda agent, request: agent.cancel_run(),
    "submit_tool_output": lambda agent, request: agent.submit_tool_output(
        request["tool_call_id"], request["output"]
    ),
    "rerun_tool_call": lambda agent, request: agent.rerun_tool_call(request["tool_call_id"]),
}
