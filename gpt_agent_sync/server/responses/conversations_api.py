"""The routes of conversations and their items."""

from __future__ import annotations

from collections.abc import Sequence

from flask import Blueprint, Response, request

from gpt_agent_sync.server.bodies import Json, read_body, read_query
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.listing import deleted, list_object, list_page, require
from gpt_agent_sync.server.responses import input_items, items
from gpt_agent_sync.server.responses.bodies import (
    ConversationChanges,
    ConversationFields,
    ItemsFields,
)
from gpt_agent_sync.server.responses.errors import (
    conversation_not_found,
    item_not_found,
    malformed_id,
    too_many_items,
)
from gpt_agent_sync.server.storage.collection import Connection, Object, new_id
from gpt_agent_sync.server.strict_json import respond


def register(blueprint: Blueprint, engine: Engine) -> None:
    """Add the routes to ``blueprint``."""
    _register_conversations(blueprint, engine)
    _register_items(blueprint, engine)


def _register_conversations(blueprint: Blueprint, engine: Engine) -> None:
    storage = engine.storage

    @blueprint.post("/conversations")
    def create_conversation() -> Response:
        fields = read_body(request.get_data(), ConversationFields, optional=True)
        conversation: Object = {
            "id": new_id("conv"),
            "object": "conversation",
            "created_at": int(engine.clock()),
            "metadata": fields.metadata or {},
        }
        with storage.write() as connection:
            storage.conversations.insert(connection, conversation)
            _insert_items(engine, connection, conversation["id"], fields.items or ())
        return respond(conversation)

    @blueprint.get("/conversations/<conversation_id>")
    def get_conversation(conversation_id: str) -> Response:
        with storage.read() as connection:
            return respond(require_conversation(engine, connection, conversation_id))

    @blueprint.post("/conversations/<conversation_id>")
    def update_conversation(conversation_id: str) -> Response:
        fields = read_body(request.get_data(), ConversationChanges)
        with storage.write() as connection:
            conversation = require_conversation(engine, connection, conversation_id, lock=True)
            conversation = {**conversation, "metadata": fields.metadata}
            storage.conversations.update(connection, conversation)
            return respond(conversation)

    @blueprint.delete("/conversations/<conversation_id>")
    def delete_conversation(conversation_id: str) -> Response:
        with storage.write() as connection:
            require_conversation(engine, connection, conversation_id, lock=True)
            storage.items.delete_of(connection, conversation_id)
            storage.conversations.delete(connection, conversation_id)
        return deleted(conversation_id, "conversation.deleted")


def _register_items(blueprint: Blueprint, engine: Engine) -> None:
    storage = engine.storage

    @blueprint.post("/conversations/<conversation_id>/items")
    def create_items(conversation_id: str) -> Response:
        fields = read_body(request.get_data(), ItemsFields)
        with storage.write() as connection:
            require_conversation(engine, connection, conversation_id, lock=True)
            return respond(
                list_object(_insert_items(engine, connection, conversation_id, fields.items))
            )

    @blueprint.get("/conversations/<conversation_id>/items")
    def list_items(conversation_id: str) -> Response:
        query = read_query(request.args)
        with storage.read() as connection:
            require_conversation(engine, connection, conversation_id)
            return list_page(storage.items, connection, query, item_not_found, conversation_id)

    @blueprint.get("/conversations/<conversation_id>/items/<item_id>")
    def get_item(conversation_id: str, item_id: str) -> Response:
        with storage.read() as connection:
            return respond(require_item(connection, conversation_id, item_id))

    @blueprint.delete("/conversations/<conversation_id>/items/<item_id>")
    def delete_item(conversation_id: str, item_id: str) -> Response:
        with storage.write() as connection:
            require_item(connection, conversation_id, item_id)
            storage.items.delete(connection, item_id)
            # On this wire the receipt for an item is its conversation.
            return respond(require_conversation(engine, connection, conversation_id))

    def require_item(connection: Connection, conversation_id: str, item_id: str) -> Object:
        require_conversation(engine, connection, conversation_id)
        item = storage.items.get(connection, item_id, conversation_id)
        return require(item, item_not_found(item_id))


def require_conversation(
    engine: Engine,
    connection: Connection,
    conversation_id: str,
    param: str = "conversation_id",
    *,
    lock: bool = False,
) -> Object:
    """Return a conversation.

    Raises:
        WireError: If it is not there, or that cannot be its id.
    """
    # Refused with 400, while an id that may have been there once is refused with 404.
    if not conversation_id.startswith("conv_"):
        raise malformed_id(param, conversation_id, "conv")
    conversation = engine.storage.conversations.get(connection, conversation_id, lock=lock)
    return require(conversation, conversation_not_found(conversation_id))


def _insert_items(
    engine: Engine, connection: Connection, conversation_id: str, given: Sequence[Json]
) -> list[Object]:
    if len(given) > input_items.MAX_ITEMS_PER_REQUEST:
        raise too_many_items(len(given), input_items.MAX_ITEMS_PER_REQUEST)
    added = input_items.read_input(given, "items")
    items.check_new(engine.storage.items.all_of(connection, conversation_id), given)
    engine.storage.items.insert_all(connection, added, conversation_id)
    return added
