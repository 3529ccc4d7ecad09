"""Conversations + Responses against servers that answer as real ones do: what is sent."""

from __future__ import annotations

import gc
import logging
import threading
from typing import Any

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.errors import (
    AuthenticationError,
    BlankValueError,
    ConfigurationError,
    InvalidThreadIdError,
    ProtocolError,
    RequestRejectedError,
    ServiceUnavailableError,
)
from gpt_agent_sync.records import (
    AssistantDefinition,
    Message,
    RunOptions,
    RunSnapshot,
    ToolSchema,
    UserMessage,
)
from gpt_agent_sync.services.responses import ResponsesService, service
from tests.support.feeds import follow
from tests.support.responses_stub import (
    ADD,
    CREATE,
    HELLO,
    ITEMS,
    OPEN,
    REQUEST,
    Serve,
    begin,
    bodies,
    response,
    said,
)
from tests.support.stub import HangUp, Request, Response, error, listing, table

pytestmark = pytest.mark.usefixtures("short_pauses")

PATIENCE = 10.0
SUM = ToolSchema(name="add", description="Add.", parameters={"type": "object"})
FLAT_SUM = {
    "type": "function",
    "name": "add",
    "description": "Add.",
    "parameters": {"type": "object"},
    "strict": False,
}


# address, key, identity


def test_key_is_needed_at_openai() -> None:
    """Without an address there must be a key, and the refusal names its variable."""
    with pytest.raises(ConfigurationError, match="OPENAI_API_KEY"):
        ResponsesService()


def test_key_of_the_environment_leads_to_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    """With OPENAI_API_KEY set and no address the service is OpenAI's own."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert ResponsesService() == ResponsesService("https://api.openai.com/v1", "k")


def test_token_source_serves_at_openai() -> None:
    """A token source takes the place of a key."""
    made = ResponsesService(auth=lambda: "token")
    assert made.base_url == "https://api.openai.com/v1"


def test_address_of_the_environment_is_honoured(monkeypatch: pytest.MonkeyPatch) -> None:
    """OPENAI_BASE_URL leads elsewhere, where no key is needed."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host/v1/")
    assert ResponsesService() == ResponsesService("http://host/v1")


def test_key_and_project_go_along(serve_responses: Serve) -> None:
    """Every request carries the key and the project, and no header of the other wire."""
    talker, stub = serve_responses({}, organization="o", project="p")
    talker.open_thread("c")
    headers = stub.requests[0].headers
    assert headers["authorization"] == "Bearer sk-secret"
    assert (headers["openai-organization"], headers["openai-project"]) == ("o", "p")
    assert "openai-beta" not in headers


def test_key_is_never_shown(serve_responses: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Neither repr, nor logs, nor errors show the key."""
    caplog.set_level(logging.DEBUG)
    talker, _ = serve_responses({CREATE: [error(401, "bad key")]})
    with pytest.raises(AuthenticationError) as refused:
        talker.post_message(REQUEST, HELLO)
    shown = f"{talker!r} {talker.identity!r} {caplog.text} {refused.value} {refused.value!r}"
    assert "sk-secret" not in shown


# conversations


@pytest.mark.parametrize(
    "refusal",
    [
        error(404, "Conversation with id 'c' not found."),
        error(400, "Invalid 'conversation_id'"),
        error(403, "not yours"),
        Response({"detail": "Conversation not found"}, status=404),
        Response({"detail": [{"msg": "malformed"}]}, status=422),
    ],
)
def test_unknown_conversation_is_known_by_its_refusals(
    serve_responses: Serve, refusal: Response
) -> None:
    """However a server says that there is no such conversation, it is an invalid id."""
    talker, _ = serve_responses({OPEN: [refusal]})
    with pytest.raises(InvalidThreadIdError):
        talker.open_thread("c")


def test_wrong_key_is_no_invalid_id(serve_responses: Serve) -> None:
    """A refused key says nothing about the conversation."""
    talker, _ = serve_responses({OPEN: [error(401, "bad key")]})
    with pytest.raises(AuthenticationError):
        talker.open_thread("c")


def test_thread_of_the_other_wire_is_refused_without_a_request(serve_responses: Serve) -> None:
    """An id of the Assistants wire is refused at once, and the refusal names the notes."""
    talker, stub = serve_responses({})
    with pytest.raises(InvalidThreadIdError, match=r"Assistants.*docs/moving_to_responses\.md"):
        talker.open_thread("thread_1")
    assert stub.requests == []


def test_ids_are_quoted(serve_responses: Serve) -> None:
    """An id with odd characters stays one part of the path."""
    talker, stub = serve_responses({})
    with pytest.raises(InvalidThreadIdError):
        talker.open_thread("a/b?c")
    assert stub.lines == ["GET /conversations/a%2Fb%3Fc"]


def test_conversation_is_made_with_a_body(serve_responses: Serve) -> None:
    """A conversation without history is asked for with an empty object."""
    talker, stub = serve_responses({"POST /conversations": [Response({"id": "c"})]})
    assert talker.create_thread() == "c"
    assert stub.requests[0].body == {}


def test_metadata_go_into_the_conversation(serve_responses: Serve) -> None:
    """The program's metadata are those of the conversation."""
    talker, stub = serve_responses({"POST /conversations": [Response({"id": "c"})]})
    talker.create_thread(metadata={"k": "v"})
    assert stub.requests[0].body == {"metadata": {"k": "v"}}


def test_answer_without_an_id_is_a_protocol_error(serve_responses: Serve) -> None:
    """An answer that lacks what the wire promises names the request and the field."""
    talker, _ = serve_responses({"POST /conversations": [Response({"object": "conversation"})]})
    with pytest.raises(ProtocolError, match=r"POST .*/conversations.*'id'"):
        talker.create_thread()


def history(count: int) -> list[Message]:
    """Return messages for a thread to begin with."""
    return [Message(id="", role="user", content=str(number)) for number in range(count)]


def test_history_goes_twenty_items_a_call(serve_responses: Serve) -> None:
    """History comes in order, with the conversation as far as it fits, then in further calls."""
    talker, stub = serve_responses(
        {"POST /conversations": [Response({"id": "c"})], ADD: [listing()]}
    )
    talker.create_thread(history(45))
    sent = [request.body["items"] for request in stub.requests]
    assert [len(items) for items in sent] == [20, 20, 5]
    assert [item["content"] for items in sent for item in items] == [str(n) for n in range(45)]


@pytest.mark.parametrize("arrived, calls", [(25, 1), (20, 2)])
def test_lost_answer_to_history_is_polled_up(
    serve_responses: Serve, arrived: int, calls: int
) -> None:
    """History whose answer was lost is counted, and added again only when it is not there."""
    items = [said(str(number), f"msg_{number}", "user") for number in range(arrived)]
    talker, stub = serve_responses(
        {
            "POST /conversations": [Response({"id": "c"})],
            ADD: [HangUp, listing()],
            ITEMS: [listing(*items)],
        }
    )
    talker.create_thread(history(25))
    assert stub.lines.count(ADD) == calls


# assistants


def test_assistant_is_made_without_a_request(serve_responses: Serve) -> None:
    """An assistant lives in the program, under an id that looks like one."""
    talker, stub = serve_responses({})
    assert talker.create_assistant(AssistantDefinition(model="m")).startswith("asst_")
    assert stub.requests == []


def test_registered_id_is_given_back(serve_responses: Serve) -> None:
    """The id that an assistant is registered under is the program's choice."""
    talker, _ = serve_responses({})
    assert talker.register_assistant("asst_old", model="m") == "asst_old"


def test_registering_again_replaces_the_assistant(serve_responses: Serve) -> None:
    """The last definition that was registered under an id is the one that runs."""
    talker, stub = serve_responses({CREATE: [response()]})
    for model in ("one", "two"):
        talker.register_assistant("asst_old", model=model)
    talker.post_message(attrs.evolve(REQUEST, assistant_id="asst_old"), HELLO)
    assert bodies(stub)[0]["model"] == "two"


@pytest.mark.parametrize("blank", [{"assistant_id": " "}, {"model": ""}])
def test_blank_registration_is_refused(serve_responses: Serve, blank: dict[str, Any]) -> None:
    """Neither the id nor the model may be blank."""
    talker, _ = serve_responses({})
    with pytest.raises(BlankValueError):
        talker.register_assistant(**{"assistant_id": "a", "model": "m", **blank})


def test_unregistered_assistant_is_refused_without_a_request(serve_responses: Serve) -> None:
    """An assistant's id that nobody registered is named, and so is the way to register it."""
    talker, stub = serve_responses({})
    with pytest.raises(ConfigurationError, match=r"register_assistant\('asst_x'"):
        talker.post_message(attrs.evolve(REQUEST, assistant_id="asst_x"), HELLO)
    assert stub.requests == []


def test_run_needs_an_assistant(serve_responses: Serve) -> None:
    """A run without an assistant is refused before any request."""
    talker, stub = serve_responses({})
    with pytest.raises(ConfigurationError, match="no assistant"):
        talker.post_message(attrs.evolve(REQUEST, assistant_id=None), HELLO)
    assert stub.requests == []


def test_name_of_a_model_is_an_assistant_id(serve_responses: Serve) -> None:
    """What is registered nowhere is the name of a model, slashes included."""
    talker, stub = serve_responses({CREATE: [response()]})
    talker.post_message(attrs.evolve(REQUEST, assistant_id="org/model"), HELLO)
    assert bodies(stub)[0]["model"] == "org/model"


def test_unknown_model_is_explained(serve_responses: Serve) -> None:
    """Where a server does not know the model, the refusal says where its name came from."""
    refusal = error(400, "The model 'tutor' does not exist", code="model_not_found")
    talker, _ = serve_responses({CREATE: [refusal]})
    with pytest.raises(RequestRejectedError, match=r"'tutor' is not registered") as refused:
        talker.post_message(attrs.evolve(REQUEST, assistant_id="tutor"), HELLO)
    assert (refused.value.status, refused.value.code) == (400, "model_not_found")


def test_unknown_model_of_a_registered_assistant_is_told_as_it_is(serve_responses: Serve) -> None:
    """A registered assistant's model that the server does not know needs no explanation."""
    talker, _ = serve_responses({CREATE: [error(404, "no model 'x'", code="model_not_found")]})
    talker.register_assistant("tutor", model="x")
    with pytest.raises(RequestRejectedError) as refused:
        talker.post_message(attrs.evolve(REQUEST, assistant_id="tutor"), HELLO)
    assert "not registered" not in str(refused.value)


def test_equal_services_share_their_assistants(serve_responses: Serve) -> None:
    """An assistant of one service object is known to an equal one."""
    talker, stub = serve_responses({CREATE: [response()]})
    assistant_id = talker.create_assistant(AssistantDefinition(model="shared"))
    ResponsesService(stub.base_url, "sk-secret").post_message(
        attrs.evolve(REQUEST, assistant_id=assistant_id), HELLO
    )
    assert bodies(stub)[0]["model"] == "shared"


def test_other_services_have_other_assistants(serve_responses: Serve) -> None:
    """An assistant of one service is not known to one with another key."""
    talker, stub = serve_responses({})
    assistant_id = talker.create_assistant(AssistantDefinition(model="own"))
    with pytest.raises(ConfigurationError, match="not known here"):
        ResponsesService(stub.base_url, "other").post_message(
            attrs.evolve(REQUEST, assistant_id=assistant_id), HELLO
        )


def test_assistants_outlive_their_service(serve_responses: Serve) -> None:
    """What was registered stays known to equal services, though the first object is gone."""
    talker, stub = serve_responses({CREATE: [response()]})
    talker.register_assistant("asst_old", model="kept")
    del talker
    gc.collect()
    request = attrs.evolve(REQUEST, assistant_id="asst_old")
    ResponsesService(stub.base_url, "sk-secret").post_message(request, HELLO)
    assert bodies(stub)[0]["model"] == "kept"


@pytest.mark.parametrize(
    "tool, words",
    [
        ({"type": "code_interpreter"}, "'container'"),
        ({"type": "file_search"}, "'vector_store_ids'"),
        ({"type": "function", "function": {}}, "needs a name"),
    ],
)
def test_tool_that_lacks_what_the_wire_wants_is_refused(
    serve_responses: Serve, tool: dict[str, Any], words: str
) -> None:
    """A tool that the wire takes otherwise is refused, and the refusal names what it lacks."""
    talker, _ = serve_responses({})
    with pytest.raises(ConfigurationError, match=words):
        talker.register_assistant("a", model="m", tools=[tool])
    with pytest.raises(ConfigurationError, match=words):
        talker.create_assistant(AssistantDefinition(model="m", tools=(tool,)))


def test_hosted_tools_go_as_they_are(serve_responses: Serve) -> None:
    """A tool of the service's own that has all it needs is sent unchanged."""
    talker, stub = serve_responses({CREATE: [response()]})
    tools: list[dict[str, Any]] = [
        {"type": "code_interpreter", "container": {"type": "auto"}},
        {"type": "file_search", "vector_store_ids": ["vs_1"]},
    ]
    talker.register_assistant("a", model="m", tools=tools)
    talker.post_message(attrs.evolve(REQUEST, assistant_id="a"), HELLO)
    assert bodies(stub)[0]["tools"] == tools


# what a response is asked for with


def test_plain_body(serve_responses: Serve) -> None:
    """The conversation is a text, the input a list, and nothing is sent that nobody asked for."""
    talker, stub = serve_responses({CREATE: [response()]})
    talker.post_message(REQUEST, HELLO)
    assert bodies(stub) == [
        {
            "model": "m",
            "conversation": "c",
            "input": [{"type": "message", "role": "user", "content": "hello"}],
            "store": True,
            "background": True,
        }
    ]


def test_parts_are_spelled_as_the_wire_does(serve_responses: Serve) -> None:
    """Texts and images of a message are input parts."""
    talker, stub = serve_responses({CREATE: [response()]})
    content: tuple[dict[str, Any], ...] = (
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "http://x/y.png", "detail": "low"}},
        {"type": "image_file", "image_file": {"file_id": "file_1"}},
    )
    talker.post_message(REQUEST, UserMessage(content=content))
    assert bodies(stub)[0]["input"][0]["content"] == [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "http://x/y.png", "detail": "low"},
        {"type": "input_image", "file_id": "file_1", "detail": "auto"},
    ]


@pytest.mark.parametrize(
    "own, options, sent",
    [
        ("", RunOptions(), None),
        ("own", RunOptions(), "own"),
        ("own", RunOptions(instructions="run's"), "run's"),
        ("own", RunOptions(instructions=""), None),
        ("own", RunOptions(additional_instructions="more"), "own\nmore"),
        ("", RunOptions(additional_instructions="more"), "more"),
    ],
)
def test_instructions_are_sent_when_there_are_some(
    serve_responses: Serve, own: str, options: RunOptions, sent: str | None
) -> None:
    """The run's instructions replace or follow the assistant's, and are a text or left out."""
    talker, stub = serve_responses({CREATE: [response()]})
    talker.register_assistant("a", model="m", instructions=own)
    talker.post_message(attrs.evolve(REQUEST, assistant_id="a", options=options), HELLO)
    assert bodies(stub)[0].get("instructions") == sent


NESTED_SUM = {"type": "function", "function": {"name": "add", "description": "Add."}}
STRICT_SUM = {"type": "function", "name": "add", "strict": True, "parameters": {"type": "object"}}


@pytest.mark.parametrize(
    "own, handlers, sent",
    [
        ([], (SUM,), [FLAT_SUM]),
        (
            [NESTED_SUM],
            (),
            [{**FLAT_SUM, "parameters": {"type": "object", "properties": {}}}],
        ),
        ([STRICT_SUM], (SUM,), [STRICT_SUM]),
    ],
)
def test_tools_are_flat_and_not_strict(
    serve_responses: Serve,
    own: list[dict[str, Any]],
    handlers: tuple[ToolSchema, ...],
    sent: list[dict[str, Any]],
) -> None:
    """Tools are spelled flat, with parameters, strict only on demand; the assistant's own rule."""
    talker, stub = serve_responses({CREATE: [response()]})
    talker.register_assistant("a", model="m", tools=own)
    talker.post_message(attrs.evolve(REQUEST, assistant_id="a", tools=handlers), HELLO)
    assert bodies(stub)[0]["tools"] == sent


def test_options_go_into_the_response(serve_responses: Serve) -> None:
    """Each option has its name on this wire."""
    talker, stub = serve_responses({CREATE: [response()]})
    schema = {"name": "answer", "schema": {"type": "object"}}
    options = RunOptions(
        model="other",
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=100,
        tool_choice={"type": "function", "function": {"name": "add"}},
        parallel_tool_calls=False,
        response_format={"type": "json_schema", "json_schema": schema},
        reasoning_effort="low",
        metadata={"k": "v"},
        truncation={"type": "auto"},
    )
    talker.check_options(options)
    talker.post_message(attrs.evolve(REQUEST, options=options), HELLO)
    plain = {"conversation", "input", "store", "background"}
    assert {key: value for key, value in bodies(stub)[0].items() if key not in plain} == {
        "model": "other",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_output_tokens": 100,
        "tool_choice": {"type": "function", "name": "add"},
        "parallel_tool_calls": False,
        "text": {"format": {"type": "json_schema", **schema}},
        "reasoning": {"effort": "low"},
        "metadata": {"k": "v"},
        "truncation": "auto",
    }


@pytest.mark.parametrize(
    "asked, sent", [("auto", None), ("json_object", {"format": {"type": "json_object"}})]
)
def test_format_may_be_a_word(
    serve_responses: Serve, asked: str, sent: dict[str, Any] | None
) -> None:
    """A format named by a word is spelled out, and the usual one is left out."""
    talker, stub = serve_responses({CREATE: [response()]})
    talker.post_message(attrs.evolve(REQUEST, options=RunOptions(response_format=asked)), HELLO)
    assert bodies(stub)[0].get("text") == sent


@pytest.mark.parametrize("truncation", ["last_messages", {"type": "last_messages"}])
def test_truncation_of_the_other_wire_is_refused(serve_responses: Serve, truncation: Any) -> None:
    """A truncation that this wire does not have is refused by name, without a request."""
    talker, stub = serve_responses({})
    with pytest.raises(ConfigurationError, match="truncation.*last_messages"):
        talker.check_options(RunOptions(truncation=truncation))
    assert stub.requests == []


def test_attachments_are_refused(serve_responses: Serve) -> None:
    """A message with attachments is refused, and the refusal says what to do instead."""
    talker, _ = serve_responses({})
    message = UserMessage(content="hi", attachments=({"file_id": "f"},))
    with pytest.raises(ConfigurationError, match=r"no attachments.*file_search"):
        talker.check_message(message, RunOptions())


def test_metadata_of_message_and_run_go_together(serve_responses: Serve) -> None:
    """The pairs of the message and of the run are kept with the response."""
    talker, stub = serve_responses({CREATE: [response()]})
    options = RunOptions(metadata={"run": "1", "both": "run"})
    message = UserMessage(content="hi", metadata={"message": "2", "both": "message"})
    talker.check_message(message, options)
    talker.post_message(attrs.evolve(REQUEST, options=options), message)
    assert bodies(stub)[0]["metadata"] == {"run": "1", "message": "2", "both": "message"}


def test_too_many_pairs_are_refused(serve_responses: Serve) -> None:
    """More pairs than a response can keep are refused before any request."""
    talker, _ = serve_responses({})
    pairs = {f"k{number}": "v" for number in range(9)}
    message = UserMessage(content="hi", metadata={f"m{number}": "v" for number in range(8)})
    with pytest.raises(ConfigurationError, match="17 pairs"):
        talker.check_message(message, RunOptions(metadata=pairs))


# background and foreground


@pytest.mark.parametrize(
    "refusal",
    [
        error(400, "background is not supported"),
        Response({"detail": [{"loc": ["body", "background"], "msg": "extra"}]}, status=422),
    ],
)
def test_refused_background_is_done_without(serve_responses: Serve, refusal: Response) -> None:
    """Where the background is refused, a response is made in the foreground, now and later."""
    talker, stub = serve_responses({CREATE: [refusal, response(said("hi"))]})
    assert [follow(begin(talker))[0] for _ in range(2)] == [["hi"], ["hi"]]
    assert [body.get("background") for body in bodies(stub)] == [True, None, None]


def test_other_refusal_is_told(serve_responses: Serve) -> None:
    """A refusal that does not speak of the background is no reason to do without it."""
    talker, stub = serve_responses({CREATE: [error(400, "the input is too long")]})
    with pytest.raises(RequestRejectedError, match="too long"):
        talker.post_message(REQUEST, HELLO)
    assert len(bodies(stub)) == 1


def test_foreground_response_is_over_at_once(serve_responses: Serve) -> None:
    """A response that is complete in its first answer is told as begun, then to its end."""
    talker, stub = serve_responses({CREATE: [response(said("hi"))]})
    updates = list(begin(talker))
    assert [
        update.status if isinstance(update, RunSnapshot) else type(update) for update in updates
    ] == ["in_progress", Message, "completed"]
    assert stub.lines == [CREATE]


def slow_foreground(released: threading.Event, seconds: float) -> Any:
    """Answer without the background, and only after a while."""
    quiet = table({ITEMS: [listing()]})

    def answer(request: Request) -> Response:
        if request.line != CREATE:
            return quiet(request)
        if "background" in request.body:
            return error(400, "no background here")
        released.wait(seconds)
        if seconds == PATIENCE:
            raise HangUp
        return response(said("hi"))

    return answer


def test_foreground_is_given_time(serve_responses: Serve) -> None:
    """In the foreground a service may be silent for longer than the settings have it."""
    gpt.configure(read_timeout=0.6)
    talker, _ = serve_responses(slow_foreground(threading.Event(), 0.9))
    assert follow(begin(talker))[0] == ["hi"]


def test_timeout_of_the_service_holds_in_the_foreground(serve_responses: Serve) -> None:
    """A service that was made with a timeout keeps it, and does not send the message twice."""
    released = threading.Event()
    talker, stub = serve_responses(slow_foreground(released, PATIENCE), timeout=0.6)
    try:
        with pytest.raises(ServiceUnavailableError) as failure:
            talker.post_message(REQUEST, HELLO)
    finally:
        released.set()
    assert failure.value.timed_out
    assert [body.get("background") for body in bodies(stub)] == [True, None]


def test_foreground_timeout_is_never_below_the_settings(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Settings that allow more silence than the foreground's own bound rule."""
    monkeypatch.setattr(service, "FOREGROUND_TIMEOUT", 0.1)
    talker, _ = serve_responses(slow_foreground(threading.Event(), 0.3))
    assert follow(begin(talker))[0] == ["hi"]
