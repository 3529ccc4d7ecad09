"""Conversations + Responses turn by turn, against servers that answer as real ones do."""

from __future__ import annotations

import json
from typing import Any

import attrs
import pytest

from gpt_agent_sync.errors import (
    AssistantNotSetError,
    ProtocolError,
    RequestRejectedError,
)
from gpt_agent_sync.records import (
    Message,
    RunOptions,
    Usage,
)
from gpt_agent_sync.services.responses.wire import PREVIOUS_KEY, RUN_KEY
from tests.support.feeds import follow
from tests.support.responses_stub import (
    CREATE,
    HELLO,
    HI,
    ITEMS,
    NOTE,
    OPEN,
    POLL,
    REQUEST,
    Serve,
    begin,
    bodies,
    called,
    failed,
    in_progress,
    newest,
    notes,
    response,
    said,
    submit,
)
from tests.support.stub import Request, Response, error, listing

pytestmark = pytest.mark.usefixtures("short_pauses")


def with_usage(read: int, written: int) -> dict[str, Any]:
    """Return the usage of a response."""
    total = read + written
    return {"usage": {"input_tokens": read, "output_tokens": written, "total_tokens": total}}


# a turn


def test_plain_turn_costs_two_requests_beside_polls(serve_responses: Serve) -> None:
    """In an open conversation a turn is one response and one note, and polls."""
    talker, stub = serve_responses(
        {CREATE: [in_progress()], POLL: [in_progress(), response(said("hi"))]}
    )
    talker.open_thread("c")
    opened = len(stub.lines)
    assert follow(begin(talker))[0] == ["hi"]
    assert stub.lines[opened:] == [CREATE, NOTE, POLL, POLL]


def test_next_turn_does_not_read_the_metadata(serve_responses: Serve) -> None:
    """What the metadata are is known from the turn before."""
    talker, stub = serve_responses({CREATE: [in_progress()], POLL: [response(said("hi"))]})
    follow(begin(talker))
    first = len(stub.lines)
    follow(begin(talker))
    assert stub.lines[first:] == [CREATE, NOTE, POLL]


def test_message_has_the_id_of_its_run(serve_responses: Serve) -> None:
    """A user's message is the input of the response that it asks for, and has its id."""
    talker, _ = serve_responses({CREATE: [in_progress()]})
    assert talker.post_message(REQUEST, HELLO).message_id == "resp_1"


def test_servers_wish_for_the_next_poll_is_kept(serve_responses: Serve) -> None:
    """``openai-poll-after-ms`` sets the pause before the next poll."""
    polls = [attrs.evolve(in_progress(), headers={"openai-poll-after-ms": "1"}) for _ in range(40)]
    talker, stub = serve_responses({CREATE: [in_progress()], POLL: [*polls, response()]})
    follow(begin(talker, attrs.evolve(REQUEST, heartbeat_interval=60.0)))
    assert stub.lines.count(POLL) == 41


def test_messages_say_whose_they_are(serve_responses: Serve) -> None:
    """A message names its run and its assistant, and keeps its id and parts."""
    talker, _ = serve_responses({CREATE: [response(said("hi", "msg_7"))]})
    (message,) = [update for update in begin(talker) if isinstance(update, Message)]
    assert message == Message(
        id="msg_7",
        role="assistant",
        run_id="resp_1",
        assistant_id="m",
        content="hi",
        parts=({"type": "output_text", "text": "hi"},),
    )


def test_refusal_is_text_that_says_so(serve_responses: Serve) -> None:
    """A model's refusal is told as text, and its part says what it is."""
    part = {"type": "refusal", "refusal": "I will not."}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "content": [part]}
    talker, _ = serve_responses({CREATE: [response(item)]})
    (message,) = [update for update in begin(talker) if isinstance(update, Message)]
    assert (message.content, message.parts) == ("I will not.", (part,))


@pytest.mark.parametrize(
    "reason, code",
    [("max_output_tokens", "max_completion_tokens"), ("content_filter", "content_filter")],
)
def test_incomplete_response_says_why(serve_responses: Serve, reason: str, code: str) -> None:
    """A response that was cut short yields what it wrote, and the reason in the runs' word."""
    cut = response(said("half a"), status="incomplete", incomplete_details={"reason": reason})
    talker, _ = serve_responses({CREATE: [cut]})
    texts, last = follow(begin(talker))
    assert (texts, last.status, last.error_code) == (["half a"], "incomplete", code)


def test_calls_of_an_incomplete_response_are_not_waited_for(serve_responses: Serve) -> None:
    """A response that was cut short in the midst of its calls is over."""
    talker, _ = serve_responses({CREATE: [response(*called("call_1"), status="incomplete")]})
    _, last = follow(begin(talker))
    assert (last.status, last.tool_calls) == ("incomplete", ())


def test_failed_response_says_why(serve_responses: Serve) -> None:
    """A failed response carries the service's code and words."""
    talker, _ = serve_responses({CREATE: [failed("server_error", "It broke.")]})
    _, last = follow(begin(talker))
    assert (last.status, last.error_code, last.error_message) == (
        "failed",
        "server_error",
        "It broke.",
    )


def test_cancelled_response_is_told(serve_responses: Serve) -> None:
    """A response that somebody cancelled ends its run as that."""
    talker, _ = serve_responses({CREATE: [in_progress()], POLL: [response(status="cancelled")]})
    assert follow(begin(talker))[1].status == "cancelled"


# rounds of tools


def test_calls_are_waited_for(serve_responses: Serve) -> None:
    """A completed response that calls tools is a run that waits for their outputs."""
    talker, _ = serve_responses({CREATE: [response(*called("call_1", "call_2"))]})
    _, last = follow(begin(talker))
    assert last.status == "requires_action"
    assert [(call.id, call.name, call.arguments) for call in last.tool_calls] == [
        ("call_1", "add", "{}"),
        ("call_2", "add", "{}"),
    ]


def test_outputs_go_into_one_response(serve_responses: Serve) -> None:
    """All outputs are the input of one response, which names the run and the one before it."""
    talker, stub = serve_responses(
        {CREATE: [response(*called("call_1", "call_2")), response(said("3"), id="resp_2")]}
    )
    follow(begin(talker))
    follow(submit(talker, "call_1", "call_2"))
    body = bodies(stub)[1]
    assert body["conversation"] == "c"
    assert body["input"] == [
        {"type": "function_call_output", "call_id": "call_1", "output": "1"},
        {"type": "function_call_output", "call_id": "call_2", "output": "1"},
    ]
    assert body["metadata"] == {RUN_KEY: "resp_1", PREVIOUS_KEY: "resp_1"}


def test_full_metadata_leave_no_room_for_the_way_back(serve_responses: Serve) -> None:
    """The program's own sixteen pairs go along untouched with every response of the run."""
    pairs = {f"k{number}": "v" for number in range(16)}
    request = attrs.evolve(REQUEST, options=RunOptions(metadata=pairs))
    talker, stub = serve_responses(
        {CREATE: [response(*called("call_1")), response(said("3"), id="resp_2")]}
    )
    follow(begin(talker, request))
    assert follow(submit(talker, "call_1", request=request))[0] == ["3"]
    assert [body["metadata"] for body in bodies(stub)] == [pairs, pairs]


@pytest.mark.parametrize(
    "choice, kept",
    [
        ("required", False),
        ({"type": "function", "name": "add"}, False),
        ("auto", True),
        ("none", True),
    ],
)
def test_call_is_forced_once(serve_responses: Serve, choice: Any, kept: bool) -> None:
    """A choice that forces a call is for the first response, or the run would have no end."""
    request = attrs.evolve(REQUEST, options=RunOptions(tool_choice=choice))
    talker, stub = serve_responses(
        {CREATE: [response(*called("call_1")), response(said("3"), id="resp_2")]}
    )
    follow(begin(talker, request))
    follow(submit(talker, "call_1", request=request))
    assert ["tool_choice" in body for body in bodies(stub)] == [True, kept]


def rounds() -> dict[str, Any]:
    """Answer a run that says something, calls, says more, calls again, and ends."""
    return {
        CREATE: [
            response(said("one", "msg_1"), *called("call_1"), **with_usage(1, 2)),
            response(said("two", "msg_2"), *called("call_2"), id="resp_2", **with_usage(10, 20)),
            response(said("three", "msg_3"), id="resp_3", **with_usage(100, 200)),
        ]
    }


def test_usage_is_added_up(serve_responses: Serve) -> None:
    """What a run used is what all its responses used."""
    talker, _ = serve_responses(rounds())
    follow(begin(talker))
    follow(submit(talker, "call_1"))
    assert follow(submit(talker, "call_2"))[1].usage == Usage(
        input_tokens=111, output_tokens=222, total_tokens=333
    )


def test_messages_of_all_rounds_are_told_once(serve_responses: Serve) -> None:
    """What a run said between its calls is told at its end, each message once, in order."""
    talker, _ = serve_responses(rounds())
    feeds = [begin(talker), submit(talker, "call_1"), submit(talker, "call_2")]
    assert [follow(feed)[0] for feed in feeds] == [[], [], ["one", "two", "three"]]


def test_run_keeps_its_first_id(serve_responses: Serve) -> None:
    """A run is known by its first response, however many follow."""
    talker, _ = serve_responses(rounds())
    feeds = [begin(talker), submit(talker, "call_1"), submit(talker, "call_2")]
    assert [follow(feed)[1].id for feed in feeds] == ["resp_1", "resp_1", "resp_1"]


def test_each_round_names_the_one_before(serve_responses: Serve) -> None:
    """The responses of a run can be followed back one by one."""
    talker, stub = serve_responses(rounds())
    for feed in (begin(talker), submit(talker, "call_1"), submit(talker, "call_2")):
        follow(feed)
    assert [body.get("metadata", {}).get(PREVIOUS_KEY) for body in bodies(stub)] == [
        None,
        "resp_1",
        "resp_2",
    ]


# the note


def test_note_names_run_and_response(serve_responses: Serve) -> None:
    """The conversation names the run, the response now going and the assistant."""
    talker, stub = serve_responses(rounds())
    for feed in (begin(talker), submit(talker, "call_1"), submit(talker, "call_2")):
        follow(feed)
    assert notes(stub) == [
        {"run": "resp_1", "response": "resp_1", "assistant": "m"},
        {"run": "resp_1", "response": "resp_2", "assistant": "m"},
        {"run": "resp_1", "response": "resp_3", "assistant": "m"},
    ]


def test_note_leaves_other_pairs_alone(serve_responses: Serve) -> None:
    """The user's own metadata stay in the conversation."""
    metadata = {"title": "sums", RUN_KEY: "old"}
    talker, stub = serve_responses(
        {OPEN: [Response({"id": "c", "metadata": metadata})], CREATE: [in_progress()]}
    )
    talker.post_message(REQUEST, HELLO)
    (body,) = bodies(stub, NOTE)
    assert body["metadata"].keys() == {"title", RUN_KEY}
    assert body["metadata"]["title"] == "sums"


def test_full_conversation_has_no_note(
    serve_responses: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """Sixteen pairs of the user's leave no room for a note, and the run goes on without."""
    pairs = {f"k{number}": "v" for number in range(16)}
    talker, stub = serve_responses(
        {
            OPEN: [Response({"id": "c", "metadata": pairs})],
            CREATE: [in_progress()],
            POLL: [response(said("hi"))],
        }
    )
    assert follow(begin(talker))[0] == ["hi"]
    assert NOTE not in stub.lines
    assert "no room for a note" in caplog.text


@pytest.mark.parametrize(
    "trouble",
    [{NOTE: [error(400, "read-only")]}, {NOTE: [error(500, "no")]}, {OPEN: [error(500, "no")]}],
)
def test_failing_note_costs_no_run(
    serve_responses: Serve, trouble: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Where no note can be written, the run goes on without."""
    talker, _ = serve_responses({CREATE: [in_progress()], POLL: [response(said("hi"))], **trouble})
    assert follow(begin(talker))[0] == ["hi"]
    assert "could not be noted in" in caplog.text


def test_long_assistant_id_is_left_out_of_the_note(serve_responses: Serve) -> None:
    """An assistant's id that does not fit into a pair is no reason to go without a note."""
    long_id = "x" * 600
    talker, stub = serve_responses({CREATE: [in_progress()]})
    talker.post_message(attrs.evolve(REQUEST, assistant_id=long_id), HELLO)
    assert notes(stub) == [{"run": "resp_1", "response": "resp_1"}]


# reading messages


def test_messages_after_a_users_message_are_what_it_asked_for(serve_responses: Serve) -> None:
    """After a user's message come the messages of its response, and all that is newer."""
    everything = [
        said("hello", "u1", "user"),
        said("one", "msg_1"),
        said("more", "u2", "user"),
        said("two", "msg_2"),
    ]
    talker, _ = serve_responses(
        {POLL: [response(said("one", "msg_1"))], ITEMS: [newest(*everything)]}
    )
    after = talker.messages("c", after="resp_1")
    assert [message.id for message in after] == ["msg_1", "u2", "msg_2"]


def test_response_that_left_nothing_has_nothing_after_it(serve_responses: Serve) -> None:
    """After the message of a response whose items are nowhere, there are no messages."""
    talker, _ = serve_responses({POLL: [response(said("one", "msg_1"), status="incomplete")]})
    assert list(talker.messages("c", after="resp_1")) == []


def test_messages_after_an_item_are_read_page_by_page(serve_responses: Serve) -> None:
    """However many items there are, those after one come oldest first."""
    everything = [said(str(number), f"msg_{number:03}") for number in range(250)]

    def answer(request: Request) -> Response:
        ids = [item["id"] for item in everything]
        begun = ids.index(request.query["after"]) + 1
        page = everything[begun : begun + int(request.query["limit"])]
        return listing(*page, has_more=begun + len(page) < len(everything))

    talker, stub = serve_responses(answer)
    after = talker.messages("c", after="msg_009")
    assert [message.content for message in after] == [str(number) for number in range(10, 250)]
    assert len(stub.lines) == 3


def test_server_that_refuses_after_is_read_from_its_newer_end(serve_responses: Serve) -> None:
    """Where ``after`` is refused, the conversation is read without it."""

    def answer(request: Request) -> Response:
        if "after" in request.query:
            return error(422, "unknown parameter after")
        assert request.query["order"] == "desc"
        return newest(said("a", "msg_1"), said("b", "msg_2"), said("c", "msg_3"))

    talker, _ = serve_responses(answer)
    after = talker.messages("c", after="msg_1")
    assert [message.id for message in after] == ["msg_2", "msg_3"]


def test_pages_end_where_a_cursor_is_refused(
    serve_responses: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """A server that says there is more but refuses to send it is believed to have ended."""

    def answer(request: Request) -> Response:
        if "after" in request.query:
            return error(422, "unknown parameter after")
        return newest(said("a", "msg_1"), said("b", "msg_2"), has_more=True)

    talker, _ = serve_responses(answer)
    listed = talker.messages("c", order="desc")
    assert [message.id for message in listed] == ["msg_2", "msg_1"]
    assert "cannot be read further" in caplog.text


def test_messages_after_an_unknown_one_are_refused(serve_responses: Serve) -> None:
    """There is nothing after a message that is not there."""

    def answer(request: Request) -> Response:
        return error(404, "no such item") if "after" in request.query else listing()

    talker, _ = serve_responses(answer)
    with pytest.raises(RequestRejectedError, match="no such item"):
        next(talker.messages("c", after="msg_x"))


def test_what_came_after_a_forgotten_response_cannot_be_told(
    serve_responses: Serve, caplog: pytest.LogCaptureFixture
) -> None:
    """A response that the service has no more has no place in the conversation; that is logged."""
    talker, stub = serve_responses({})
    assert list(talker.messages("c", after="resp_x")) == []
    assert "cannot be told" in caplog.text
    assert stub.lines == ["GET /responses/resp_x"]


def test_messages_are_of_the_turn_that_they_stand_in(serve_responses: Serve) -> None:
    """Messages of no known response are of the run that its turn's first item names."""
    items = [said("a", "msg_1"), said("more", "u2", "user"), said("b", "msg_2")]
    talker, _ = serve_responses({ITEMS: [listing(*items)]})
    after = talker.messages("c", after="msg_0")
    assert [message.run_id for message in after] == ["msg_0", None, "u2"]


def test_messages_of_the_run_under_way_name_it(serve_responses: Serve) -> None:
    """What the conversation's run has written is said to be its, wherever it stands."""
    talker, _ = serve_responses({CREATE: [response(HI)], ITEMS: [newest(said("a", "msg_0"), HI)]})
    follow(begin(talker))
    after = {message.id: message.run_id for message in talker.messages("c", after="msg_9")}
    assert after == {"msg_0": "msg_9", "msg_1": "resp_1"}


# odd servers


def test_refusal_as_detail_is_told(serve_responses: Serve) -> None:
    """An error that is only a detail is told in its words."""
    talker, _ = serve_responses({CREATE: [Response({"detail": "queue is full"}, status=400)]})
    with pytest.raises(RequestRejectedError, match="queue is full"):
        talker.post_message(REQUEST, HELLO)


@pytest.mark.parametrize(
    "answer, words",
    [
        ({"status": "queued"}, "lacks 'id' or 'status'"),
        ({"id": "resp_1"}, "lacks 'id' or 'status'"),
        ({"id": 7, "status": "queued"}, "lacks 'id' or 'status'"),
        ({"type": "error", "error": {"message": "overloaded"}}, "overloaded"),
    ],
)
def test_answer_that_is_no_response_is_a_protocol_error(
    serve_responses: Serve, answer: dict[str, Any], words: str
) -> None:
    """An answer without an id or a status is told as what it is, with what it says."""
    talker, _ = serve_responses({CREATE: [Response(answer)]})
    with pytest.raises(ProtocolError, match=words):
        talker.post_message(REQUEST, HELLO)


def test_list_without_data_is_a_protocol_error(serve_responses: Serve) -> None:
    """A list that lacks its items is told as what it is."""
    talker, _ = serve_responses({ITEMS: [Response({"object": "list"})]})
    with pytest.raises(ProtocolError, match="'data'"):
        talker.open_thread("c")


@pytest.mark.parametrize("blank", [{}, {"first_id": "", "last_id": ""}, {"last_id": None}])
def test_empty_page_may_be_spelled_in_any_way(serve_responses: Serve, blank: Any) -> None:
    """An empty list is empty, whatever its cursors say, even that there is more."""
    page = Response({"object": "list", "data": [], "has_more": True, **blank})
    talker, stub = serve_responses({ITEMS: [page]})
    assert talker.open_thread("c") is None
    assert stub.lines == [OPEN, ITEMS]


def test_messages_without_ids_get_some(serve_responses: Serve) -> None:
    """Messages without ids are told under ids of their own, a plain text for content too."""
    items = [{"type": "message", "role": "assistant", "content": text} for text in ("a", "b")]
    talker, _ = serve_responses({CREATE: [response(*items)]})
    messages = [update for update in begin(talker) if isinstance(update, Message)]
    assert [message.content for message in messages] == ["a", "b"]
    assert [message.id for message in messages] == ["resp_1_0", "resp_1_1"]


def test_calls_without_ids_are_known_by_their_call_ids(serve_responses: Serve) -> None:
    """A call needs no item id, and its arguments may be an object."""
    item = {"type": "function_call", "call_id": "call_1", "name": "add", "arguments": {"a": 1}}
    talker, _ = serve_responses({CREATE: [response(item)]})
    (call,) = follow(begin(talker))[1].tool_calls
    assert (call.id, json.loads(call.arguments)) == ("call_1", {"a": 1})


def test_items_that_are_no_calls_are_passed_over(serve_responses: Serve) -> None:
    """Reasoning, and calls that nobody could answer, are nothing to wait for."""
    items: list[dict[str, Any]] = [
        {"type": "reasoning", "id": "rs_1", "summary": []},
        {"type": "function_call", "name": "add", "arguments": "{}"},
        {"type": "function_call", "call_id": "call_1", "arguments": "{}"},
    ]
    talker, _ = serve_responses({CREATE: [response(*items, said("hi"))]})
    texts, last = follow(begin(talker))
    assert (texts, last.status) == (["hi"], "completed")


def test_numbers_may_be_floats(serve_responses: Serve) -> None:
    """Counts and times that come as floats are taken as what they mean."""
    usage = {"input_tokens": 1.0, "output_tokens": 2.0}
    talker, _ = serve_responses({CREATE: [response(created_at=1.5, usage=usage)]})
    assert follow(begin(talker))[1].usage == Usage(input_tokens=1, output_tokens=2, total_tokens=3)


def test_unknown_status_is_polled_again(serve_responses: Serve) -> None:
    """A status that nobody knows is not the end of a run."""
    talker, _ = serve_responses(
        {CREATE: [response(status="warming_up")], POLL: [response(said("hi"))]}
    )
    assert follow(begin(talker))[0] == ["hi"]


@pytest.mark.parametrize(
    "metadata",
    [
        None,
        {RUN_KEY: "no json"},
        {RUN_KEY: "[1]"},
        {RUN_KEY: 7},
        {RUN_KEY: '{"run": "resp_1"}'},
    ],
)
def test_note_that_cannot_be_read_is_none(serve_responses: Serve, metadata: Any) -> None:
    """Metadata without a note that can be read name no run."""
    talker, stub = serve_responses({OPEN: [Response({"id": "c", "metadata": metadata})]})
    assert talker.open_thread("c") is None
    assert stub.lines == [OPEN, ITEMS]


def test_run_found_without_an_assistant_cannot_go_on(serve_responses: Serve) -> None:
    """Where it is not known which assistant runs, the program must name it."""
    items = [said("hello", "u1", "user"), *called("call_1")]
    talker, stub = serve_responses({ITEMS: [newest(*items)]})
    talker.open_thread("c")
    unset = attrs.evolve(REQUEST, assistant_id=None)
    with pytest.raises(AssistantNotSetError):
        next(submit(talker, "call_1", run_id="u1", request=unset))
    assert CREATE not in stub.lines
