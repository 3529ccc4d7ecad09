"""The request bodies of the Responses wire, by OpenAI's published description of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpt_agent_sync.server.bodies import Body, Json, Metadata


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

    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None


class TextFields(Body):
    """The format of the reply's text."""

    format: Json | None = None
    verbosity: str | None = None


class ResponseFields(Body):
    """The fields of a new response.

    The fields of the last group are accepted, and mean nothing here.
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

    background_options: Json | None = None
    include: list[str] | None = None
    max_tool_calls: int | None = None
    prompt_cache_key: str | None = None
    prompt_cache_options: Json | None = None
    prompt_cache_retention: str | None = None
    safety_identifier: str | None = None
    service_tier: str | None = None
    stream_options: Json | None = None
    top_logprobs: int | None = None
    user: str | None = None


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
