"""What the server has of a conversation, read from its storage."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from gpt_agent_sync.server.assistants import lifecycle as runs
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.responses import lifecycle as responses
from tests.faults.kinds import ASSISTANTS


@attrs.frozen(kw_only=True)
class ServerState:
    """A conversation as its server has it.

    Attributes:
        messages: How often each of the user's texts stands in it.
        runs: How many runs were begun.
        cancelled: How many of them were cancelled.
        outputs: How often each tool call was answered.
        replies: How often each text of the assistant stands in it.
        live: The runs, or responses, that lock it, and their statuses.
    """

    messages: Mapping[str, int]
    runs: int
    cancelled: int
    outputs: Mapping[str, int]
    replies: Mapping[str, int]
    live: Mapping[str, str]


def read_state(engine: Engine, wire: str, thread_id: str) -> ServerState:
    """Return what the server has of a thread or conversation."""
    return _read_thread(engine, thread_id) if wire == ASSISTANTS else _read_items(engine, thread_id)


def _read_thread(engine: Engine, thread_id: str) -> ServerState:
    storage = engine.storage
    with storage.read() as connection:
        messages = storage.messages.all_of(connection, thread_id)
        all_runs = storage.runs.all_of(connection, thread_id)
    return ServerState(
        messages=_count(_text(each) for each in messages if each["role"] == "user"),
        runs=len(all_runs),
        cancelled=sum(run["status"] == "cancelled" for run in all_runs),
        outputs=_count(
            call_id
            for run in all_runs
            for tool_round in run[runs.ROUNDS]
            for call_id in tool_round["outputs"]
        ),
        replies=_count(_text(each) for each in messages if each["role"] == "assistant"),
        live={run["id"]: run["status"] for run in all_runs if runs.is_live(run)},
    )


def _read_items(engine: Engine, conversation_id: str) -> ServerState:
    storage = engine.storage
    with storage.read() as connection:
        items = storage.items.all_of(connection, conversation_id)
        created = storage.responses.all_of(connection, conversation_id)
    inputs = [item for response in created for item in response[responses.INPUT]]
    # A conversation has the items of a response when that has come to its end; until then, and
    # where it fails, the response alone shows what it was made from.
    asked = _count(_text(item) for item in inputs if item.get("role") == "user")
    # A second response that was cancelled before its end left no message, though it was a run.
    once = _count(set(asked))
    taken = _count(
        _text(item)
        for response in created
        if response["status"] not in ("cancelled", "failed")
        for item in response[responses.INPUT]
        if item.get("role") == "user"
    )
    stored = _count(_text(item) for item in items if item.get("role") == "user")
    answered = _count(item["call_id"] for item in items if _is_output(item))
    sent = _count(
        item["call_id"]
        for response in created
        if response["status"] not in ("cancelled", "failed")
        for item in response[responses.INPUT]
        if _is_output(item)
    )
    return ServerState(
        messages=once | taken | stored,
        runs=asked.total(),
        cancelled=(asked - taken).total(),
        outputs=answered | sent,
        replies=_count(_text(item) for item in items if item.get("role") == "assistant"),
        live={each["id"]: each["status"] for each in created if responses.is_live(each)},
    )


def _count(values: Iterable[str]) -> Counter[str]:
    return Counter(values)


def _is_output(item: Mapping[str, Any]) -> bool:
    return bool(item["type"] == "function_call_output")


def _text(message: Mapping[str, Any]) -> str:
    texts = [part.get("text") for part in message["content"]]
    return "".join(text["value"] if isinstance(text, dict) else str(text) for text in texts)
