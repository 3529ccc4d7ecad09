"""The routes of responses."""

from __future__ import annotations

from flask import Blueprint, Response, request

from gpt_agent_sync.server.bodies import read_arguments, read_body, read_query
from gpt_agent_sync.server.collection import Connection, Object, new_id
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.errors import WireError, missing
from gpt_agent_sync.server.listing import deleted, list_items, with_poll_hint
from gpt_agent_sync.server.responses import items, lifecycle
from gpt_agent_sync.server.responses.bodies import (
    ConversationReference,
    ResponseFields,
    StreamQuery,
    as_json,
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
)
from gpt_agent_sync.server.responses.response_events import response_event
from gpt_agent_sync.server.responses.response_work import (
    ResponseWork,
    end_if_expired,
    history,
    live_response,
)
from gpt_agent_sync.server.streams import stream_response


def register(blueprint: Blueprint, engine: Engine) -> None:
    """Add the routes to ``blueprint``."""
    storage = engine.storage

    @blueprint.post("/responses")
    def create_response() -> Response:
        fields = read_body(request.get_data(), ResponseFields)
        with storage.write() as connection:
            response = _insert_response(engine, connection, fields)
        stream = engine.streams.open(response["id"], numbered=True) if fields.stream else None
        work = ResponseWork(engine, response, stream)
        # Nobody else reads it: the request's own thread does the work, and its caller waits.
        if stream is None and not response["background"]:
            engine.do(work)
            return _response(work.item)
        engine.start(work)
        return _response(response) if stream is None else stream_response(stream)

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
            return _response(response)
        # Of a response in the foreground only its creator reads the stream, as on the real wire.
        stream = engine.streams.get(response_id) if response["background"] else None
        if stream is None:
            raise not_streamed()
        return stream_response(stream, max(0, query.starting_after + 1))

    @blueprint.delete("/responses/<response_id>")
    def delete_response(response_id: str) -> Response:
        with storage.write() as connection:
            require_response(connection, response_id, lock=True)
            storage.responses.delete(connection, response_id)
        return deleted(response_id, "response")

    @blueprint.post("/responses/<response_id>/cancel")
    def cancel_response(response_id: str) -> Response:
        with storage.write() as connection:
            response = require_response(connection, response_id, lock=True)
            response = lifecycle.cancelled(end_if_expired(engine, connection, response))
            storage.responses.update(connection, response)
        # At once, although the model still answers: what it says from now on is dropped.
        stream = engine.streams.get(response_id)
        if stream is not None:
            stream.publish(response_event(response), last=True)
        return _response(response)

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


def _response(response: Object) -> Response:
    return with_poll_hint(response, is_live=lifecycle.is_live(response))


def _insert_response(engine: Engine, connection: Connection, fields: ResponseFields) -> Object:
    """Insert a new queued response, and return it.

    Raises:
        WireError: If the conversation is locked, or its calls and these outputs do not match.
    """
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
        "previous_response_id": _previous(engine, connection, fields),
        "usage": None,
        **_options(engine, fields),
        lifecycle.INPUT: items.read_input(fields.input),
        lifecycle.STORED: stored,
        lifecycle.EXPIRES_AT: engine.clock() + engine.run_seconds,
    }
    # An answer may go on from a history alone, but not from nothing.
    if fields.input is None and not response["conversation"] and not fields.previous_response_id:
        raise missing("input")
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


def _previous(engine: Engine, connection: Connection, fields: ResponseFields) -> str | None:
    previous_id = fields.previous_response_id
    if previous_id is None:
        return None
    if not previous_id.startswith("resp_"):
        raise malformed_id("previous_response_id", previous_id, "resp")
    previous = engine.storage.responses.get(connection, previous_id)
    if previous is None or not previous[lifecycle.STORED]:
        raise previous_response_not_found(previous_id)
    return previous_id


def _options(engine: Engine, fields: ResponseFields) -> Object:
    """Return the options of a response, as it shows them."""
    text = as_json(fields.text) or {}
    reasoning = as_json(fields.reasoning) or {}
    return {
        "model": engine.resolve_model(fields.model),
        "instructions": fields.instructions,
        "max_output_tokens": fields.max_output_tokens,
        "max_tool_calls": fields.max_tool_calls,
        "metadata": fields.metadata or {},
        "parallel_tool_calls": fields.parallel_tool_calls is not False,
        "reasoning": {"effort": reasoning.get("effort"), "summary": reasoning.get("summary")},
        "service_tier": "default",
        "store": fields.store is not False,
        "temperature": fields.temperature,
        "text": {"format": items.check_format(text.get("format"))},
        "tool_choice": items.check_choice(fields.tool_choice),
        "tools": items.check_tools(fields.tools or ()),
        "top_logprobs": 0,
        "top_p": fields.top_p,
        "truncation": fields.truncation or "disabled",
        "user": fields.user,
    }
