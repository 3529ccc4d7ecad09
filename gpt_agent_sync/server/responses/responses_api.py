"""The routes of responses."""

from __future__ import annotations

from flask import Blueprint, Response, request

from gpt_agent_sync.server.bodies import read_arguments, read_body, read_query
from gpt_agent_sync.server.clients import client_is_there
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.errors import WireError, missing
from gpt_agent_sync.server.listing import deleted, list_items, with_poll_hint
from gpt_agent_sync.server.responses import items, lifecycle, options
from gpt_agent_sync.server.responses.bodies import (
    ConversationReference,
    ResponseFields,
    StreamQuery,
)
from gpt_agent_sync.server.responses.conversations_api import require_conversation
from gpt_agent_sync.server.responses.errors import (
    conversation_locked,
    item_not_found,
    malformed_id,
    mutually_exclusive,
    not_streamed,
    previous_response_not_found,
    response_not_found,
    stream_gone,
)
from gpt_agent_sync.server.responses.response_events import response_event
from gpt_agent_sync.server.responses.response_work import (
    ResponseWork,
    end_if_expired,
    history,
    live_response,
    read_input,
)
from gpt_agent_sync.server.storage.collection import Connection, Object, new_id
from gpt_agent_sync.server.streams import (
    RESUMABLE_SECONDS,
    StoredStream,
    Stream,
    StreamEvent,
    stream_response,
)
from gpt_agent_sync.server.work import Ending


def register(blueprint: Blueprint, engine: Engine) -> None:
    """Add the routes to ``blueprint``."""
    storage = engine.storage

    @blueprint.post("/responses")
    def create_response() -> Response:
        fields = read_body(request.get_data(), ResponseFields)
        engine.admit()
        with storage.write() as connection:
            response = _insert_response(engine, connection, fields)
        if response["background"]:
            return in_background(response)
        # Only who has asked for it waits for it: when it goes, the response is cancelled.
        is_wanted = client_is_there(request.environ)
        if not fields.stream:
            # Nobody else reads it: the request's own thread does the work, and its caller waits.
            work = ResponseWork(engine, response, is_wanted=is_wanted)
            engine.do(work)
            return _response(engine, work.item)
        stream = Stream(numbered=True, keep=False)
        engine.start(ResponseWork(engine, response, stream, is_wanted))
        return stream_response(
            stream, on_gone=lambda: engine.interrupt(response["id"], Ending.CANCELLED)
        )

    def in_background(response: Object) -> Response:
        stream = engine.streams.open(response["id"]) if response[lifecycle.STREAMED] else None
        engine.start(ResponseWork(engine, response, stream))
        return _response(engine, response) if stream is None else stream_response(stream)

    @blueprint.get("/responses/<response_id>")
    def get_response(response_id: str) -> Response:
        query = read_arguments(request.args, StreamQuery)
        with storage.read() as connection:
            response = require_response(connection, response_id)
        # Polls are many, and a writer is alone on the database: most of them only read.
        if lifecycle.is_expired(response, engine.clock()):
            with storage.write() as connection:
                response = require_response(connection, response_id, lock=True)
                response = end_if_expired(engine, connection, response)
        if not query.stream:
            return _response(engine, response)
        # Of a response in the foreground only its creator reads the stream, as on the real wire.
        if not response.get(lifecycle.STREAMED):
            raise not_streamed()
        return stream_response(find_stream(response), max(0, query.starting_after + 1))

    def find_stream(response: Object) -> Stream | StoredStream:
        response_id = response["id"]
        stream = engine.streams.get(response_id)
        if stream is not None:
            return stream
        with storage.read() as connection:
            is_kept = storage.events.has(connection, response_id)
        # The last events come into the database a moment after the end.
        age = engine.clock() - float(response.get(lifecycle.QUEUED_AT) or 0)
        if not is_kept and not lifecycle.is_live(response) and age > RESUMABLE_SECONDS:
            raise stream_gone()
        return StoredStream(storage, response_id, lambda: ending_of(response))

    def ending_of(asked: Object) -> StreamEvent | None:
        response_id = asked["id"]
        with storage.read() as connection:
            response = storage.responses.get(connection, response_id)
        if response is None:
            return response_event({**asked, "status": "failed"})
        return None if lifecycle.is_live(response) else response_event(response)

    @blueprint.delete("/responses/<response_id>")
    def delete_response(response_id: str) -> Response:
        with storage.write() as connection:
            require_response(connection, response_id, lock=True)
            storage.responses.delete(connection, response_id)
            storage.items.delete_of(connection, response_id)
        engine.interrupt(response_id, Ending.CANCELLED)
        return deleted(response_id, "response")

    @blueprint.post("/responses/<response_id>/cancel")
    def cancel_response(response_id: str) -> Response:
        with storage.write() as connection:
            response = require_response(connection, response_id, lock=True)
            response = lifecycle.cancelled(end_if_expired(engine, connection, response))
            storage.responses.update(connection, response)
        # At once, although the model still answers: what it says from now on is dropped.
        engine.interrupt(response_id, Ending.CANCELLED)
        return _response(engine, response)

    @blueprint.get("/responses/<response_id>/input_items")
    def list_input_items(response_id: str) -> Response:
        query = read_query(request.args)
        with storage.read() as connection:
            response = require_response(connection, response_id)
        return list_items(response[lifecycle.INPUT], query, item_not_found)

    def require_response(connection: Connection, response_id: str, *, lock: bool = False) -> Object:
        if not response_id.startswith("resp_"):
            raise malformed_id("response_id", response_id, "resp")
        response = storage.responses.get(connection, response_id, lock=lock)
        # One that is not stored has a row while it is in progress, which is not for clients.
        if response is None or not response[lifecycle.STORED]:
            raise response_not_found(response_id)
        return response


def _response(engine: Engine, response: Object) -> Response:
    age = engine.clock() - float(response.get(lifecycle.QUEUED_AT) or response["created_at"])
    return with_poll_hint(response, age if lifecycle.is_live(response) else None)


def _insert_response(engine: Engine, connection: Connection, fields: ResponseFields) -> Object:
    """Insert a new queued response, and return it.

    Raises:
        WireError: If the conversation is locked, or its calls and these outputs do not match.
    """
    options.check_response(fields)
    # Nobody could poll it.
    background, stored = bool(fields.background), fields.store is not False
    if background and not stored:
        raise WireError(400, "Background mode requires 'store' to be true.", param="background")
    response: Object = {
        "id": new_id("resp"),
        "object": "response",
        "created_at": int(engine.clock()),
        "status": "queued",
        "background": background,
        "completed_at": None,
        "conversation": _conversation(engine, connection, fields),
        "error": None,
        "incomplete_details": None,
        "output": [],
        "previous_response_id": previous_response(engine, connection, fields.previous_response_id),
        "usage": None,
        **options.shown(engine, fields),
        lifecycle.INPUT: read_input(engine, connection, fields.input),
        lifecycle.STORED: stored,
        lifecycle.STREAMED: background and bool(fields.stream),
        lifecycle.QUEUED_AT: engine.clock(),
        lifecycle.EXPIRES_AT: engine.clock() + engine.run_seconds,
    }
    # An answer may go on from a history alone, but not from nothing.
    if fields.input is None and not response["conversation"] and not fields.previous_response_id:
        raise missing("input")
    response = engine.own(response)
    before = history(engine, connection, response)
    items.check_new(before, fields.input)
    items.check_calls(before, response[lifecycle.INPUT])
    conversation = response["conversation"]
    engine.storage.responses.insert(
        connection, response, conversation["id"] if conversation else None
    )
    return response


def _conversation(
    engine: Engine, connection: Connection, fields: ResponseFields
) -> dict[str, str] | None:
    given = fields.conversation
    if given is None:
        return None
    if fields.previous_response_id is not None:
        raise mutually_exclusive()
    conversation_id = given.id if isinstance(given, ConversationReference) else given
    # The conversation is locked, so that of two responses created at once one finds the other.
    require_conversation(engine, connection, conversation_id, "conversation", lock=True)
    if live_response(engine, connection, conversation_id) is not None:
        raise conversation_locked()
    return {"id": conversation_id}


def previous_response(
    engine: Engine, connection: Connection, previous_id: str | None
) -> str | None:
    """Return the id of a previous response that is there.

    Raises:
        WireError: If it is not there, or that cannot be its id.
    """
    if previous_id is None:
        return None
    if not previous_id.startswith("resp_"):
        raise malformed_id("previous_response_id", previous_id, "resp")
    previous = engine.storage.responses.get(connection, previous_id)
    if previous is None or not previous[lifecycle.STORED]:
        raise previous_response_not_found(previous_id)
    return previous_id
