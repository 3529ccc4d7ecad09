"""The request bodies of the Responses wire, by OpenAI's published description of it."""

from __future__ import annotations

from typing import Literal

import msgspec

from gpt_agent_sync.server.bodies import Body, Json, Metadata
from gpt_agent_sync.server.features import check_range, says_something, unsupported


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
    include: list[str] | None = None
    prompt: Json | None = None
    service_tier: str | None = None
    stream_options: Json | None = None
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


INCLUDED = frozenset({"reasoning.encrypted_content"})
"""What may be asked to be included: there is none of it, as no reasoning is kept."""


def check_response(fields: ResponseFields) -> None:
    """Check the fields of a response.

    Raises:
        WireError: If one asks for what this server does not have, or is out of its range.
    """
    for param in ("background_options", "context_management", "prompt"):
        if says_something(getattr(fields, param)):
            raise unsupported(param, param)
    for value in fields.include or ():
        if value not in INCLUDED:
            raise unsupported("include", f"'{value}'")
    if fields.service_tier not in (None, "auto", "default"):
        raise unsupported("service_tier", f"the service tier '{fields.service_tier}'")
    if fields.top_logprobs:
        raise unsupported("top_logprobs", "log probabilities")
    reasoning = fields.reasoning
    if reasoning is not None and (reasoning.summary or reasoning.generate_summary):
        raise unsupported("reasoning.summary", "summaries of reasoning")
    check_range("temperature", fields.temperature, 0, 2)
    check_range("top_p", fields.top_p, 0, 1)
    check_range("presence_penalty", fields.presence_penalty, -2, 2)
    check_range("frequency_penalty", fields.frequency_penalty, -2, 2)
    check_range("max_output_tokens", fields.max_output_tokens, 1)
    check_range("max_tool_calls", fields.max_tool_calls, 1)


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
