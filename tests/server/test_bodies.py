"""What request bodies and queries may say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gpt_agent_sync.server.assistants import bodies
from gpt_agent_sync.server.bodies import Body, ListQuery, MetadataFields, read_body, read_query
from gpt_agent_sync.server.errors import WireError

USER = {"role": "user", "content": "hi"}
TOO_MANY = {f"key{number}": "x" for number in range(17)}


def refused(data: object, body_class: type[Body]) -> WireError:
    """Return the refusal of a body."""
    with pytest.raises(WireError) as caught:
        read_body(json.dumps(data).encode(), body_class)
    return caught.value


@pytest.mark.parametrize("data", [None, [], "text", 3, True])
def test_body_is_an_object(data: object) -> None:
    """A body that is no JSON object is refused."""
    assert refused(data, bodies.ThreadFields).message == ("The request body must be a JSON object.")


@pytest.mark.parametrize(
    "data, body_class, param",
    [
        ({}, bodies.RunFields, "assistant_id"),
        ({"content": "hi"}, bodies.MessageFields, "role"),
        ({"role": "user"}, bodies.MessageFields, "content"),
        ({"messages": [USER, {"role": "user"}]}, bodies.ThreadFields, "messages[1].content"),
        ({}, bodies.OutputsFields, "tool_outputs"),
        ({"tool_outputs": [{}]}, bodies.OutputsFields, "tool_outputs[0].tool_call_id"),
    ],
)
def test_missing_parameter(data: object, body_class: type[Body], param: str) -> None:
    """A missing parameter is named with its place."""
    error = refused(data, body_class)
    assert (error.message, error.param, error.code) == (
        f"Missing required parameter: '{param}'.",
        param,
        "missing_required_parameter",
    )


@pytest.mark.parametrize(
    "data, body_class, param",
    [
        ({"nonsense": 1}, bodies.ThreadFields, "nonsense"),
        ({"messages": [{**USER, "x": 1}]}, bodies.ThreadFields, "messages[0].x"),
        (
            {"assistant_id": "a", "thread": {"x": 1}},
            bodies.ThreadAndRunFields,
            "thread.x",
        ),
    ],
)
def test_unknown_parameter(data: object, body_class: type[Body], param: str) -> None:
    """An unknown parameter is named with its place."""
    error = refused(data, body_class)
    assert (error.message, error.param, error.code) == (
        f"Unknown parameter: '{param}'.",
        param,
        "unknown_parameter",
    )


@pytest.mark.parametrize(
    "data, body_class, param",
    [
        ({"role": "system", "content": "x"}, bodies.MessageFields, "role"),
        ({"role": "user", "content": 3}, bodies.MessageFields, "content"),
        ({"messages": {}}, bodies.ThreadFields, "messages"),
        ({"metadata": {"a": 1}}, bodies.ThreadFields, "metadata[...]"),
        ({"temperature": "hot"}, bodies.AssistantFields, "temperature"),
        ({"tools": ["add"]}, bodies.AssistantFields, "tools[0]"),
        ({"tool_outputs": [{"tool_call_id": "a", "output": 5}]}, bodies.OutputsFields, None),
    ],
)
def test_wrong_value(data: object, body_class: type[Body], param: str | None) -> None:
    """A value of the wrong kind is refused with its place."""
    error = refused(data, body_class)
    assert error.param == (param or "tool_outputs[0].output")


def test_wrong_value_names_the_type() -> None:
    """The refusal of a value says what was expected."""
    assert refused({"role": "user", "content": 3}, bodies.MessageFields).message == (
        "Invalid value for 'content': Expected `str | array`, got `int`."
    )


@pytest.mark.parametrize(
    "metadata, message",
    [
        (TOO_MANY, "Too many metadata pairs: 17; 16 is the most."),
        (
            {"k" * 65: "x"},
            f"Metadata key '{'k' * 64}' or its value is too long: "
            "64 and 512 characters are the most.",
        ),
        (
            {"key": "x" * 513},
            "Metadata key 'key' or its value is too long: 64 and 512 characters are the most.",
        ),
    ],
)
def test_metadata_has_bounds(metadata: dict[str, str], message: str) -> None:
    """Metadata is 16 pairs of at most 64 and 512 characters."""
    error = refused({"metadata": metadata}, MetadataFields)
    assert (error.message, error.param) == (message, "metadata")


@pytest.mark.parametrize(
    "data, body_class",
    [
        ({"messages": [{**USER, "metadata": TOO_MANY}]}, bodies.ThreadFields),
        ({"assistant_id": "a", "thread": {"metadata": TOO_MANY}}, bodies.ThreadAndRunFields),
        (
            {"assistant_id": "a", "additional_messages": [{**USER, "metadata": TOO_MANY}]},
            bodies.RunFields,
        ),
    ],
)
def test_nested_metadata_has_bounds(data: object, body_class: type[Body]) -> None:
    """Metadata inside a body is bounded as the body's own is."""
    assert refused(data, body_class).message == "Too many metadata pairs: 17; 16 is the most."


@pytest.mark.parametrize(
    "metadata", [None, {}, {"k" * 64: "x" * 512}, dict(list(TOO_MANY.items())[:16])]
)
def test_metadata_within_bounds(metadata: dict[str, str] | None) -> None:
    """Metadata up to the bounds is taken as it is."""
    body = json.dumps({"metadata": metadata}).encode()
    assert read_body(body, MetadataFields).metadata == metadata


def test_query_has_defaults() -> None:
    """A list gives twenty, newest first, when nothing is said."""
    query = read_query({})
    assert (query.limit, query.order, query.after, query.before) == (20, "desc", None, None)


def test_query_is_read_from_texts() -> None:
    """Numbers in a query come as texts."""
    assert read_query({"limit": "5"}).limit == 5


def test_query_passes_over_the_unknown() -> None:
    """A parameter that lists do not know changes nothing."""
    assert read_query({"api-version": "v1"}) == ListQuery()


@pytest.mark.parametrize("limit", ["0", "101", "-1"])
def test_limit_has_a_range(limit: str) -> None:
    """A limit outside 1 to 100 is refused in the wire's words."""
    with pytest.raises(WireError) as caught:
        read_query({"limit": limit})
    assert caught.value.message == (
        "Invalid 'limit': integer out of range. "
        f"Expected a value between 1 and 100, but got {limit} instead."
    )


@pytest.mark.parametrize("limit", ["1", "100"])
def test_limit_takes_its_ends(limit: str) -> None:
    """One and a hundred are limits."""
    assert read_query({"limit": limit}).limit == int(limit)


@pytest.mark.parametrize("name, value", [("limit", "many"), ("order", "up")])
def test_query_value_is_refused(name: str, value: str) -> None:
    """A query value of the wrong kind is refused by its name."""
    with pytest.raises(WireError) as caught:
        read_query({name: value})
    assert (caught.value.status, caught.value.param) == (400, name)


@pytest.mark.parametrize(
    "content",
    [
        "hi",
        [{"type": "text", "text": "hi"}],
        [{"type": "text", "text": {"value": "hi", "annotations": []}}],
    ],
)
def test_text_content(content: bodies.Content) -> None:
    """Text is kept as one text part, however it is written."""
    assert bodies.read_content(content) == [
        {"type": "text", "text": {"value": "hi", "annotations": []}}
    ]


def test_image_content() -> None:
    """Images are kept as they are."""
    part = {"type": "image_url", "image_url": {"url": "http://x/y.png"}}
    assert bodies.read_content([part]) == [part]


@pytest.mark.parametrize(
    "content",
    ["", [], [{"type": "text", "text": ""}], [{"type": "text", "text": {}}], [{"type": "text"}]],
)
def test_empty_content(content: bodies.Content) -> None:
    """A message without a text is refused."""
    with pytest.raises(WireError) as caught:
        bodies.read_content(content)
    assert caught.value.message == "Message content must be non-empty."


@pytest.mark.parametrize(
    "part, kind",
    [
        ({"type": "audio"}, "audio"),
        ({}, "None"),
    ],
)
def test_unknown_content(part: dict[str, Any], kind: str) -> None:
    """A part that the wire does not have is refused."""
    with pytest.raises(WireError) as caught:
        bodies.read_content([part])
    assert caught.value.message == f"Invalid content part of type '{kind}'."


@pytest.mark.parametrize(
    "image, param",
    [
        ("http://x/y.png", "content.image_url"),
        ({}, "content.image_url.url"),
        ({"url": ""}, "content.image_url.url"),
        ({"url": 5}, "content.image_url.url"),
        ({"url": "http://x/y.png", "detail": {}}, "content.image_url.detail"),
        ({"url": "http://x/y.png", "size": 5}, "content.image_url.size"),
    ],
)
def test_image_that_is_none(image: object, param: str) -> None:
    """An image without an address, or with more than the wire has, is refused."""
    with pytest.raises(WireError) as caught:
        bodies.read_content([{"type": "image_url", "image_url": image}])
    assert caught.value.param == param
