"""The routes of threads and their messages."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from gpt_agent_sync.server.assistants import bodies, lifecycle
from gpt_agent_sync.server.assistants.errors import messages_locked, not_found
from gpt_agent_sync.server.assistants.run_work import live_run
from gpt_agent_sync.server.bodies import MetadataFields, read_body, read_query
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.features import unsupported
from gpt_agent_sync.server.listing import deleted, list_page, require
from gpt_agent_sync.server.storage.collection import Connection, Object, new_id
from gpt_agent_sync.server.strict_json import respond
from gpt_agent_sync.server.work import Ending


def register(blueprint: Blueprint, engine: Engine) -> None:
    """Add the routes to ``blueprint``."""
    _register_threads(blueprint, engine)
    _register_messages(blueprint, engine)


def _register_threads(blueprint: Blueprint, engine: Engine) -> None:
    storage = engine.storage

    @blueprint.post("/threads")
    def create_thread() -> Response:
        fields = read_body(request.get_data(), bodies.ThreadFields, optional=True)
        thread, messages = new_thread(engine, fields)
        with storage.write() as connection:
            insert_thread(engine, connection, thread, messages)
        return respond(thread)

    @blueprint.get("/threads")
    def list_threads() -> Response:
        query = read_query(request.args)
        with storage.read() as connection:
            return list_page(storage.threads, connection, query, partial(not_found, "thread"))

    @blueprint.get("/threads/<thread_id>")
    def get_thread(thread_id: str) -> Response:
        with storage.read() as connection:
            return respond(require_thread(engine, connection, thread_id))

    @blueprint.post("/threads/<thread_id>")
    def update_thread(thread_id: str) -> Response:
        fields = read_body(request.get_data(), bodies.ThreadChanges, optional=True)
        bodies.check_resources(fields.tool_resources)
        with storage.write() as connection:
            thread = require_thread(engine, connection, thread_id, lock=True)
            thread = _with_metadata(thread, fields.metadata)
            if fields.tool_resources is not None:
                thread["tool_resources"] = fields.tool_resources
            storage.threads.update(connection, thread)
            return respond(thread)

    @blueprint.delete("/threads/<thread_id>")
    def delete_thread(thread_id: str) -> Response:
        with storage.write() as connection:
            require_thread(engine, connection, thread_id, lock=True)
            live = storage.runs.with_status(connection, thread_id, lifecycle.LIVE)
            # The runs first: whoever ends one has it locked, and adds to the others meanwhile.
            for collection in (storage.runs, storage.steps, storage.messages):
                collection.delete_of(connection, thread_id)
            storage.threads.delete(connection, thread_id)
        # A model may still answer one of its runs, for nobody.
        for run in live:
            engine.interrupt(run["id"], Ending.CANCELLED)
        return deleted(thread_id, "thread.deleted")


def _register_messages(blueprint: Blueprint, engine: Engine) -> None:
    storage = engine.storage

    @blueprint.post("/threads/<thread_id>/messages")
    def create_message(thread_id: str) -> Response:
        fields = read_body(request.get_data(), bodies.MessageFields)
        message = new_message(engine, thread_id, fields)
        with storage.write() as connection:
            # The thread is locked, so that no run starts in between.
            require_thread(engine, connection, thread_id, lock=True)
            live = live_run(engine, connection, thread_id)
            if live is not None:
                raise messages_locked(thread_id, live["id"])
            storage.messages.insert(connection, message, thread_id)
        return respond(message)

    @blueprint.get("/threads/<thread_id>/messages")
    def list_messages(thread_id: str) -> Response:
        query = read_query(request.args)
        with storage.read() as connection:
            require_thread(engine, connection, thread_id)
            return list_page(
                storage.messages,
                connection,
                query,
                partial(not_found, "message"),
                thread_id,
                run_id=query.run_id,
            )

    @blueprint.get("/threads/<thread_id>/messages/<message_id>")
    def get_message(thread_id: str, message_id: str) -> Response:
        with storage.read() as connection:
            return respond(require_message(connection, thread_id, message_id))

    @blueprint.post("/threads/<thread_id>/messages/<message_id>")
    def update_message(thread_id: str, message_id: str) -> Response:
        fields = read_body(request.get_data(), MetadataFields)
        with storage.write() as connection:
            message = require_message(connection, thread_id, message_id)
            message = _with_metadata(message, fields.metadata)
            storage.messages.update(connection, message)
            return respond(message)

    @blueprint.delete("/threads/<thread_id>/messages/<message_id>")
    def delete_message(thread_id: str, message_id: str) -> Response:
        with storage.write() as connection:
            require_message(connection, thread_id, message_id)
            storage.messages.delete(connection, message_id)
        return deleted(message_id, "thread.message.deleted")

    def require_message(connection: Connection, thread_id: str, message_id: str) -> Object:
        require_thread(engine, connection, thread_id)
        message = storage.messages.get(connection, message_id, thread_id)
        return require(message, not_found("message", message_id))


def require_thread(
    engine: Engine, connection: Connection, thread_id: str, *, lock: bool = False
) -> Object:
    """Return a thread.

    Raises:
        WireError: If it is not there.
    """
    thread = engine.storage.threads.get(connection, thread_id, lock=lock)
    return require(thread, not_found("thread", thread_id))


def new_thread(engine: Engine, fields: bodies.ThreadFields) -> tuple[Object, list[Object]]:
    """Return a new thread and its first messages, which nobody has yet.

    Made in no transaction: they may be very many, and on SQLite a writer is alone.

    Raises:
        WireError: If a message has files, or its content is not of the wire.
    """
    bodies.check_resources(fields.tool_resources)
    thread: Object = {
        "id": new_id("thread"),
        "object": "thread",
        "created_at": int(engine.clock()),
        "metadata": fields.metadata or {},
        "tool_resources": fields.tool_resources or {},
    }
    return thread, [new_message(engine, thread["id"], each) for each in fields.messages]


def insert_thread(
    engine: Engine, connection: Connection, thread: Object, messages: Sequence[Object]
) -> None:
    """Insert a new thread and its first messages."""
    engine.storage.threads.insert(connection, thread)
    engine.storage.messages.insert_all(connection, messages, thread["id"])


def new_message(engine: Engine, thread_id: str, fields: bodies.MessageFields) -> Object:
    """Return a new message of a client's, which nobody has yet.

    Raises:
        WireError: If it has files, or its content is not of the wire.
    """
    if fields.attachments:
        raise unsupported("attachments", "attachments")
    now = int(engine.clock())
    return {
        "id": new_id("msg"),
        "object": "thread.message",
        "created_at": now,
        "thread_id": thread_id,
        "status": "completed",
        "incomplete_details": None,
        "completed_at": now,
        "incomplete_at": None,
        "role": fields.role,
        "content": bodies.read_content(fields.content),
        "assistant_id": None,
        "run_id": None,
        "attachments": [],
        "metadata": fields.metadata or {},
    }


def _with_metadata(item: Object, metadata: dict[str, Any] | None) -> Object:
    return dict(item) if metadata is None else {**item, "metadata": metadata}
