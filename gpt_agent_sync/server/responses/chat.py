"""The Responses wire's words in those of ``/chat/completions``, which models speak."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gpt_agent_sync.server.bodies import Json
from gpt_agent_sync.server.models.base import Chat
from gpt_agent_sync.server.storage import Object


def as_chat(items: Iterable[Object]) -> list[Chat]:
    """Spell items as ``/chat/completions`` does; what it has no words for is left out."""
    chat: list[Chat] = []
    for item in items:
        if item["type"] == "message":
            role = "system" if item["role"] == "developer" else item["role"]
            chat.append({"role": role, "content": _chat_content(item["content"])})
        elif item["type"] == "function_call":
            function = {"name": item["name"], "arguments": item["arguments"]}
            asked = {"id": item["call_id"], "type": "function", "function": function}
            if not chat or chat[-1]["role"] != "assistant":
                chat.append({"role": "assistant", "content": None})
            chat[-1].setdefault("tool_calls", []).append(asked)
        elif item["type"] == "function_call_output":
            output = item["output"]
            content = output if isinstance(output, str) else _chat_content(output)
            chat.append({"role": "tool", "tool_call_id": item["call_id"], "content": content})
    return chat


def _chat_content(parts: Sequence[Json]) -> str | list[Json]:
    spelled = [_chat_part(part) for part in parts]
    told = [part for part in spelled if part is not None]
    if all(part["type"] == "text" for part in told):
        return "\n".join(part["text"] for part in told)
    return told


def _chat_part(part: Json) -> Json | None:
    if part["type"] in ("input_text", "output_text"):
        return {"type": "text", "text": part["text"]}
    if part["type"] == "refusal":
        return {"type": "text", "text": part["refusal"]}
    if part["type"] == "input_image" and part["image_url"]:
        image = {"url": part["image_url"], "detail": part["detail"]}
        return {"type": "image_url", "image_url": image}
    return None


def chat_tool(tool: Json) -> Chat:
    """Spell a function tool as ``/chat/completions`` does."""
    function = {name: tool[name] for name in ("name", "description", "parameters", "strict")}
    return {
        "type": "function",
        "function": {name: value for name, value in function.items() if value is not None},
    }


def chat_choice(choice: str | Json) -> str | Json:
    """Spell a tool choice as ``/chat/completions`` does."""
    if isinstance(choice, str):
        return choice
    return {"type": "function", "function": {"name": choice["name"]}}


def chat_format(form: Json) -> Json | None:
    """Spell a text format as ``/chat/completions`` does; ``None`` for plain text."""
    if form["type"] == "text":
        return None
    if form["type"] == "json_schema":
        schema = {name: value for name, value in form.items() if name != "type"}
        return {"type": "json_schema", "json_schema": schema}
    return form
