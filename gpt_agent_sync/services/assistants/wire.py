"""The Assistants v2 wire as data: JSON objects to records, and records to JSON bodies.

Shapes are those of OpenAI's published description (``/assistants``, ``/threads``). Servers that
speak this wire leave fields out or fill them oddly, so only ids and statuses are demanded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from gpt_agent_sync.errors import ConfigurationError, ProtocolError
from gpt_agent_sync.records import (
    LIVE_STATUSES,
    TOKEN_KEY,
    AssistantDefinition,
    Message,
    RunOptions,
    RunSnapshot,
    ToolCall,
    ToolOutput,
    ToolSchema,
    UserMessage,
)
from gpt_agent_sync.services.http.shapes import (
    as_count,
    as_json_text,
    as_object,
    as_objects,
    as_time,
    is_id,
    join_texts,
    read_usage,
)
from gpt_agent_sync.services.tool_formats import nest, nested_tool, tool_name

METADATA_PAIRS = 16

LONGEST_OUTPUT = 512 * 1024
"""Bytes of a tool's output, as OpenAI documented it; servers differ."""

_WAITING = ("queued", "requires_action")
"""The statuses in which it matters how old a run is: it may never leave them by itself."""

_OPTION_FIELDS = {
    "model": "model",
    "instructions": "instructions",
    "additional_instructions": "additional_instructions",
    "temperature": "temperature",
    "top_p": "top_p",
    "max_output_tokens": "max_completion_tokens",
    "tool_choice": "tool_choice",
    "parallel_tool_calls": "parallel_tool_calls",
    "response_format": "response_format",
    "reasoning_effort": "reasoning_effort",
    "truncation": "truncation_strategy",
}


def read_run(
    data: Mapping[str, Any], request: str, clock: Callable[[], float] | None = None
) -> RunSnapshot:
    """Read a run object.

    Args:
        data: The object.
        request: Method and path, for messages.
        clock: Returns the server's time, where it is known.

    Raises:
        ProtocolError: If it has no id or no status.
    """
    run_id, status = data.get("id"), data.get("status")
    if not is_id(run_id) or not isinstance(status, str) or not status:
        raise ProtocolError(f"the answer to {request} is no run: it lacks 'id' or 'status'")
    error = as_object(data.get("last_error"))
    incomplete = as_object(data.get("incomplete_details"))
    calls, unsupported = _read_action(as_object(data.get("required_action")))
    code = error.get("code") or incomplete.get("reason")
    message = error.get("message")
    assistant_id = data.get("assistant_id") or data.get("agent_id")
    now = clock() if clock is not None and status in _WAITING else None
    created_at, expires_at = as_count(data.get("created_at")), as_count(data.get("expires_at"))
    return RunSnapshot(
        id=run_id,
        status=status,
        assistant_id=str(assistant_id) if assistant_id else None,
        tool_calls=calls,
        unsupported_action=unsupported,
        error_code=str(code) if code else None,
        error_message=str(message) if message else None,
        usage=read_usage(data.get("usage"), "prompt_tokens", "completion_tokens"),
        age=now - created_at if now is not None and created_at else None,
        expires_in=expires_at - now if now is not None and expires_at else None,
    )


def _read_action(action: Mapping[str, Any]) -> tuple[tuple[ToolCall, ...], str | None]:
    kind = action.get("type")
    submit = as_object(action.get("submit_tool_outputs"))
    calls = []
    for item in as_objects(submit.get("tool_calls")):
        function = as_object(item.get("function"))
        call_id, name = item.get("id"), function.get("name")
        if isinstance(call_id, str) and isinstance(name, str):
            arguments = function.get("arguments")
            calls.append(ToolCall(id=call_id, name=name, arguments=as_json_text(arguments)))
    # Some servers leave an empty object there when the outputs have been submitted.
    if calls or not kind or kind == "submit_tool_outputs":
        return tuple(calls), None
    # Azure has approvals, too: what nobody can answer is named, or it would be polled for ever.
    return (), str(kind)


def read_message(data: Mapping[str, Any]) -> Message | None:
    """Read a message object; ``None`` for what has no id."""
    message_id = data.get("id")
    if not isinstance(message_id, str) or not message_id:
        return None
    content = data.get("content")
    if isinstance(content, str):
        content = [{"type": "text", "text": {"value": content, "annotations": []}}]
    parts = tuple(dict(part) for part in as_objects(content))
    run_id, assistant_id = data.get("run_id"), data.get("assistant_id")
    return Message(
        id=message_id,
        role=str(data.get("role") or ""),
        run_id=str(run_id) if run_id else None,
        assistant_id=str(assistant_id) if assistant_id else None,
        content=join_texts(parts),
        parts=parts,
        metadata=as_object(data.get("metadata")),
        created_at=as_time(data.get("created_at")),
    )


def newest_live_run(runs: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """Return the newest run of a list if it is under way.

    Lists are sorted by whole seconds: of the runs made in the newest second any may stand
    first, so a live one among them counts as the newest.
    """
    newest = max((as_count(run.get("created_at")) for run in runs), default=0)
    for position, run in enumerate(runs):
        tied = position == 0 or as_count(run.get("created_at")) == newest
        if tied and is_live(run):
            return run
    return None


def is_live(run: Mapping[str, Any]) -> bool:
    """Return whether a run is under way, and holds its thread."""
    return run.get("status") in LIVE_STATUSES


def messages_of_run(listed: Sequence[Message], run_id: str, posted_id: str | None) -> list[Message]:
    """Choose the assistant's messages of a run out of a list, oldest first.

    Servers that say which run wrote a message are believed. Where none is named, the
    messages after the user's one belong to the run.

    Args:
        listed: Messages, oldest first; perhaps the whole thread.
        run_id: The run.
        posted_id: The user's message that the run answers, if known.
    """
    begin = 0
    for position, message in enumerate(listed):
        if message.id == posted_id or (posted_id is None and message.role == "user"):
            begin = position + 1
    return [
        message
        for position, message in enumerate(listed)
        if message.role == "assistant"
        and (message.run_id == run_id if message.run_id else position >= begin)
    ]


def is_filtered(listed: Iterable[Message], run_id: str) -> bool:
    """Return whether a server honoured the ``run_id`` filter of the message list."""
    return all(message.run_id == run_id for message in listed)


def find_posted(
    newest: Sequence[Message],
    token: str,
    content: str | tuple[dict[str, Any], ...],
    last_message_id: str | None,
) -> Message | None:
    """Find the user's message that a lost answer was about.

    Args:
        newest: The newest messages, newest first.
        token: The token that was sent in its metadata.
        content: What was sent: on a server that keeps no metadata it is known by its words.
        last_message_id: The newest message that was there before, if known.
    """
    for message in newest:
        if message.metadata.get(TOKEN_KEY) == token:
            return message
    # Some servers keep no metadata: there it is the message with the same words, if it is new.
    for message in newest:
        if message.id == last_message_id or message.role != "user":
            return None
        if not message.metadata and message.content == content:
            return message
    return None


def find_sent(
    newest: Sequence[Message],
    token: str,
    content: str | tuple[dict[str, Any], ...],
    last_message_id: str | None,
    run_id: str,
) -> Message | None:
    """Find the user's message that was sent with a run.

    Args:
        newest: The newest messages, newest first.
        token: The token that was sent in its metadata.
        content: What was sent: on a server that keeps no metadata it is known by its words.
        last_message_id: The newest message that was there before, if known.
        run_id: The run, which may have written messages by now.
    """
    for message in newest:
        if message.metadata.get(TOKEN_KEY) == token:
            return message
    # The words have to do where metadata are dropped, and where a recording of earlier requests is
    # played back, with the token of then.
    for message in newest:
        if message.id == last_message_id:
            return None
        if message.role == "user":
            return message if message.content == content else None
        if message.run_id not in (None, run_id):
            return None
    return None


def find_started(
    newest: Sequence[Mapping[str, Any]], token: str, last_run_id: str | None
) -> Mapping[str, Any] | None:
    """Find the run that a lost answer was about.

    Args:
        newest: The newest runs, newest first.
        token: The token that was sent in its metadata.
        last_run_id: The newest run that was there before, if known.
    """
    for run in newest:
        if as_object(run.get("metadata")).get(TOKEN_KEY) == token:
            return run
    for run in newest[:1]:
        # On a server that keeps no metadata, the thread being free before, it can only be ours.
        is_new = run.get("id") != last_run_id if last_run_id else is_live(run)
        if is_new and not as_object(run.get("metadata")):
            return run
    return None


def assistant_body(definition: AssistantDefinition) -> dict[str, Any]:
    """Return the body that creates an assistant."""
    # Instructions go along even when empty: some servers fail the runs of assistants without.
    body: dict[str, Any] = {"model": definition.model, "instructions": definition.instructions}
    if definition.name is not None:
        body["name"] = definition.name
    if definition.description is not None:
        body["description"] = definition.description
    if definition.tools:
        body["tools"] = [nested_tool(tool) for tool in definition.tools]
    if definition.metadata:
        body["metadata"] = dict(definition.metadata)
    return body


def read_tools(assistant: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the tools of an assistant object."""
    return [dict(tool) for tool in as_objects(assistant.get("tools"))]


def tools_of_run(
    own: Sequence[dict[str, Any]], handlers: Iterable[ToolSchema]
) -> list[dict[str, Any]] | None:
    """Return the run's tools when the assistant's own lack a handler, else ``None``."""
    names = {tool_name(tool) for tool in own}
    # The tools of a run take the place of the assistant's, which are sent again for that.
    lacking = [nested_tool(tool) for tool in handlers if tool.name not in names]
    return [*own, *lacking] if lacking else None


def message_body(message: UserMessage, token: str) -> dict[str, Any]:
    """Return the body that adds a user's message.

    The token goes along unless the program's own metadata leave no room for it.
    """
    content = message.content if isinstance(message.content, str) else list(message.content)
    body: dict[str, Any] = {"role": "user", "content": content}
    metadata = with_token(message.metadata, token)
    if metadata:
        body["metadata"] = metadata
    if message.attachments:
        body["attachments"] = list(message.attachments)
    return body


def with_token(metadata: Mapping[str, str] | None, token: str) -> dict[str, str]:
    """Return the metadata with the token in it, if there is room for one more pair."""
    pairs = dict(metadata or {})
    if len(pairs) < METADATA_PAIRS:
        pairs[TOKEN_KEY] = token
    return pairs


def run_body(
    assistant_id: str, options: RunOptions, tools: Sequence[dict[str, Any]] | None, token: str
) -> dict[str, Any]:
    """Return the body that creates a run.

    Args:
        assistant_id: The assistant.
        options: What the run does differently.
        tools: All tools of the run, in place of the assistant's; ``None`` leaves those.
        token: The client token for its metadata.
    """
    body: dict[str, Any] = {"assistant_id": assistant_id}
    for name, value in options.given().items():
        if name != "metadata":
            body[_OPTION_FIELDS[name]] = _option(name, value)
    body["metadata"] = with_token(options.metadata, token)
    if tools is not None:
        body["tools"] = list(tools)
    return body


def check_options(options: RunOptions) -> None:
    """Refuse options that the wire does not have.

    Raises:
        ConfigurationError: If there is one.
    """
    truncation = options.truncation
    kind = truncation.get("type") if isinstance(truncation, Mapping) else truncation
    if kind == "disabled":
        raise ConfigurationError(
            "this wire has no truncation 'disabled': 'auto', or {'type': 'last_messages', ...}"
        )


def _option(name: str, value: Any) -> Any:
    # The wire has objects where programs may give a word: all that the object holds is its type.
    is_word = isinstance(value, str)
    if is_word and (name == "truncation" or (name == "response_format" and value != "auto")):
        return {"type": value}
    return nest(value)


def outputs_body(outputs: Iterable[ToolOutput]) -> dict[str, Any]:
    """Return the body that submits tool outputs."""
    return {
        "tool_outputs": [
            {"tool_call_id": output.tool_call_id, "output": output.output} for output in outputs
        ]
    }
