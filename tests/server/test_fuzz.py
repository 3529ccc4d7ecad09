"""Whatever is sent to any route is answered, and never by a failure of the server."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import hypothesis.strategies as st
import pytest
from flask import Flask
from hypothesis import given, settings

from gpt_agent_sync.server.app import create_app, make_engine
from gpt_agent_sync.server.engine import Engine

QUICK = settings(max_examples=150, deadline=None, derandomize=True)

TEXTS = st.one_of(
    st.sampled_from(
        ["", "\x00", "\ud800", "..", "%00", "a" * 5000, "\u202e", "\U0001f600", "null"]
    ),
    st.text(max_size=20),
)
VALUES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        TEXTS,
        st.just(2**70),
        st.just(-(2**63)),
    ),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)
FIELDS = st.sampled_from(
    [
        *("model", "name", "instructions", "tools", "tool_resources", "metadata", "temperature"),
        *("top_p", "response_format", "messages", "role", "content", "attachments", "assistant_id"),
        *("additional_messages", "truncation_strategy", "tool_choice", "max_prompt_tokens"),
        *("tool_outputs", "items", "input", "conversation", "previous_response_id", "text"),
        *("reasoning", "include", "max_output_tokens", "background", "stream", "store", "thread"),
    ]
)
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.one_of(
            st.sampled_from(
                [
                    *("message", "function_call", "function_call_output", "reasoning"),
                    *("item_reference", "compaction", "input_text", "input_image", "text"),
                ]
            ),
            VALUES,
        ),
        "id": TEXTS,
        "role": st.one_of(st.sampled_from(["user", "assistant", "system"]), VALUES),
        "content": VALUES,
        "call_id": VALUES,
        "output": VALUES,
        "arguments": VALUES,
        "name": VALUES,
        "encrypted_content": VALUES,
    },
)
BODIES = st.one_of(
    VALUES,
    st.dictionaries(FIELDS, st.one_of(VALUES, ITEMS, st.lists(ITEMS, max_size=3)), max_size=5),
)


@pytest.fixture(scope="module")
def served() -> Iterator[tuple[Flask, Engine]]:
    """Yield an application and its engine."""
    engine = make_engine(":memory:")
    yield create_app(engine), engine
    engine.close()


def routes(app: Flask) -> list[tuple[str, str]]:
    """Return the method and the path of each route below ``/v1``."""
    return sorted(
        (method, str(rule))
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
        if str(rule).startswith("/v1/")
    )


def real_ids(app: Flask) -> dict[str, str]:
    """Return ids of objects that are there, by the names that routes have for them."""
    client = app.test_client()
    said = {"messages": [{"role": "user", "content": "hi"}]}
    thread_id = client.post("/v1/threads", json=said).get_json()["id"]
    assistant_id = client.post("/v1/assistants", json={"model": "demo"}).get_json()["id"]
    run = client.post(f"/v1/threads/{thread_id}/runs", json={"assistant_id": assistant_id})
    response = client.post("/v1/responses", json={"model": "demo", "input": "hi"}).get_json()
    return {
        "thread_id": thread_id,
        "assistant_id": assistant_id,
        "run_id": run.get_json()["id"],
        "response_id": response["id"],
        "conversation_id": client.post("/v1/conversations").get_json()["id"],
    }


def check(answer: Any) -> None:
    """Check that an answer is JSON, or a stream, and no failure of the server."""
    assert answer.status_code < 500, answer.get_data(as_text=True)
    if answer.mimetype == "text/event-stream":
        answer.get_data()
        return
    found = json.loads(answer.get_data())
    if answer.status_code >= 400:
        assert set(found["error"]) == {"message", "type", "param", "code"}


@given(data=st.data())
@QUICK
def test_no_body_breaks_the_server(served: tuple[Flask, Engine], data: st.DataObject) -> None:
    """Any JSON is answered on any route, by what was asked or by a refusal."""
    app, _ = served
    method, path = data.draw(st.sampled_from([each for each in routes(app) if each[0] == "POST"]))
    ids = real_ids(app)
    path = re.sub(r"<(?:path:)?(\w+)>", lambda found: ids.get(found[1], "x"), path)
    body = json.dumps(data.draw(BODIES))
    answer = app.test_client().open(path, method=method, data=body, content_type="application/json")
    check(answer)


REASONING: dict[str, Any] = {"type": "reasoning", "summary": []}
DEEP = "gas1." + base64.urlsafe_b64encode(b"[" * 100_000).decode()


def formed(schema: Any) -> dict[str, Any]:
    """Return a response that is to be JSON of a schema."""
    form = {"type": "json_schema", "name": "f", "schema": schema}
    return {"model": "demo", "input": "hi", "text": {"format": form}}


def with_type(kind: Any) -> Any:
    """Return a schema of an object with one property of a type."""
    return {"type": "object", "properties": {"a": {"type": kind}}, "required": ["a"]}


@pytest.mark.parametrize(
    "body",
    [
        {"model": "demo", "input": [{**REASONING, "status": {}}]},
        {"model": "demo", "input": [{**REASONING, "run_id": {}}]},
        {"model": "demo", "input": [{**REASONING, "status": "x" * 99}]},
        {"model": "demo", "input": [{"type": "compaction", "encrypted_content": DEEP}]},
        *(formed(schema) for schema in (5, {"properties": 5}, {"type": "object", "required": 5})),
        formed(with_type(["string", "null"])),
        formed(with_type({})),
        formed(with_type(5)),
    ],
)
def test_what_once_broke_the_server(served: tuple[Flask, Engine], body: dict[str, Any]) -> None:
    """A response is completed, or refused, and no model breaks on it."""
    app, _ = served
    conversation_id = app.test_client().post("/v1/conversations").get_json()["id"]
    answer = app.test_client().post("/v1/responses", json={**body, "conversation": conversation_id})
    found = answer.get_json()
    assert (answer.status_code, found.get("status")) in ((200, "completed"), (400, None)), found


@given(
    body=st.one_of(
        st.binary(max_size=200),
        st.text(max_size=200).map(lambda text: text.encode("utf-8", "replace")),
    )
)
@QUICK
def test_no_bytes_break_the_server(served: tuple[Flask, Engine], body: bytes) -> None:
    """Bytes that are no JSON are refused."""
    app, _ = served
    for path in ("/v1/threads", "/v1/responses", "/v1/chat/completions"):
        check(app.test_client().post(path, data=body, content_type="application/json"))


@given(data=st.data())
@QUICK
def test_no_id_or_query_breaks_the_server(
    served: tuple[Flask, Engine], data: st.DataObject
) -> None:
    """Any text as an id, or as a query's value, is answered on any route."""
    app, _ = served
    method, path = data.draw(st.sampled_from(routes(app)))
    ids = real_ids(app)

    def fill(found: re.Match[str]) -> str:
        text = data.draw(TEXTS).encode("utf-8", "replace").decode()
        return ids.get(found[1], text) if data.draw(st.booleans()) else text or "x"

    path = re.sub(r"<(?:path:)?(\w+)>", fill, path)
    names = ("limit", "order", "after", "before", "run_id", "stream", "starting_after")
    query = {
        name: data.draw(TEXTS).encode("utf-8", "replace").decode()
        for name in names
        if data.draw(st.booleans())
    }
    answer = app.test_client().open(path.replace("?", "%3F"), method=method, query_string=query)
    check(answer)
