"""The format of an answer, as the Assistants wire and ``/chat/completions`` say it."""

from __future__ import annotations

from typing import Any

from gpt_agent_sync.server.bodies import Body, Json, read_fields
from gpt_agent_sync.server.errors import missing, not_one_of
from gpt_agent_sync.server.tool_schemas import check_function

PARAM = "response_format"

_FORMATS = ("text", "json_object", "json_schema")


class _SchemaFields(Body):
    """The schema that an answer is to have."""

    name: str
    description: str | None = None
    schema: Json | None = None
    strict: bool | None = None


class _FormatFields(Body):
    """The format of an answer."""

    type: str
    json_schema: _SchemaFields | None = None


def check_format(form: str | Json | None) -> None:
    """Check the format of an answer.

    Args:
        form: The format; some clients give its type alone.

    Raises:
        WireError: If it is not of the wire.
    """
    if form is None:
        return
    kind = form.get("type") if isinstance(form, dict) else form
    if kind not in _FORMATS:
        raise not_one_of(PARAM, kind, _FORMATS)
    given: Json = form if isinstance(form, dict) else {"type": form}
    schema: Any = given.get("json_schema")
    if kind == "json_schema" and not (isinstance(schema, dict) and schema.get("name")):
        raise missing(f"{PARAM}.json_schema.name")
    fields = read_fields(given, _FormatFields, PARAM)
    if fields.json_schema is not None:
        function = {**schema, "parameters": fields.json_schema.schema}
        check_function(function, f"{PARAM}.json_schema")
