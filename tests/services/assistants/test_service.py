"""Assistants v2 against servers that answer as real ones do."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

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
    TOKEN_KEY,
    AssistantDefinition,
    Posted,
    RunOptions,
    RunRequest,
    ToolOutput,
    ToolSchema,
    UserMessage,
)
from gpt_agent_sync.services.assistants import wire
from gpt_agent_sync.services.assistants.service import AssistantsService
from gpt_agent_sync.services.base import Feed
from gpt_agent_sync.services.tool_formats import tool_name
from tests.support.assistants_stub import RUN_START, ServeAssistants, message, run, waiting
from tests.support.feeds import last_of, texts
from tests.support.stub import (
    HangUp,
    Request,
    Response,
    StubServer,
    error,
    listing,
)

THREAD = {"id": "t", "object": "thread"}
REQUEST = RunRequest(
    thread_id="t", assistant_id="a", posted=Posted(message_id="m1"), heartbeat_interval=0.02
)
HELLO = UserMessage(content="hello")
ADD = ToolSchema(name="add", description="Add.", parameters={"type": "object"})
SUB = ToolSchema(name="sub", description="Subtract.", parameters={"type": "object"})


# headers and addresses


def test_beta_header_and_key_go_along(serve_assistants: ServeAssistants) -> None:
    """Every request carries the beta header and the bearer key."""
    service, stub = serve_assistants(
        {"GET /threads/t": [Response(THREAD)], "GET /threads/t/runs": [listing()]},
        organization="o",
        project="p",
    )
    service.open_thread("t")
    headers = stub.requests[0].headers
    assert headers["openai-beta"] == "assistants=v2"
    assert headers["authorization"] == "Bearer sk-secret"
    assert (headers["openai-organization"], headers["openai-project"]) == ("o", "p")


def test_azure_wants_a_version_and_no_beta_header(serve_assistants: ServeAssistants) -> None:
    """With an API version each request names it, and the beta header is left out."""
    tokens = iter(["one", "two"])
    service, stub = serve_assistants(
        {"GET /threads/t": [Response(THREAD)], "GET /threads/t/runs": [listing()]},
        api_version="v1",
        auth=lambda: next(tokens),
    )
    service.open_thread("t")
    assert [request.query.get("api-version") for request in stub.requests] == ["v1", "v1"]
    assert all("openai-beta" not in request.headers for request in stub.requests)
    assert [request.headers["authorization"] for request in stub.requests] == [
        "Bearer one",
        "Bearer two",
    ]


def test_ids_are_quoted(serve_assistants: ServeAssistants) -> None:
    """An id with odd characters stays one part of the path."""
    path = "GET /threads/a%2Fb%3Fc"
    service, stub = serve_assistants({path: [Response(THREAD)], f"{path}/runs": [listing()]})
    service.open_thread("a/b?c")
    assert stub.lines[0] == "GET /threads/a%2Fb%3Fc"


def test_key_is_never_shown(
    serve_assistants: ServeAssistants, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither repr, nor logs, nor errors show the key."""
    caplog.set_level(logging.DEBUG)
    service, _ = serve_assistants({"GET /threads/t": [error(401, "bad key")]})
    with pytest.raises(AuthenticationError) as refused:
        service.open_thread("t")
    shown = f"{service!r} {service.identity!r} {caplog.text} {refused.value} {refused.value!r}"
    assert "sk-secret" not in shown


def test_broken_auth_is_an_authentication_error(serve_assistants: ServeAssistants) -> None:
    """A token source that raises is told as what it is, with its cause."""

    def auth() -> str:
        raise OSError("no token")

    service, stub = serve_assistants({}, auth=auth)
    with pytest.raises(AuthenticationError, match="no token"):
        service.open_thread("t")
    assert stub.requests == []


@pytest.mark.parametrize(
    "arguments, words",
    [
        ({"base_url": None}, "needs base_url"),
        ({"base_url": ""}, "base_url must be"),
        ({"base_url": "ftp://host"}, "http or https"),
        ({"base_url": "localhost:80"}, "http or https"),
        ({"base_url": "http://"}, "http or https"),
        ({"base_url": "http://host:bad"}, "http or https"),
        ({"base_url": "http://h", "api_key": " "}, "api_key"),
        ({"base_url": "http://h", "api_key": "a\nb"}, "no HTTP header"),
        ({"base_url": "http://h", "auth": "token"}, "callable"),
        ({"base_url": "http://h", "timeout": 0}, "timeout"),
        ({"base_url": "http://h", "timeout": (1, 2, 3)}, "timeout"),
        ({"base_url": "http://h", "http_retries": -1}, "http_retries"),
    ],
)
def test_unusable_arguments_are_refused(arguments: dict[str, Any], words: str) -> None:
    """An argument that cannot work is refused when the service is made."""
    with pytest.raises(ConfigurationError, match=words):
        AssistantsService(**arguments)


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is not passed is read from OPENAI_BASE_URL and OPENAI_API_KEY."""
    monkeypatch.setenv("OPENAI_BASE_URL", "http://host/v1/")
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    assert AssistantsService() == AssistantsService("http://host/v1", "k")


@pytest.mark.parametrize(
    "changed",
    [
        {"base_url": "http://other/v1"},
        {"api_key": "other"},
        {"organization": "o"},
        {"project": "p"},
    ],
)
def test_services_differ_by_what_tells_them_apart(changed: dict[str, Any]) -> None:
    """Address, project, organization and credentials make two services different."""
    same: dict[str, Any] = {"base_url": "http://host/v1", "api_key": "k"}
    assert AssistantsService(**same) == AssistantsService(**same)
    assert AssistantsService(**same) != AssistantsService(**{**same, **changed})


# threads


@pytest.mark.parametrize(
    "refusal",
    [
        error(404, "No thread found with id 't'."),
        error(404, "gone", code="resource_not_found"),
        error(403, "not yours"),
        Response({"detail": "Not Found"}, status=404),
    ],
)
def test_unknown_thread_is_known_by_its_refusals(
    serve_assistants: ServeAssistants, refusal: Response
) -> None:
    """However a server says that there is no such thread, it is an invalid id."""
    service, _ = serve_assistants({"GET /threads/t": [refusal]})
    with pytest.raises(InvalidThreadIdError):
        service.open_thread("t")


def test_conversation_id_is_refused_without_a_request(serve_assistants: ServeAssistants) -> None:
    """An id of the other wire is refused at once, and the refusal says so."""
    service, stub = serve_assistants({})
    with pytest.raises(InvalidThreadIdError, match="Responses"):
        service.open_thread("conv_1")
    assert stub.requests == []


def test_thread_is_made_with_a_body(serve_assistants: ServeAssistants) -> None:
    """A thread without history is asked for with an empty object, which all servers take."""
    service, stub = serve_assistants({"POST /threads": [Response({"id": "new"})]})
    assert service.create_thread() == "new"
    assert stub.requests[0].body == {}


def test_answer_without_an_id_is_a_protocol_error(serve_assistants: ServeAssistants) -> None:
    """An answer that lacks what the wire promises names the request and the field."""
    service, _ = serve_assistants({"POST /threads": [Response({"object": "thread"})]})
    with pytest.raises(ProtocolError, match=r"POST .*/threads.*'id'"):
        service.create_thread()


def test_assistant_is_made_with_instructions(serve_assistants: ServeAssistants) -> None:
    """Instructions are always a text, and tools are spelled as the wire has them."""
    service, stub = serve_assistants({"POST /assistants": [Response({"id": "a"})]})
    raw = {"type": "code_interpreter"}
    definition = AssistantDefinition(
        model="m", name="n", description="d", tools=(ADD, raw), metadata={"k": "v"}
    )
    assert service.create_assistant(definition) == "a"
    assert stub.requests[0].body == {
        "model": "m",
        "instructions": "",
        "name": "n",
        "description": "d",
        "tools": [
            {
                "type": "function",
                "function": {
                    "name": "add",
                    "description": "Add.",
                    "parameters": {"type": "object"},
                },
            },
            raw,
        ],
        "metadata": {"k": "v"},
    }


@pytest.mark.parametrize(
    "runs, found",
    [
        ([], None),
        ([run("completed")], None),
        ([run("queued")], "r"),
        ([run("completed", created_at=5), run("in_progress", "r2", created_at=4)], None),
        ([run("completed", created_at=5.0), run("in_progress", "r2", created_at=5.0)], "r2"),
    ],
)
def test_newest_run_is_found_among_those_of_its_second(
    serve_assistants: ServeAssistants, runs: list[dict[str, Any]], found: str | None
) -> None:
    """Of the runs made in the newest second, a live one counts as the newest."""
    service, _ = serve_assistants(
        {"GET /threads/t": [Response(THREAD)], "GET /threads/t/runs": [listing(*runs)]}
    )
    live = service.open_thread("t")
    assert (live.id if live else None) == found


def test_server_without_a_list_of_runs_has_no_live_run(serve_assistants: ServeAssistants) -> None:
    """A server that cannot list runs is used all the same."""
    service, _ = serve_assistants(
        {"GET /threads/t": [Response(THREAD)], "GET /threads/t/runs": [error(405, "no")]}
    )
    assert service.open_thread("t") is None


# messages


def test_lost_answer_to_a_message_is_polled_up(serve_assistants: ServeAssistants) -> None:
    """A message whose answer was lost is found by its token, and not posted twice."""
    kept: list[dict[str, Any]] = []

    def answer(request: Request) -> Response:
        if request.method == "POST":
            kept.insert(0, message("m7", "hello", "user", metadata=request.body["metadata"]))
            raise HangUp
        return listing(*kept)

    service, stub = serve_assistants(answer)
    assert service.post_message(REQUEST, HELLO).message_id == "m7"
    assert [request.method for request in stub.requests] == ["POST", "GET"]


def test_lost_message_is_found_by_its_words_where_metadata_are_dropped(
    serve_assistants: ServeAssistants,
) -> None:
    """On a server that keeps no metadata the newest message with the same words is it."""
    service, _ = serve_assistants(
        {
            "POST /threads/t/messages": [HangUp],
            "GET /threads/t/messages": [listing(message("m7", "hello", "user"))],
        }
    )
    assert service.post_message(REQUEST, HELLO).message_id == "m7"


@pytest.mark.parametrize("before", [message("m6", "hello"), message("m6", "other", "user")])
def test_message_that_did_not_arrive_is_posted_again(
    serve_assistants: ServeAssistants, before: dict[str, Any]
) -> None:
    """A message that is not among the newest is posted once more."""
    service, stub = serve_assistants(
        {
            "POST /threads/t/messages": [HangUp, Response({"id": "m7"})],
            "GET /threads/t/messages": [listing(before)],
        }
    )
    assert service.post_message(REQUEST, HELLO).message_id == "m7"
    tokens = {request.body["metadata"][TOKEN_KEY] for request in stub.requests if request.body}
    assert len(tokens) == 1


def test_full_metadata_leave_no_room_for_the_token(serve_assistants: ServeAssistants) -> None:
    """The program's own sixteen pairs go along untouched."""
    service, stub = serve_assistants({"POST /threads/t/messages": [Response({"id": "m"})]})
    pairs = {f"k{number}": "v" for number in range(16)}
    parts = ({"type": "text", "text": "hi"},)
    service.post_message(
        REQUEST, UserMessage(content=parts, metadata=pairs, attachments=({"file_id": "f"},))
    )
    assert stub.requests[0].body == {
        "role": "user",
        "content": [{"type": "text", "text": "hi"}],
        "metadata": pairs,
        "attachments": [{"file_id": "f"}],
    }


def test_messages_of_a_server_that_refuses_cursors_are_read_whole(
    serve_assistants: ServeAssistants,
) -> None:
    """Where ``after`` is refused, the thread is read from its newer end."""

    def answer(request: Request) -> Response:
        if "after" in request.query:
            return error(500, "Pagination is not yet implemented")
        assert request.query["order"] == "desc"
        return listing(message("m3", "c"), message("m2", "b"), message("m1", "a"))

    service, stub = serve_assistants(answer)
    assert [message.id for message in service.messages("t", after="m1")] == ["m2", "m3"]
    assert len(stub.requests) == 2


def test_pages_end_where_a_cursor_is_refused(
    serve_assistants: ServeAssistants, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that says there is more but refuses to send it is believed to have ended."""

    def answer(request: Request) -> Response:
        if request.query.get("after") == "m2":
            return error(501, "no")
        return listing(message("m2", "b"), has_more=True)

    service, _ = serve_assistants(answer)
    assert [message.id for message in service.messages("t", after="m1")] == ["m2"]
    assert "cannot be read further" in caplog.text


# runs


def completed(*messages: Mapping[str, Any]) -> dict[str, Any]:
    """Answer a run that completes at the first poll, with these messages."""
    return {
        "POST /threads/t/runs": [Response(run("queued"))],
        "GET /threads/t/runs/r": [Response(run("completed"))],
        "GET /threads/t/messages": [listing(*messages)],
    }


def test_messages_of_the_run_are_chosen_where_the_filter_is_ignored(
    serve_assistants: ServeAssistants,
) -> None:
    """A server that lists all messages has only those of the run told."""
    service, _ = serve_assistants(
        completed(
            message("m0", "old", run_id="r0"),
            message("m1", "hello", "user"),
            message("m2", "new", run_id="r"),
        )
    )
    assert texts(service.start_run(REQUEST)) == ["new"]


def test_messages_without_a_run_follow_the_users(serve_assistants: ServeAssistants) -> None:
    """Where messages name no run, those after the user's message are the run's."""
    service, _ = serve_assistants(
        completed(message("m0", "old"), message("m1", "hello", "user"), message("m2", "new"))
    )
    assert texts(service.start_run(REQUEST)) == ["new"]


def test_messages_without_a_run_follow_the_last_user_message(
    serve_assistants: ServeAssistants,
) -> None:
    """For a run that was found going, the newest user message is where its own begin."""
    service, _ = serve_assistants(
        completed(message("m0", "old"), message("m1", "hello", "user"), message("m2", "new"))
    )
    found = attrs.evolve(REQUEST, posted=None)
    assert texts(service.resume_run(found, "r")) == ["new"]


def test_every_message_of_a_run_is_read(serve_assistants: ServeAssistants) -> None:
    """However many messages a run wrote, all are read, page by page."""
    everything = [message(f"m{number:03}", str(number), run_id="r") for number in range(250)]

    def answer(request: Request) -> Response:
        if request.line == "GET /threads/t/messages":
            ids = [message["id"] for message in everything]
            begin = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
            page = everything[begin : begin + int(request.query["limit"])]
            return listing(*page, has_more=begin + len(page) < len(everything))
        return Response(run("completed"))

    service, _ = serve_assistants(answer)
    assert texts(service.start_run(REQUEST)) == [str(number) for number in range(250)]


def test_long_thread_is_read_from_its_end_where_the_filter_is_ignored(
    serve_assistants: ServeAssistants,
) -> None:
    """A long thread is not read whole to find the last messages."""
    old = [message(f"m{number}", "old", run_id="r0") for number in range(300)]
    everything = [*old, message("u", "hello", "user"), message("new", "new", run_id="r")]

    def answer(request: Request) -> Response:
        if request.line != "GET /threads/t/messages":
            return Response(run("completed"))
        ordered = everything if request.query["order"] == "asc" else everything[::-1]
        ids = [message["id"] for message in ordered]
        begin = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = ordered[begin : begin + 100]
        return listing(*page, has_more=begin + 100 < len(ordered))

    service, stub = serve_assistants(answer)
    request = attrs.evolve(REQUEST, posted=Posted(message_id="u"))
    assert texts(service.start_run(request)) == ["new"]
    assert stub.lines.count("GET /threads/t/messages") == 2


def test_lost_answer_to_a_run_is_polled_up(serve_assistants: ServeAssistants) -> None:
    """A run whose answer was lost is found by its token, and not started twice."""
    kept: list[dict[str, Any]] = []

    def answer(request: Request) -> Response:
        if request.line == "POST /threads/t/runs":
            kept.append(run("queued", "r9", metadata=request.body["metadata"]))
            raise HangUp
        if request.line == "GET /threads/t/runs":
            return listing(run("completed", "r1", metadata=None), *kept)
        return listing() if "messages" in request.path else Response(run("completed", "r9"))

    service, stub = serve_assistants(answer)
    assert last_of(service.start_run(REQUEST)).id == "r9"
    assert stub.lines.count("POST /threads/t/runs") == 1


def test_run_that_did_not_start_is_started_again(serve_assistants: ServeAssistants) -> None:
    """A run that is not among the newest is started once more."""
    service, _ = serve_assistants(
        {
            **completed(),
            "POST /threads/t/runs": [error(502, "bad gateway"), Response(run("queued"))],
            "GET /threads/t/runs": [listing()],
        }
    )
    assert last_of(service.start_run(REQUEST)).status == "completed"


def test_options_go_into_the_run(serve_assistants: ServeAssistants) -> None:
    """Each option has its name on this wire."""
    service, stub = serve_assistants(completed())
    options = RunOptions(
        model="m",
        instructions="i",
        additional_instructions="more",
        temperature=0.5,
        top_p=0.9,
        max_output_tokens=100,
        tool_choice="required",
        parallel_tool_calls=False,
        response_format={"type": "json_object"},
        reasoning_effort="low",
        metadata={"k": "v"},
        truncation="auto",
    )
    service.check_options(options)
    list(service.start_run(attrs.evolve(REQUEST, options=options)))
    body = stub.requests[0].body
    assert body.pop("metadata").keys() == {"k", TOKEN_KEY}
    assert body == {
        "assistant_id": "a",
        "model": "m",
        "instructions": "i",
        "additional_instructions": "more",
        "temperature": 0.5,
        "top_p": 0.9,
        "max_completion_tokens": 100,
        "tool_choice": "required",
        "parallel_tool_calls": False,
        "response_format": {"type": "json_object"},
        "reasoning_effort": "low",
        "truncation_strategy": {"type": "auto"},
    }


@pytest.mark.parametrize(
    "own, sent",
    [
        ([{"type": "function", "function": {"name": "add"}}], None),
        ([{"type": "file_search"}], ["file_search", "function"]),
        (None, ["function"]),
    ],
)
def test_handlers_that_the_assistant_lacks_are_added(
    serve_assistants: ServeAssistants, own: Any, sent: list[str] | None
) -> None:
    """The assistant's own tools rule, and only handlers it lacks are added."""
    service, stub = serve_assistants(
        {**completed(), "GET /assistants/a": [Response({"id": "a", "tools": own})]}
    )
    for _ in range(2):
        list(service.start_run(attrs.evolve(REQUEST, tools=(ADD,))))
    bodies = [request.body for request in stub.requests if request.method == "POST"]
    kinds = [
        [tool["type"] for tool in body["tools"]] if "tools" in body else None for body in bodies
    ]
    assert kinds == [sent, sent]
    assert stub.lines.count("GET /assistants/a") == 1


def tools_sent(stub: StubServer) -> list[list[str]]:
    """Return the tools of each run that was asked for, functions by their names."""
    runs = [request.body for request in stub.requests if request.line == RUN_START]
    return [[tool_name(tool) or tool["type"] for tool in body["tools"]] for body in runs]


@pytest.mark.parametrize("status", [401, 403, 404, 405, 501])
def test_handlers_alone_go_along_where_assistants_are_not_shown(
    serve_assistants: ServeAssistants, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    """A server that does not show the assistant runs it all the same; later runs do not ask."""
    caplog.set_level(logging.INFO)
    service, stub = serve_assistants(
        {**completed(), "GET /assistants/a": [error(status, "not for you")]}
    )
    list(service.start_run(attrs.evolve(REQUEST, tools=(ADD,))))
    asked = stub.lines.count("GET /assistants/a")
    list(service.start_run(attrs.evolve(REQUEST, tools=(ADD,))))
    assert tools_sent(stub) == [["add"], ["add"]]
    assert stub.lines.count("GET /assistants/a") == asked
    told = [record for record in caplog.records if "is taken to have" in record.getMessage()]
    assert [record.levelname for record in told] == ["INFO"]


def test_tools_that_were_given_here_stay_where_assistants_are_not_shown(
    serve_assistants: ServeAssistants,
) -> None:
    """The tools that the assistant was created with count as its own."""
    service, stub = serve_assistants(
        {
            **completed(),
            "POST /assistants": [Response({"id": "a"})],
            "GET /assistants/a": [error(404, "no such route")],
        }
    )
    service.create_assistant(AssistantDefinition(model="m", tools=({"type": "file_search"}, ADD)))
    list(service.start_run(attrs.evolve(REQUEST, tools=(ADD, SUB))))
    assert tools_sent(stub) == [["file_search", "add", "sub"]]


def test_run_is_as_it_was_created_where_it_lacks_no_handler(
    serve_assistants: ServeAssistants,
) -> None:
    """An assistant that was given all handlers keeps its tools."""
    service, stub = serve_assistants(
        {
            **completed(),
            "POST /assistants": [Response({"id": "a"})],
            "GET /assistants/a": [error(405, "no such method")],
        }
    )
    service.create_assistant(AssistantDefinition(model="m", tools=(ADD,)))
    list(service.start_run(attrs.evolve(REQUEST, tools=(ADD,))))
    (started,) = [request for request in stub.requests if request.line == RUN_START]
    assert "tools" not in started.body


def test_service_that_is_down_is_not_taken_for_one_that_has_less(
    serve_assistants: ServeAssistants,
) -> None:
    """What the assistant has is not guessed where the service only fails to say."""
    service, stub = serve_assistants(
        {**completed(), "GET /assistants/a": [error(503, "down")]}, http_retries=0
    )
    with pytest.raises(ServiceUnavailableError):
        list(service.start_run(attrs.evolve(REQUEST, tools=(ADD,))))
    assert RUN_START not in stub.lines


def test_run_needs_an_assistant(serve_assistants: ServeAssistants) -> None:
    """A run without an assistant is refused before any request."""
    service, stub = serve_assistants({})
    with pytest.raises(BlankValueError):
        next(service.start_run(attrs.evolve(REQUEST, assistant_id=None)))
    assert stub.requests == []


def test_answer_that_is_no_run_is_a_protocol_error(serve_assistants: ServeAssistants) -> None:
    """A run without an id or a status is told as what it is."""
    service, _ = serve_assistants({"POST /threads/t/runs": [Response({"id": "r"})]})
    with pytest.raises(ProtocolError, match="'status'"):
        next(service.start_run(REQUEST))


def submit(service: AssistantsService, *ids: str) -> Feed:
    """Submit outputs for calls."""
    return service.submit_tool_outputs(
        REQUEST, "r", [ToolOutput(tool_call_id=call_id, output="1") for call_id in ids]
    )


SUBMIT = "POST /threads/t/runs/r/submit_tool_outputs"
POLL = "GET /threads/t/runs/r"


def test_lost_submission_that_arrived_is_not_repeated(serve_assistants: ServeAssistants) -> None:
    """Outputs whose answer was lost are not sent again when the run went on."""
    service, stub = serve_assistants(
        {
            SUBMIT: [HangUp],
            POLL: [Response(run("in_progress")), Response(run("completed"))],
            "GET /threads/t/messages": [listing()],
        }
    )
    assert last_of(submit(service, "c1")).status == "completed"
    assert stub.lines.count(SUBMIT) == 1


def test_lost_submission_that_did_not_arrive_is_repeated(serve_assistants: ServeAssistants) -> None:
    """Outputs are sent again when the run still waits for them."""
    service, stub = serve_assistants(
        {
            SUBMIT: [HangUp, Response(run("queued", required_action={}))],
            POLL: [Response(waiting("c1")), Response(run("completed"))],
            "GET /threads/t/messages": [listing()],
        }
    )
    assert last_of(submit(service, "c1")).status == "completed"
    assert stub.lines.count(SUBMIT) == 2


@pytest.mark.parametrize("status", [400, 404, 422])
def test_refused_submission_of_a_run_that_went_on_is_no_error(
    serve_assistants: ServeAssistants, status: int
) -> None:
    """A run that does not wait any more shows by itself how it goes on."""
    service, _ = serve_assistants(
        {
            SUBMIT: [error(status, 'Runs in status "expired" do not accept tool outputs.')],
            POLL: [Response(run("expired"))],
            "GET /threads/t/messages": [listing()],
        }
    )
    assert last_of(submit(service, "c1")).status == "expired"


def test_refused_submission_of_a_waiting_run_is_told(serve_assistants: ServeAssistants) -> None:
    """Outputs that are refused while the run waits for them are an error."""
    service, _ = serve_assistants(
        {
            SUBMIT: [error(400, "Expected tool outputs for call_ids")],
            POLL: [Response(waiting("c1"))],
        }
    )
    with pytest.raises(RequestRejectedError, match="Expected tool outputs"):
        next(submit(service, "c1"))


def test_submission_to_a_server_that_stays_broken_is_told(
    serve_assistants: ServeAssistants,
) -> None:
    """After the retries a failing server is told as unavailable."""
    service, stub = serve_assistants({SUBMIT: [error(500, "no")], POLL: [Response(waiting("c1"))]})
    with pytest.raises(ServiceUnavailableError):
        next(submit(service, "c1"))
    assert stub.lines.count(SUBMIT) == 3


CANCEL = "POST /threads/t/runs/r/cancel"


@pytest.mark.parametrize("status", ["completed", "cancelling"])
def test_refused_cancel_of_a_run_that_ends_anyway_is_quiet(
    serve_assistants: ServeAssistants, status: str
) -> None:
    """A refusal to cancel means: poll again."""
    service, _ = serve_assistants(
        {CANCEL: [error(400, "Cannot cancel run")], POLL: [Response(run(status))]}
    )
    service.cancel_run("t", "r")


def test_refused_cancel_of_a_live_run_is_told(serve_assistants: ServeAssistants) -> None:
    """A server that does not cancel a live run says so."""
    service, _ = serve_assistants(
        {CANCEL: [error(400, "cancel only in_progress")], POLL: [Response(run("queued"))]}
    )
    with pytest.raises(RequestRejectedError, match="cancel only"):
        service.cancel_run("t", "r")


def test_lost_cancel_is_repeated(serve_assistants: ServeAssistants) -> None:
    """Cancelling twice does no harm: a repeat that is refused finds the run cancelled."""
    refusal = error(400, "Cannot cancel run with status 'cancelled'.")
    service, stub = serve_assistants(
        {CANCEL: [HangUp, refusal], POLL: [Response(run("cancelled"))]}
    )
    service.cancel_run("t", "r")
    assert stub.lines.count(CANCEL) == 2


def test_servers_wish_for_the_next_poll_is_kept(serve_assistants: ServeAssistants) -> None:
    """``openai-poll-after-ms`` on any answer sets the pause before the next poll."""
    hint = {"openai-poll-after-ms": "1"}
    polls = [Response(run("in_progress"), headers=hint) for _ in range(40)]
    service, stub = serve_assistants(
        {
            **completed(),
            "POST /threads/t/runs": [Response(run("queued"), headers=hint)],
            POLL: [*polls, Response(run("completed"))],
        }
    )
    slow = attrs.evolve(REQUEST, heartbeat_interval=60.0)
    assert last_of(service.start_run(slow)).status == "completed"
    assert stub.lines.count(POLL) == 41


@pytest.mark.parametrize(
    "newest, found",
    [
        (
            [message("m8", "answer"), message("m7", "hello", "user", metadata={TOKEN_KEY: "tok"})],
            "m7",
        ),
        ([message("m6", "hello", "user")], None),
        ([message("m7", "hello", "user"), message("m6", "hello", "user")], "m7"),
        ([message("m7", "other", "user")], None),
        ([], None),
    ],
)
def test_lost_message_is_told_from_older_ones(
    newest: list[dict[str, Any]], found: str | None
) -> None:
    """The token is searched for among all, and equal words only among what is newer."""
    messages = [message for item in newest if (message := wire.read_message(item))]
    posted = wire.find_posted(messages, "tok", "hello", "m6")
    assert (posted.id if posted else None) == found


@pytest.mark.parametrize(
    "newest, last, found",
    [
        ([run("completed", "r2", metadata={TOKEN_KEY: "tok"})], None, "r2"),
        ([run("in_progress", "r2")], None, "r2"),
        ([run("completed", "r2")], None, None),
        ([run("completed", "r2")], "r1", "r2"),
        ([run("completed", "r1")], "r1", None),
        ([run("in_progress", "r2", metadata={"k": "v"})], None, None),
    ],
)
def test_lost_run_is_told_from_older_ones(
    newest: list[dict[str, Any]], last: str | None, found: str | None
) -> None:
    """Without metadata the newest run is ours if it is live, or not the last one known."""
    started = wire.find_started(newest, "tok", last)
    assert (started["id"] if started else None) == found


def test_refused_filter_is_done_without(serve_assistants: ServeAssistants) -> None:
    """Where the ``run_id`` filter is refused, the messages are read without it."""

    def answer(request: Request) -> Response:
        if "run_id" in request.query:
            return error(422, "unknown parameter run_id")
        if request.line == "GET /threads/t/messages":
            return listing(message("m2", "new", run_id="r"), message("m1", "hello", "user"))
        return Response(run("completed"))

    service, _ = serve_assistants(answer)
    assert texts(service.start_run(REQUEST)) == ["new"]


@pytest.mark.parametrize(
    "arguments",
    [
        {"headers": {"X-Key": "a\nb"}},
        {"headers": {"X-Key": "ü"}},
        {"headers": {"X-Key": 3}},
        {"organization": "a\r\nb"},
    ],
)
def test_unusable_headers_are_refused(arguments: dict[str, Any]) -> None:
    """A header that HTTP cannot carry is refused when the service is made, and not shown."""
    with pytest.raises(ConfigurationError, match="header '"):
        AssistantsService("http://host/v1", **arguments)


def test_services_differ_by_their_headers() -> None:
    """Keys may stand in headers: other headers make another service."""
    one = AssistantsService("http://host/v1", headers={"api-key": "sk-one"})
    other = AssistantsService("http://host/v1", headers={"api-key": "other"})
    assert one != other
    assert "sk-one" not in repr(one.identity)


def test_token_source_need_not_be_hashable() -> None:
    """Any callable may return tokens."""

    class Source(list[str]):
        def __call__(self) -> str:
            return "token"

    source = Source()
    service = AssistantsService("http://host/v1", auth=source)
    assert service == AssistantsService("http://host/v1", auth=source)
    assert hash(service) == hash(AssistantsService("http://host/v1", auth=source))


def test_password_in_the_address_is_refused() -> None:
    """A password in the base URL, which errors would show, is refused and not shown."""
    with pytest.raises(ConfigurationError, match="user or password") as refused:
        AssistantsService("http://me:secret@host/v1")
    assert "secret" not in str(refused.value)
