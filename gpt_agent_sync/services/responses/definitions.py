"""Assistants that live in the program: the Responses wire keeps none."""

from __future__ import annotations

import uuid
from collections.abc import Hashable

from gpt_agent_sync.errors import (
    AssistantNotSetError,
    ConfigurationError,
    RequestRejectedError,
)
from gpt_agent_sync.records import AssistantDefinition, RunOptions, RunRequest
from gpt_agent_sync.services.responses.bodies import check_definition
from gpt_agent_sync.services.responses.chain import ResponseChain
from gpt_agent_sync.services.responses.wire import read_assistant, read_options

ASSISTANT_PREFIX = "asst_"
"""What ids begin with that are not a model's name."""


class RegisteredAssistants:
    """Assistants by their ids; safe to share between threads."""

    def __init__(self) -> None:
        self._by_id: dict[str, AssistantDefinition] = {}

    def add(self, definition: AssistantDefinition) -> str:
        """Keep a definition under a new id, and return that; refused as by ``put()``."""
        assistant_id = f"{ASSISTANT_PREFIX}{uuid.uuid4().hex}"
        self.put(assistant_id, definition)
        return assistant_id

    def put(self, assistant_id: str, definition: AssistantDefinition) -> None:
        """Keep a definition under an id, in place of what was there.

        Raises:
            ConfigurationError: If a tool of it cannot be used on this wire.
        """
        check_definition(definition)
        self._by_id[assistant_id] = definition

    def require(self, assistant_id: str | None) -> AssistantDefinition:
        """Return the assistant of an id; what is none is the name of a model.

        Raises:
            ConfigurationError: If it is an assistant's id that nobody registered.
        """
        if assistant_id is None:
            raise ConfigurationError("there is no assistant to run")
        known = self._by_id.get(assistant_id)
        if known is not None:
            return known
        # Sent as a model's name it would be refused in words that say nothing of assistants.
        if assistant_id.startswith(ASSISTANT_PREFIX):
            raise ConfigurationError(
                f"assistant {assistant_id!r} is not known here: on the Responses wire assistants "
                f"live in the program; call register_assistant({assistant_id!r}, model=..., ...) "
                "of the service when the program starts"
            )
        return AssistantDefinition(model=assistant_id)

    def of_run(
        self, request: RunRequest, chain: ResponseChain
    ) -> tuple[AssistantDefinition, RunOptions]:
        """Return the assistant and the options of a run that goes on.

        A run that another process began goes on with what its last response was created with.

        Raises:
            ConfigurationError: If its assistant is not registered, and no response shows it.
            AssistantNotSetError: If it is not known which assistant it is.
        """
        parameters = chain.parameters
        # This process may have the assistant registered otherwise, or not at all: a run goes on as
        # it was begun.
        if parameters and parameters.get("model"):
            return read_assistant(parameters), read_options(parameters)
        assistant_id = request.assistant_id or chain.assistant_id
        if assistant_id is None:
            raise AssistantNotSetError(request.thread_id)
        return self.require(assistant_id), request.options

    def explained(
        self, refusal: RequestRejectedError, assistant_id: str | None
    ) -> RequestRejectedError:
        """Return a refusal; that of a model with a word on how its name came about."""
        if refusal.code != "model_not_found" or assistant_id in self._by_id:
            return refusal
        return RequestRejectedError(
            f"{refusal.message} ({assistant_id!r} is not registered as an assistant either: "
            "register_assistant() of the service does that)",
            status=refusal.status,
            code=refusal.code,
            request_id=refusal.request_id,
        )


_shared: dict[Hashable, RegisteredAssistants] = {}


def registered_assistants(identity: Hashable) -> RegisteredAssistants:
    """Return the assistants that all services of one identity share.

    Equal services share their agents, so that an agent may run an assistant which was
    registered with another object than its own. They are kept as long as the process lives:
    held by their services, those of a program that makes one a request would be lost.
    """
    return _shared.setdefault(identity, RegisteredAssistants())
