"""What a response is asked to do: its tools, its format, its bounds; checked, and shown."""

from __future__ import annotations

from collections.abc import Sequence

from gpt_agent_sync.server.bodies import Json, read_fields
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.errors import WireError, missing, not_one_of
from gpt_agent_sync.server.features import (
    check_range,
    check_sampling,
    check_tier,
    says_something,
    unsupported,
)
from gpt_agent_sync.server.responses import lifecycle
from gpt_agent_sync.server.responses.bodies import (
    FunctionChoice,
    FunctionTool,
    PlainFormat,
    ReasoningFields,
    ResponseFields,
    SchemaFormat,
    as_json,
)
from gpt_agent_sync.server.storage.collection import Object
from gpt_agent_sync.server.tool_schemas import check_count, check_function

_CHOICES = ("auto", "none", "required")
_FORMATS = ("text", "json_object", "json_schema")
_FUNCTION = ("function",)

INCLUDED = frozenset({"reasoning.encrypted_content"})
"""What may be asked to be included: there is none of it, as no reasoning is kept."""


def check_response(fields: ResponseFields) -> None:
    """Check the fields of a response.

    Raises:
        WireError: If one asks for what this server does not have, or is out of its range.
    """
    for param in ("background_options", "context_management", "moderation", "prompt"):
        if says_something(getattr(fields, param)):
            raise unsupported(param, param)
    for value in fields.include or ():
        if value not in INCLUDED:
            raise unsupported("include", f"'{value}'")
    check_tier(fields.service_tier)
    if fields.top_logprobs:
        raise unsupported("top_logprobs", "log probabilities")
    check_reasoning(fields.reasoning)
    check_sampling(fields)
    check_range("max_output_tokens", fields.max_output_tokens, 1)
    check_range("max_tool_calls", fields.max_tool_calls, 1)


def check_reasoning(reasoning: ReasoningFields | None) -> None:
    """Check how a model is to think.

    Raises:
        WireError: If its thoughts are asked for, of which none are kept.
    """
    if reasoning is None:
        return
    if reasoning.summary or reasoning.generate_summary:
        raise unsupported("reasoning.summary", "summaries of reasoning")
    for name in ("mode", "context"):
        value = getattr(reasoning, name)
        if value not in (None, "auto"):
            raise unsupported(f"reasoning.{name}", f"the {name} '{value}' of reasoning")


def check_tools(tools: Sequence[Json]) -> list[Json]:
    """Return the tools of a response as it shows them.

    Raises:
        WireError: If one is no function tool, as this server has no others, or is malformed.
    """
    check_count(tools)
    for index, tool in enumerate(tools):
        if tool.get("type") != "function":
            raise not_one_of(f"tools[{index}].type", tool.get("type"), _FUNCTION)
        # First what is missing: a tool of /chat/completions has it one level lower.
        check_function(tool, f"tools[{index}]")
        fields = read_fields(tool, FunctionTool, f"tools[{index}]")
        for name in ("output_schema", "defer_loading", "allowed_callers"):
            if says_something(getattr(fields, name)) and getattr(fields, name) is not False:
                raise unsupported(f"tools[{index}].{name}", name)
    # Shown with all fields, as OpenAI's types demand, whatever was left out.
    defaults = {"description": None, "parameters": None, "strict": None}
    return [{**defaults, **tool} for tool in tools]


def check_choice(choice: str | Json | None, tools: Sequence[Json]) -> str | Json:
    """Return the tool choice of a response.

    Args:
        choice: The choice.
        tools: The tools there are.

    Raises:
        WireError: If it is of a kind that this server does not have, or names none of the tools.
    """
    if choice is None:
        return "auto"
    if isinstance(choice, str):
        if choice not in _CHOICES:
            raise not_one_of("tool_choice", choice, _CHOICES)
    elif choice.get("type") != "function":
        raise not_one_of("tool_choice.type", choice.get("type"), _FUNCTION)
    elif choice.get("name") is None:
        raise missing("tool_choice.name")
    else:
        name = read_fields(choice, FunctionChoice, "tool_choice").name
        if name not in [tool["name"] for tool in tools]:
            raise WireError(
                400, f"Tool choice '{name}' not found in 'tools' parameter.", param="tool_choice"
            )
    return choice


def check_format(form: Json | None) -> Json:
    """Return the text format of a response.

    Raises:
        WireError: If it is not of the wire.
    """
    if form is None:
        return {"type": "text"}
    if form.get("type") not in _FORMATS:
        raise not_one_of("text.format.type", form.get("type"), _FORMATS)
    if form["type"] == "json_schema":
        for name in ("name", "schema"):
            if not form.get(name):
                raise missing(f"text.format.{name}")
        read_fields(form, SchemaFormat, "text.format")
        check_function({**form, "parameters": form["schema"]}, "text.format")
    else:
        read_fields(form, PlainFormat, "text.format")
    return dict(form)


def shown(engine: Engine, fields: ResponseFields) -> Object:
    """Return the options of a response, as it shows them."""
    text = as_json(fields.text) or {}
    tools = check_tools(fields.tools or ())
    reasoning = as_json(fields.reasoning) or {}
    verbosity = text.get("verbosity")
    return {
        "model": engine.resolve_model(fields.model),
        "instructions": fields.instructions,
        "max_output_tokens": fields.max_output_tokens,
        "max_tool_calls": fields.max_tool_calls,
        "metadata": fields.metadata or {},
        "parallel_tool_calls": fields.parallel_tool_calls is not False,
        "reasoning": {"effort": reasoning.get("effort"), "summary": None},
        "service_tier": "default",
        "store": fields.store is not False,
        # Shown as they are where nobody says: the model then has its own.
        "temperature": 1.0 if fields.temperature is None else fields.temperature,
        "top_p": 1.0 if fields.top_p is None else fields.top_p,
        "presence_penalty": fields.presence_penalty or 0.0,
        "frequency_penalty": fields.frequency_penalty or 0.0,
        "text": {
            "format": check_format(text.get("format")),
            **({} if verbosity is None else {"verbosity": verbosity}),
        },
        "tool_choice": check_choice(fields.tool_choice, tools),
        "tools": tools,
        "top_logprobs": 0,
        "truncation": fields.truncation or "disabled",
        "user": fields.user,
        "safety_identifier": fields.safety_identifier,
        "prompt_cache_key": fields.prompt_cache_key,
        lifecycle.SAMPLING: {
            "temperature": fields.temperature,
            "top_p": fields.top_p,
            "presence_penalty": fields.presence_penalty,
            "frequency_penalty": fields.frequency_penalty,
            "verbosity": verbosity,
        },
    }
