"""The request bodies of the Responses wire, by OpenAI's published description of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpt_agent_sync.server.bodies import Body, Json, Metadata, ReasoningEffort, Verbosity

Summary = Literal["auto", "concise", "detailed"]


class ConversationFields(Body):
    """The fields of a new conversation."""

    items: list[Json] | None = None
    metadata: Metadata = None


class ConversationChanges(Body):
    """The fields of a conversation that can change."""

    metadata: dict[str, str]


class ItemsFields(Body):
    """Items to add to a conversation."""

    items: list[Json]


class ConversationReference(Body):
    """A conversation named by an object."""

    id: str


class ReasoningFields(Body):
    """How much the model is to think."""

    effort: ReasoningEffort | None = None
    summary: Summary | None = None
    generate_summary: Summary | None = None
    mode: str | None = None
    context: str | None = None


class FunctionTool(Body):
    """A function that a model may call; those of the last group there are none of here."""

    type: str
    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None

    output_schema: Json | None = None
    defer_loading: bool | None = None
    allowed_callers: list[str] | None = None


class FunctionChoice(Body):
    """The one function that a model is to call."""

    type: str
    name: str


class PlainFormat(Body):
    """The format of a text, or of any JSON object."""

    type: str


class SchemaFormat(Body):
    """The format of a JSON object that has a schema."""

    type: str
    name: str
    schema: Json
    description: str | None = None
    strict: bool | None = None


class TextFields(Body):
    """The format of the reply's text."""

    format: Json | None = None
    verbosity: Verbosity | None = None


class StreamOptions(Body):
    """How a response is streamed; nothing here hides the lengths of its texts."""

    include_obfuscation: bool | None = None


class ResponseFields(Body):
    """The fields of a new response.

    Those of the last group are about caches and abuse: they change nothing here, and are shown.
    Those before them are known, so that what this server does not have is refused by its name.
    """

    model: str
    input: str | list[Json] | None = None
    conversation: str | ConversationReference | None = None
    previous_response_id: str | None = None
    instructions: str | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    background: bool | None = None
    store: bool | None = None
    stream: bool | None = None
    metadata: Metadata = None
    temperature: float | None = None
    top_p: float | None = None
    max_output_tokens: int | None = None
    text: TextFields | None = None
    reasoning: ReasoningFields | None = None
    truncation: Literal["auto", "disabled"] | None = None

    max_tool_calls: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None

    background_options: Json | None = None
    context_management: Json | list[Json] | None = None
    moderation: Json | None = None
    include: list[str] | None = None
    prompt: Json | None = None
    service_tier: str | None = None
    stream_options: StreamOptions | None = None
    top_logprobs: int | None = None

    prompt_cache_key: str | None = None
    prompt_cache_options: Json | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    user: str | None = None


class CompactFields(Body):
    """The fields of a compaction; those of the last group change nothing here."""

    model: str
    input: str | list[Json] | None = None
    previous_response_id: str | None = None
    instructions: str | None = None

    service_tier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Json | None = None
    prompt_cache_retention: str | None = None


class TokenCountFields(Body):
    """The fields of a request to count the tokens of what a response would be asked."""

    model: str | None = None
    input: str | list[Json] | None = None
    conversation: str | ConversationReference | None = None
    previous_response_id: str | None = None
    instructions: str | None = None
    tools: list[Json] | None = None
    tool_choice: str | Json | None = None
    parallel_tool_calls: bool | None = None
    text: TextFields | None = None
    reasoning: ReasoningFields | None = None
    truncation: Literal["auto", "disabled"] | None = None


class StreamQuery(Body):
    """The query of a request that reads a response.

    The fields of the last group are accepted, and mean nothing here.
    """

    stream: bool = False
    starting_after: int = -1

    include_obfuscation: bool | None = None


def as_json(body: Body | None) -> Json | None:
    """Return the fields of a nested body as JSON has them."""
    return None if body is None else msgspec.structs.asdict(body)
