"""The routes about what a response would be asked: how many tokens it has, and its short form."""

from __future__ import annotations

from flask import Blueprint, Response, request

from gpt_agent_sync.server.bodies import Json, read_body
from gpt_agent_sync.server.clients import client_is_there
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.errors import interrupted, missing, not_answered
from gpt_agent_sync.server.features import check_tier
from gpt_agent_sync.server.models.base import ModelError, ModelRequest
from gpt_agent_sync.server.models.cancellation import ReplyCancelledError
from gpt_agent_sync.server.models.tokens import tokens
from gpt_agent_sync.server.responses import compaction, lifecycle, options
from gpt_agent_sync.server.responses.bodies import (
    CompactFields,
    ConversationReference,
    TokenCountFields,
)
from gpt_agent_sync.server.responses.conversations_api import require_conversation
from gpt_agent_sync.server.responses.errors import mutually_exclusive
from gpt_agent_sync.server.responses.response_work import (
    chat_messages,
    chat_tool,
    history,
    read_input,
)
from gpt_agent_sync.server.responses.responses_api import previous_response
from gpt_agent_sync.server.storage.collection import Connection, Object, new_id
from gpt_agent_sync.server.strict_json import encode, respond


def register(blueprint: Blueprint, engine: Engine) -> None:
    """Add the routes to ``blueprint``."""
    storage = engine.storage

    @blueprint.post("/responses/input_tokens")
    def count_input_tokens() -> Response:
        fields = read_body(request.get_data(), TokenCountFields)
        tools = options.check_tools(fields.tools or ())
        options.check_choice(fields.tool_choice, tools)
        options.check_format(fields.text.format if fields.text else None)
        options.check_reasoning(fields.reasoning)
        with storage.read() as connection:
            asked = _asked(
                engine, connection, fields.input, fields.previous_response_id, fields.conversation
            )
        messages = chat_messages(asked)
        if fields.instructions:
            messages.insert(0, {"role": "system", "content": fields.instructions})
        offered = [chat_tool(tool) for tool in tools]
        told = [{"content": encode(tool)} for tool in offered]
        return respond(
            {
                "object": "response.input_tokens",
                "input_tokens": sum(map(tokens, (*messages, *told))),
            }
        )

    @blueprint.post("/responses/compact")
    def compact() -> Response:
        fields = read_body(request.get_data(), CompactFields)
        check_tier(fields.service_tier)
        engine.admit()
        if not fields.input and fields.previous_response_id is None:
            raise missing("input")
        with storage.read() as connection:
            asked = _asked(engine, connection, fields.input, fields.previous_response_id, None)
        instructions = "\n".join(filter(None, [fields.instructions, compaction.INSTRUCTIONS]))
        question = ModelRequest(
            model=engine.resolve_model(fields.model),
            messages=(*chat_messages(asked), {"role": "user", "content": instructions}),
        )
        try:
            with engine.watching(question.cancellation, client_is_there(request.environ)):
                summary, end = engine.complete(question)
        except ReplyCancelledError:
            raise interrupted() from None
        except ModelError as exc:
            raise not_answered(exc) from exc
        return respond(
            {
                "id": new_id("resp"),
                "object": "response.compaction",
                "created_at": int(engine.clock()),
                "output": compaction.compacted(asked, summary),
                "usage": lifecycle.read_usage(end.usage),
            }
        )


def _asked(
    engine: Engine,
    connection: Connection,
    given: str | list[Json] | None,
    previous_id: str | None,
    conversation: str | ConversationReference | None,
) -> list[Object]:
    """Return the items that a response would be asked."""
    if conversation is not None and previous_id is not None:
        raise mutually_exclusive()
    reference = None
    if conversation is not None:
        named = conversation.id if isinstance(conversation, ConversationReference) else conversation
        reference = {"id": require_conversation(engine, connection, named, "conversation")["id"]}
    before = {
        "conversation": reference,
        "previous_response_id": previous_response(engine, connection, previous_id),
    }
    return [*history(engine, connection, before), *read_input(engine, connection, given)]
