"""The tools of assistants, and those that a run has to be given besides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from gpt_agent_sync.arguments import path_part
from gpt_agent_sync.errors import AuthenticationError, RequestRejectedError
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import AssistantDefinition, Pause, RunRequest
from gpt_agent_sync.services.assistants import wire
from gpt_agent_sync.services.http.answers import Answer

logger = get_logger(__name__)

SHOWN_RETRIES = 2
"""How often an assistant is asked for again that the server does not show."""


class AssistantTools:
    """The tools of the assistants that were met so far.

    Args:
        get: Reads a path, as ``RemoteService`` does.
    """

    def __init__(self, get: Callable[..., Answer]) -> None:
        self._get = get
        self._own: dict[str, Sequence[dict[str, Any]]] = {}
        self._given: dict[str, Sequence[dict[str, Any]]] = {}

    def given(self, assistant_id: str, definition: AssistantDefinition) -> None:
        """Note what an assistant was created with."""
        self._given[assistant_id] = wire.read_tools(wire.assistant_body(definition))

    def of_run(
        self, assistant_id: str, request: RunRequest, pause: Pause
    ) -> Sequence[dict[str, Any]] | None:
        """Return the run's tools when the assistant's own lack a handler, else ``None``."""
        if not request.tools:
            return None
        own = self._own.get(assistant_id)
        if own is None:
            # Kept for good: a request a run is too much for what hardly ever changes.
            own = self._own[assistant_id] = self._read(assistant_id, pause)
        return wire.tools_of_run(own, request.tools)

    def _read(self, assistant_id: str, pause: Pause) -> Sequence[dict[str, Any]]:
        """Return the assistant's own tools; where it is not shown, those that we gave it."""
        path = f"/assistants/{path_part(assistant_id)}"
        try:
            answer = self._get(path, pause=pause, known=True, retries=SHOWN_RETRIES)
        except (RequestRejectedError, AuthenticationError) as exc:
            # Not all servers show assistants, or to every key; their runs work all the same.
            given = self._given.get(assistant_id, ())
            logger.info(
                "assistant %s is taken to have the %d tools that it was created with here, "
                "besides the handlers, because: %s",
                *(assistant_id, len(given), exc),
            )
            return given
        return wire.read_tools(answer.data)
