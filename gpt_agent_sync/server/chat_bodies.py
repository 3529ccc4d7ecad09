"""The request bodies of ``/chat/completions``, as far as the models of this server answer them.

Shapes are those of OpenAI's published description. What goes to the upstream is passed on unread.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from gpt_agent_sync.server.bodies import (
    Body,
    Json,
    Metadata,
    ReasoningEffort,
    Verbosity,
    read_fields,
)
from gpt_agent_sync.server.errors import WireError, missing, not_one_of
from gpt_agent_sync.server.features import (
    check_range,
    check_sampling,
    check_tier,
    says_something,
    unsupported,
)
from gpt_agent_sync.server.response_format import check_format
from gpt_agent_sync.server.tool_schemas import check_count, check_function

_OPTIONS = (
    "temperature",
    "top_p",
    "max_tokens",
    "response_format",
    "reasoning_effort",
    "verbosity",
    "presence_penalty",
    "frequency_penalty",
    "parallel_tool_calls",
)
"""What the models here are shown."""

_UNSUPPORTED = (
    "stop",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "functions",
    "function_call",
    "audio",
    "prediction",
    "web_search_options",
)
"""What they do not do."""

_CHOICES = ("auto", "none", "required")


class _FunctionFields(Body):
    name: str
    arguments: str


class _CallFields(Body, kw_only=True):
    id: str
    type: Literal["function"] = "function"
    function: _FunctionFields
    index: int | None = None


class _MessageFields(Body):
    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[Json] | None = None
    name: str | None = None
    refusal: str | None = None
    tool_calls: list[_CallFields] | None = None
    tool_call_id: str | None = None
    # What other servers' answers have, and clients hand back.
    annotations: list[Json] | None = None
    audio: Json | None = None
    function_call: Json | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None


class _StreamOptions(Body):
    include_usage: bool = False
    include_obfuscation: bool | None = None


class _Function(Body):
    """A tool, or the choice of one."""

    type: Literal["function"]
    function: Json


class ChatFields(Body, kw_only=True):
    """The fields of a chat; those of the last group mean nothing to the models of this server."""

    model: str | None = None
    messages: Annotated[list[_MessageFields], msgspec.Meta(min_length=1)]
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    response_format: Json | None = None
    stream: bool | None = None
    stream_options: _StreamOptions | None = None
    temperature: float | None = None
    top_p: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    reasoning_effort: ReasoningEffort | None = None
    verbosity: Verbosity | None = None
    n: int | None = None

    stop: Any = None
    logprobs: Any = None
    top_logprobs: Any = None
    logit_bias: Any = None
    functions: Any = None
    function_call: Any = None
    audio: Any = None
    prediction: Any = None
    web_search_options: Any = None
    modalities: list[str] | None = None
    service_tier: str | None = None
    store: bool | None = None

    metadata: Metadata = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Json | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    seed: int | None = None
    user: str | None = None

    def options(self) -> Json:
        """Return what is said of how to answer, by its names on this wire."""
        said = {name: getattr(self, name) for name in _OPTIONS}
        if self.max_completion_tokens is not None:
            # The older name is the one that models here know.
            said["max_tokens"] = self.max_completion_tokens
        return {name: value for name, value in said.items() if value is not None}


def read_chat(body: Json) -> ChatFields:
    """Return a chat's fields, checked.

    Raises:
        WireError: If one is not of the wire, or asks for what the models here do not do.
    """
    if body.get("messages") is None:
        raise missing("messages")
    fields = read_fields(body, ChatFields)
    for index, message in enumerate(fields.messages):
        if message.role == "tool" and message.tool_call_id is None:
            raise missing(f"messages[{index}].tool_call_id")
    _check_tools(fields)
    check_format(fields.response_format)
    check_sampling(fields)
    check_range("max_tokens", fields.max_tokens, 1)
    check_range("max_completion_tokens", fields.max_completion_tokens, 1)
    _check_unsupported(fields)
    return fields


def _check_tools(fields: ChatFields) -> None:
    tools = fields.tools or ()
    check_count(tools)
    for index, tool in enumerate(tools):
        function = tool.get("function")
        if not isinstance(function, dict):
            raise missing(f"tools[{index}].function")
        check_function(function, f"tools[{index}].function")
        read_fields(tool, _Function, f"tools[{index}]")
    choice = fields.tool_choice
    if isinstance(choice, str) and choice not in _CHOICES:
        raise not_one_of("tool_choice", choice, _CHOICES)
    if isinstance(choice, dict):
        name = read_fields(choice, _Function, "tool_choice").function.get("name")
        if not isinstance(name, str):
            raise missing("tool_choice.function.name")


def _check_unsupported(fields: ChatFields) -> None:
    for name in _UNSUPPORTED:
        value = getattr(fields, name)
        if says_something(value) and value is not False:
            raise unsupported(name, f"'{name}' with this model")
    if fields.n not in (None, 1):
        raise unsupported("n", "several choices with this model")
    if fields.modalities not in (None, ["text"]):
        raise unsupported("modalities", "answers that are no text with this model")
    check_tier(fields.service_tier)
    if fields.store:
        raise unsupported("store", "completions that are kept")
    if fields.stream_options is not None and not fields.stream:
        raise WireError(
            400,
            "The 'stream_options' parameter is only allowed when 'stream' is enabled.",
            param="stream_options",
        )
