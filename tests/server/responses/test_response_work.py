"""Responses in progress: what their models are asked, and work that breaks."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.responses.response_work import ResponseWork
from gpt_agent_sync.testing import Hold, Reply
from tests.support.responses_client import (
    outputs_of,
)
from tests.support.server_setup import (
    TWO_CALLS,
    MakeResponseSetup,
    drop_table,
    wait_until_idle,
)
from tests.support.wire_client import Json


def test_model_reads_the_conversation(response_setup: MakeResponseSetup) -> None:
    """The model is asked with the instructions, the conversation and the input, in this order."""
    setup = response_setup(Reply("one"))
    conversation_id, _ = setup.answered()
    assert setup.chat_of(conversation=conversation_id, input="and?", instructions="Be kind.") == [
        ("system", "Be kind."),
        ("user", "hi"),
        ("assistant", "one"),
        ("user", "and?"),
    ]


def test_model_reads_the_chain(response_setup: MakeResponseSetup) -> None:
    """The model is asked with all earlier responses, oldest first."""
    setup = response_setup(Reply("one"), Reply("two"))
    first = setup.wire.respond(input="a")
    second = setup.wire.respond(input="b", previous_response_id=first["id"])
    assert setup.chat_of(input="c", previous_response_id=second["id"]) == [
        ("user", "a"),
        ("assistant", "one"),
        ("user", "b"),
        ("assistant", "two"),
        ("user", "c"),
    ]


def test_chain_forks(response_setup: MakeResponseSetup) -> None:
    """Two responses may go on from the same one, and do not read each other."""
    setup = response_setup(Reply("one"))
    first = setup.wire.respond(input="a")
    setup.wire.respond(input="b", previous_response_id=first["id"])
    assert setup.chat_of(input="c", previous_response_id=first["id"]) == [
        ("user", "a"),
        ("assistant", "one"),
        ("user", "c"),
    ]


def test_instructions_are_not_carried_over(response_setup: MakeResponseSetup) -> None:
    """The instructions of an earlier response are not those of the next."""
    setup = response_setup()
    first = setup.wire.respond(input="a", instructions="Be kind.")
    chat = setup.chat_of(input="b", previous_response_id=first["id"])
    assert chat == [("user", "a"), ("assistant", "ok"), ("user", "b")]


def test_chain_without_its_beginning(response_setup: MakeResponseSetup) -> None:
    """A chain whose beginning was deleted goes on with what is left of it."""
    setup = response_setup(Reply("one"), Reply("two"))
    first = setup.wire.respond(input="a")
    second = setup.wire.respond(input="b", previous_response_id=first["id"])
    setup.wire.delete(f"/responses/{first['id']}")
    assert setup.chat_of(input="c", previous_response_id=second["id"]) == [
        ("user", "b"),
        ("assistant", "two"),
        ("user", "c"),
    ]


def test_model_reads_calls_and_outputs(response_setup: MakeResponseSetup) -> None:
    """The model reads calls and outputs as chats have them."""
    setup = response_setup(TWO_CALLS, Reply("done"))
    conversation_id, response = setup.answered()
    setup.wire.respond(conversation=conversation_id, input=outputs_of(response, "1", "2"))
    one, two = (item["call_id"] for item in response["output"])
    assert setup.model.requests[-1].messages == (
        {"role": "user", "content": "hi"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [
                {
                    "id": one,
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a": 1}'},
                },
                {
                    "id": two,
                    "type": "function",
                    "function": {"name": "add", "arguments": '{"a": 2}'},
                },
            ],
        },
        {"role": "tool", "tool_call_id": one, "content": "1"},
        {"role": "tool", "tool_call_id": two, "content": "2"},
    )


def test_model_reads_images(response_setup: MakeResponseSetup) -> None:
    """Texts and image addresses go to the model."""
    content = [
        {"type": "input_text", "text": "Look:"},
        {"type": "input_image", "image_url": "http://x/y.png"},
    ]
    assert response_setup().chat_of(input=[{"role": "user", "content": content}]) == [
        (
            "user",
            [
                {"type": "text", "text": "Look:"},
                {"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "auto"}},
            ],
        )
    ]


def test_model_gets_the_tools(response_setup: MakeResponseSetup) -> None:
    """Tools go to the model as chats have them, without what they leave open."""
    parameters = {"type": "object", "properties": {"a": {"type": "number"}}}
    setup = response_setup()
    setup.chat_of(
        tools=[
            {
                "type": "function",
                "name": "add",
                "description": "Add.",
                "parameters": parameters,
                "strict": False,
            },
            {"type": "function", "name": "stop", "strict": None},
        ]
    )
    function = {
        "name": "add",
        "description": "Add.",
        "parameters": parameters,
        "strict": False,
    }
    assert setup.model.requests[0].tools == (
        {"type": "function", "function": function},
        {"type": "function", "function": {"name": "stop"}},
    )


@pytest.mark.parametrize(
    "fields, choice",
    [
        ({}, "auto"),
        ({"tool_choice": "none"}, "none"),
        ({"tool_choice": "required"}, "required"),
        (
            {
                "tool_choice": {"type": "function", "name": "add"},
                "tools": [{"type": "function", "name": "add"}],
            },
            {"type": "function", "function": {"name": "add"}},
        ),
    ],
)
def test_model_gets_the_tool_choice(
    response_setup: MakeResponseSetup, fields: Json, choice: str | Json
) -> None:
    """The choice of tools goes to the model as chats have it."""
    setup = response_setup()
    setup.chat_of(**fields)
    assert setup.model.requests[0].tool_choice == choice


SCHEMA = {"name": "sum", "schema": {"type": "object"}, "strict": True}


@pytest.mark.parametrize(
    "fields, options",
    [
        ({}, {}),
        ({"temperature": 0.0}, {"temperature": 0.0}),
        ({"top_p": 0.5}, {"top_p": 0.5}),
        ({"max_output_tokens": 99}, {"max_tokens": 99}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
        ({"presence_penalty": 0.5}, {"presence_penalty": 0.5}),
        ({"text": {"format": {"type": "text"}}}, {}),
        (
            {"text": {"format": {"type": "json_object"}}},
            {"response_format": {"type": "json_object"}},
        ),
        (
            {"text": {"format": {"type": "json_schema", **SCHEMA}}},
            {"response_format": {"type": "json_schema", "json_schema": SCHEMA}},
        ),
    ],
)
def test_model_gets_options(response_setup: MakeResponseSetup, fields: Json, options: Json) -> None:
    """A response's parameters go to the model by its names; what is not said is left out."""
    setup = response_setup()
    setup.chat_of(**fields)
    assert setup.model.requests[0].options == {"parallel_tool_calls": True, **options}


@pytest.mark.parametrize("status", ["in_progress", "completed", "cancelled"])
def test_only_queued_responses_are_started(engine: Engine, status: str) -> None:
    """A response that is in progress or final is left as it is."""
    response = {"id": "resp_1", "status": status, "_stored": True}
    with engine.storage.write() as connection:
        engine.storage.responses.insert(connection, response)
    engine.do(ResponseWork(engine, {**response, "status": "queued"}))
    with engine.storage.read() as connection:
        assert engine.storage.responses.get(connection, "resp_1") == response


def test_response_that_is_gone_is_not_taken_up(engine: Engine) -> None:
    """A response that was deleted before anybody took it up is not begun."""
    assert not ResponseWork(engine, {"id": "resp_1", "status": "queued"}).begin()


def test_response_that_cannot_be_kept(
    caplog: pytest.LogCaptureFixture, response_setup: MakeResponseSetup, tmp_path: Path
) -> None:
    """A database that breaks while a model answers is logged with the response's id."""
    location = tmp_path / "a.db"
    setup = response_setup(Hold(), location=str(location))
    _, response_id = setup.in_progress()
    drop_table(location, "responses")
    setup.release()
    with caplog.at_level(logging.ERROR):
        wait_until_idle()
    assert f"response {response_id} could not be kept" in caplog.text
