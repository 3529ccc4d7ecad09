"""The routes of assistants."""

from __future__ import annotations

from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from gpt_agent_sync.server.assistants import bodies
from gpt_agent_sync.server.assistants.errors import not_found
from gpt_agent_sync.server.bodies import read_body, read_fields, read_json, read_query
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.errors import missing
from gpt_agent_sync.server.listing import deleted, list_page, require
from gpt_agent_sync.server.storage.collection import Connection, Object, new_id
from gpt_agent_sync.server.strict_json import respond


def register(blueprint: Blueprint, engine: Engine) -> None:
    """Add the routes to ``blueprint``."""
    storage = engine.storage

    @blueprint.post("/assistants")
    def create_assistant() -> Response:
        fields = read_body(request.get_data(), bodies.AssistantFields)
        bodies.check_assistant(fields)
        if fields.model is None:
            raise missing("model")
        # Checked and not resolved: "default" is what the server says at the time of each run.
        engine.resolve_model(fields.model)
        assistant = {
            "id": new_id("asst"),
            "object": "assistant",
            "created_at": int(engine.clock()),
            **_assistant_fields(fields),
        }
        with storage.write() as connection:
            storage.assistants.insert(connection, assistant)
        return respond(assistant)

    @blueprint.get("/assistants")
    def list_assistants() -> Response:
        query = read_query(request.args)
        with storage.read() as connection:
            return list_page(storage.assistants, connection, query, partial(not_found, "assistant"))

    @blueprint.get("/assistants/<assistant_id>")
    def get_assistant(assistant_id: str) -> Response:
        with storage.read() as connection:
            return respond(require_assistant(engine, connection, assistant_id))

    @blueprint.post("/assistants/<assistant_id>")
    def update_assistant(assistant_id: str) -> Response:
        data = read_json(request.get_data(), optional=True)
        fields = read_fields(data, bodies.AssistantFields)
        bodies.check_assistant(fields)
        if fields.model is not None:
            engine.resolve_model(fields.model)
        # Only what the body names changes: null sets a field back, and one left out stays.
        given = {name: value for name, value in _assistant_fields(fields).items() if name in data}
        # The model alone cannot be set back: an assistant has one.
        if fields.model is None:
            given.pop("model", None)
        with storage.write() as connection:
            assistant = {**require_assistant(engine, connection, assistant_id), **given}
            storage.assistants.update(connection, assistant)
            return respond(assistant)

    @blueprint.delete("/assistants/<assistant_id>")
    def delete_assistant(assistant_id: str) -> Response:
        with storage.write() as connection:
            require_assistant(engine, connection, assistant_id)
            storage.assistants.delete(connection, assistant_id)
        return deleted(assistant_id, "assistant.deleted")


def require_assistant(engine: Engine, connection: Connection, assistant_id: str) -> Object:
    """Return an assistant.

    Raises:
        WireError: If it is not there.
    """
    assistant = engine.storage.assistants.get(connection, assistant_id)
    return require(assistant, not_found("assistant", assistant_id))


def _assistant_fields(fields: bodies.AssistantFields) -> dict[str, Any]:
    return {
        "name": fields.name,
        "description": fields.description,
        "model": fields.model,
        "instructions": fields.instructions,
        "tools": fields.tools or [],
        "tool_resources": fields.tool_resources or {},
        "metadata": fields.metadata or {},
        "temperature": fields.temperature,
        "top_p": fields.top_p,
        "response_format": fields.response_format or "auto",
        "reasoning_effort": fields.reasoning_effort,
    }
