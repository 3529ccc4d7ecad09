"""Conversations + Responses with runs of others: found, forgotten, cancelled, left behind."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import attrs
import pytest

from gpt_agent_sync.errors import (
    ConfigurationError,
    ProtocolError,
    RequestRejectedError,
    ServiceBusyError,
    ServiceUnavailableError,
)
from gpt_agent_sync.records import Posted, RunSnapshot
from gpt_agent_sync.services.responses import (
    ResponsesService,
    tracking,
)
from gpt_agent_sync.services.responses.wire import PREVIOUS_KEY, RUN_KEY
from tests.support.feeds import follow
from tests.support.responses_stub import (
    ADD,
    AGAIN,
    ANSWERED,
    CALLS,
    CANCEL,
    CANCEL_2,
    CONVERSATION,
    CREATE,
    HELLO,
    HI,
    ITEMS,
    LOCKED,
    NO_OUTPUT,
    NOTE,
    OPEN,
    POLL,
    POLL_2,
    QUIET,
    REQUEST,
    ROUND_2,
    USER,
    Serve,
    begin,
    bodies,
    called,
    failed,
    gave,
    given,
    in_progress,
    newest,
    noted,
    notes,
    response,
    said,
    submit,
)
from tests.support.stub import HangUp, Request, Response, error, listing, table

pytestmark = pytest.mark.usefixtures("short_pauses")


def usage(read: int, written: int) -> dict[str, Any]:
    """Return the usage of a response."""
    return {"usage": {"input_tokens": read, "output_tokens": written}}


# runs found


def found(service: ResponsesService) -> RunSnapshot:
    """Open the conversation, in which there must be a live run."""
    live = service.open_thread("c")
    assert live is not None
    return live


def test_live_run_is_found_by_its_note(serve_responses: Serve) -> None:
    """The note names the response now going, and the run that it belongs to."""
    talker, stub = serve_responses(
        {
            OPEN: [noted(run="resp_1", response="resp_2", assistant="tutor")],
            POLL: [CALLS],
            POLL_2: [in_progress("resp_2", **ROUND_2)],
        }
    )
    live = found(talker)
    assert (live.id, live.status, live.assistant_id) == ("resp_1", "in_progress", "tutor")
    assert ITEMS not in stub.lines


def test_rounds_are_followed_back(serve_responses: Serve) -> None:
    """A run that was found has the messages and the usage of all its responses."""
    back: dict[str, Any] = {"metadata": {RUN_KEY: "resp_1", PREVIOUS_KEY: "resp_2"}}
    talker, _ = serve_responses(
        {
            OPEN: [noted(run="resp_1", response="resp_3", assistant="m")],
            POLL: [response(said("one", "msg_1"), *called("call_1"), **usage(1, 2))],
            POLL_2: [
                response(
                    said("two", "msg_2"),
                    *called("call_2"),
                    id="resp_2",
                    **ROUND_2,
                    **usage(10, 20),
                )
            ],
            "GET /responses/resp_3": [
                in_progress("resp_3", **back),
                response(said("three", "msg_3"), id="resp_3", **back, **usage(100, 200)),
            ],
        }
    )
    texts, last = follow(talker.resume_run(REQUEST, found(talker).id))
    assert texts == ["one", "two", "three"]
    assert last.usage is not None
    assert (last.usage.input_tokens, last.usage.output_tokens) == (111, 222)


def test_rounds_are_followed_back_so_far(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose rounds never lead to its first one is not followed back for ever."""
    monkeypatch.setattr(tracking, "MAX_ROUNDS", 3)
    circle: dict[str, Any] = {"metadata": {PREVIOUS_KEY: "resp_2"}}
    talker, stub = serve_responses(
        {
            OPEN: [noted(run="resp_1", response="resp_2", assistant="m")],
            POLL_2: [in_progress("resp_2", **circle)],
        }
    )
    assert found(talker).id == "resp_1"
    assert stub.lines == [OPEN, *[POLL_2] * 4]


def test_rounds_that_are_gone_are_done_without(serve_responses: Serve) -> None:
    """A run whose first response the service has no more is followed from there on."""
    talker, _ = serve_responses(
        {
            OPEN: [noted(run="resp_1", response="resp_2", assistant="m")],
            POLL_2: [in_progress("resp_2", **ROUND_2), response(HI, id="resp_2", **ROUND_2)],
        }
    )
    assert follow(talker.resume_run(REQUEST, found(talker).id))[0] == ["hi"]


def test_waiting_run_is_found_by_its_note(serve_responses: Serve) -> None:
    """A response that ended with calls which nobody answered is a run that waits."""
    talker, _ = serve_responses(
        {
            OPEN: [noted(run="resp_1", response="resp_1", assistant="m")],
            POLL: [CALLS],
            ITEMS: [newest(USER, *called("call_1"))],
        }
    )
    live = found(talker)
    assert (live.id, live.status) == ("resp_1", "requires_action")
    assert [call.id for call in live.tool_calls] == ["call_1"]


@pytest.mark.parametrize(
    "polled, items",
    [
        (response(HI), [USER, HI]),
        (CALLS, [USER, *called("call_1"), gave("call_1"), HI]),
        (CALLS, [USER, *called("call_1"), gave("call_1"), said("more", "u2", "user"), HI]),
        (failed("server_error"), []),
        (error(404, "gone"), [USER, HI]),
        (error(400, "malformed id"), []),
    ],
)
def test_note_of_a_run_that_is_over_names_no_live_one(
    serve_responses: Serve, polled: Response, items: list[dict[str, Any]]
) -> None:
    """A response that ended, was answered by somebody else, or is gone, is no live run."""
    talker, _ = serve_responses(
        {
            OPEN: [noted(run="resp_1", response="resp_1", assistant="m")],
            POLL: [polled],
            ITEMS: [newest(*items)],
        }
    )
    assert talker.open_thread("c") is None


STALE_ITEMS = [[], [said("older", "u0", "user"), HI]]


@pytest.mark.parametrize("items", STALE_ITEMS)
def test_calls_that_are_still_to_come_into_the_conversation_are_waited_for(
    serve_responses: Serve, items: list[dict[str, Any]]
) -> None:
    """A response that waits is found by its note, though its items come a little later."""
    before = newest(*items)
    talker, _ = serve_responses(
        {
            OPEN: [noted(run="resp_1", response="resp_1", assistant="m")],
            POLL: [CALLS],
            ITEMS: [before, before, before, before, newest(USER, *called("call_1"))],
        }
    )
    assert found(talker).status == "requires_action"


@pytest.mark.parametrize("items", STALE_ITEMS)
def test_calls_that_never_come_into_the_conversation_are_no_live_run(
    serve_responses: Serve, items: list[dict[str, Any]]
) -> None:
    """A response whose items do not come shortly after its end is nothing to wait for."""
    talker, _ = serve_responses(
        {
            OPEN: [noted(run="resp_1", response="resp_1", assistant="m")],
            POLL: [CALLS],
            ITEMS: [newest(*items)],
        }
    )
    assert talker.open_thread("c") is None


@pytest.mark.parametrize(
    "opened, polled, status",
    [
        (CONVERSATION, CALLS, None),
        (noted(run="resp_1", response="resp_1", assistant="m"), response(HI), None),
        (noted(run="resp_1", response="resp_1", assistant="m"), CALLS, "requires_action"),
        (noted(run="resp_1", response="resp_1", over=True), CALLS, None),
    ],
)
def test_conversation_whose_items_cannot_be_read_is_open(
    serve_responses: Serve, opened: Response, polled: Response, status: str | None
) -> None:
    """A server that does not list items is believed by what its response says."""
    talker, _ = serve_responses(
        {OPEN: [opened], POLL: [polled], ITEMS: [error(405, "no such method")]}
    )
    live = talker.open_thread("c")
    assert (live and live.status) == status


@pytest.mark.parametrize("status", [400, 404, 409])
def test_refused_look_for_a_live_run_is_told(serve_responses: Serve, status: int) -> None:
    """A conversation may have a live run although its items are refused: nobody would follow it."""
    talker, _ = serve_responses({OPEN: [CONVERSATION], ITEMS: [error(status, "no")]})
    with pytest.raises(RequestRejectedError):
        talker.open_thread("c")


def test_trouble_with_the_noted_response_is_told(serve_responses: Serve) -> None:
    """A refusal that says nothing about the response is not taken for its absence."""
    talker, _ = serve_responses(
        {OPEN: [noted(run="resp_1", response="resp_1")], POLL: [error(422, "no")]}
    )
    with pytest.raises(RequestRejectedError):
        talker.open_thread("c")


def test_run_that_was_ended_while_it_waited_is_not_found(serve_responses: Serve) -> None:
    """A note that says so is believed, though the calls have no outputs."""
    talker, _ = serve_responses(
        {
            OPEN: [noted(run="resp_1", response="resp_1", over=True)],
            POLL: [CALLS],
            ITEMS: [newest(USER, *called("call_1"))],
        }
    )
    assert talker.open_thread("c") is None


@pytest.mark.parametrize("opened", [CONVERSATION, noted(run="resp_0", response="resp_0")])
def test_calls_of_other_software_are_found(serve_responses: Serve, opened: Response) -> None:
    """Calls that stand there unanswered are a run, whoever had them made."""
    items = [USER, said("let me see", "msg_0"), *called("call_0", "call_1"), gave("call_0")]
    talker, _ = serve_responses({OPEN: [opened], ITEMS: [newest(*items)]})
    live = found(talker)
    assert live.status == "requires_action"
    assert [call.id for call in live.tool_calls] == ["call_1"]


def test_note_that_is_still_to_come_is_waited_for(serve_responses: Serve) -> None:
    """The run of calls that stand there has the id by which the process that began it knows it."""
    named = noted(run="resp_1", response="resp_1", assistant="m")
    talker, _ = serve_responses(
        {
            OPEN: [CONVERSATION, CONVERSATION, named],
            POLL: [CALLS],
            ITEMS: [newest(USER, *called("call_1"))],
        }
    )
    assert found(talker).id == "resp_1"


def test_calls_of_other_software_are_answered(serve_responses: Serve) -> None:
    """A run that was found by its calls goes on, and yields all its messages."""
    items = [USER, said("let me see", "msg_0"), *called("call_1")]
    talker, stub = serve_responses({ITEMS: [newest(*items)], CREATE: [response(HI, id="resp_2")]})
    live = found(talker)
    follow(talker.resume_run(REQUEST, live.id))
    texts, last = follow(submit(talker, "call_1", run_id=live.id))
    assert (texts, last.id) == (["let me see", "hi"], live.id)
    assert given(stub) == [["call_1"]]


def test_long_turn_is_read_to_its_beginning(serve_responses: Serve) -> None:
    """A turn longer than a page is read back to the user's message."""
    rounds = [item for number in range(30) for item in (*called(f"c{number}"), gave(f"c{number}"))]
    everything = [USER, *rounds, *called("last")][::-1]

    def answer(request: Request) -> Response:
        if request.line != ITEMS:
            return CONVERSATION
        ids = [item["id"] for item in everything]
        begun = ids.index(request.query["after"]) + 1 if "after" in request.query else 0
        page = everything[begun : begun + int(request.query["limit"])]
        return listing(*page, has_more=begun + len(page) < len(everything))

    talker, stub = serve_responses(answer)
    live = found(talker)
    assert (live.id, [call.id for call in live.tool_calls]) == ("u1", ["last"])
    assert stub.lines[:3] == [OPEN, ITEMS, ITEMS]
    assert ITEMS not in stub.lines[3:]


def test_conversation_without_a_users_message_is_read_whole(serve_responses: Serve) -> None:
    """Where no user has said anything, all items are read."""
    talker, _ = serve_responses({ITEMS: [newest(*called("call_1"))]})
    assert [call.id for call in found(talker).tool_calls] == ["call_1"]


def test_waiting_run_that_somebody_else_answers_is_followed(serve_responses: Serve) -> None:
    """A poll of a run that waits shows when another process has gone on with it."""
    talker, _ = serve_responses(
        {
            CREATE: [CALLS],
            OPEN: [CONVERSATION, noted(run="resp_1", response="resp_2", assistant="m")],
            POLL: [CALLS],
            POLL_2: [response(HI, id="resp_2", **ROUND_2)],
        }
    )
    follow(begin(talker))
    assert follow(talker.resume_run(REQUEST, "resp_1"))[0] == ["hi"]


def test_waiting_run_is_told_by_its_items_where_the_note_tells_nothing(
    serve_responses: Serve,
) -> None:
    """Calls that have outputs are not waited for, though the noted response is gone."""
    talker, _ = serve_responses(
        {
            CREATE: [CALLS],
            OPEN: [CONVERSATION, noted(run="resp_1", response="resp_9", assistant="m")],
            ITEMS: [ANSWERED],
        }
    )
    follow(begin(talker))
    assert follow(talker.resume_run(REQUEST, "resp_1"))[0] == ["done"]


def test_run_is_told_though_the_conversation_has_gone_on(serve_responses: Serve) -> None:
    """Calls that were answered in an earlier turn end the run with what that turn holds."""
    turn = [USER, *called("call_1"), gave("call_1"), HI]
    talker, _ = serve_responses(
        {CREATE: [CALLS], ITEMS: [newest(*turn, said("more", "u2", "user"), said("b", "msg_2"))]}
    )
    follow(begin(talker))
    texts, last = follow(talker.resume_run(REQUEST, "resp_1"))
    assert (texts, last.status) == (["hi"], "completed")


def test_run_that_the_conversation_has_dropped_is_over(serve_responses: Serve) -> None:
    """A run of which nothing stands there, while another one is noted, has been superseded."""
    talker, _ = serve_responses(
        {CREATE: [CALLS], OPEN: [CONVERSATION, noted(run="resp_9", response="resp_9")]}
    )
    follow(begin(talker))
    _, last = follow(talker.resume_run(REQUEST, "resp_1"))
    assert (last.status, last.error_code) == ("failed", "superseded")
    assert "resp_9" in str(last.error_message)


def test_poll_that_was_overtaken_does_not_take_the_run_back(serve_responses: Serve) -> None:
    """A poll from before the outputs were sent does not replace what came of them."""
    scripted = table({**QUIET, CREATE: [CALLS, response(HI, id="resp_2")]})
    services: list[ResponsesService] = []

    def answer(request: Request) -> Response:
        if request.line == OPEN and services:
            follow(submit(services.pop(), "call_1"))
        return scripted(request)

    talker, stub = serve_responses(answer)
    follow(begin(talker))
    services.append(talker)
    assert follow(talker.resume_run(REQUEST, "resp_1"))[0] == ["hi"]
    assert stub.lines.count(CREATE) == 2


def test_note_that_could_not_be_moved_on_is_an_old_one(serve_responses: Serve) -> None:
    """A note that names a response before ours does not lead back to it."""
    talker, _ = serve_responses(
        {
            CREATE: [CALLS, response(*called("call_2"), id="resp_2")],
            NOTE: [CONVERSATION, error(400, "read-only")],
            OPEN: [CONVERSATION, noted(run="resp_1", response="resp_1", assistant="m")],
            POLL: [CALLS],
        }
    )
    follow(begin(talker))
    follow(submit(talker, "call_1"))
    _, still = follow(talker.resume_run(REQUEST, "resp_1"))
    assert [call.id for call in still.tool_calls] == ["call_2"]


def test_response_that_is_gone_is_told_by_its_items(serve_responses: Serve) -> None:
    """A response that the service has forgotten is over; what it left is told."""
    talker, _ = serve_responses(
        {CREATE: [in_progress()], POLL: [error(404, "gone")], ITEMS: [newest(USER, HI)]}
    )
    texts, last = follow(begin(talker))
    assert (texts, last.status) == (["hi"], "completed")


def test_response_that_is_gone_without_a_trace_is_an_error(serve_responses: Serve) -> None:
    """A response that the service has forgotten, and that left nothing, is told as gone."""
    talker, _ = serve_responses({CREATE: [in_progress()], POLL: [error(404, "gone")]})
    feed = begin(talker)
    next(feed)
    with pytest.raises(RequestRejectedError, match="no response 'resp_1'"):
        next(feed)


# what is forgotten


@pytest.mark.parametrize("noted_run", ["resp_1", "resp_0"])
def test_run_that_was_forgotten_is_read_again(serve_responses: Serve, noted_run: str) -> None:
    """A service object that knows nothing of a run follows it by note, or by the run's id."""
    talker, _ = serve_responses(
        {
            OPEN: [noted(run=noted_run, response=noted_run, assistant="m")],
            POLL: [in_progress(), response(HI)],
        }
    )
    assert follow(talker.resume_run(REQUEST, "resp_1"))[0] == ["hi"]


def test_run_of_which_only_items_are_left_is_over(serve_responses: Serve) -> None:
    """A run that nobody knows any more is told by what stands in the conversation."""
    talker, _ = serve_responses({ITEMS: [newest(USER, HI)]})
    texts, last = follow(talker.resume_run(REQUEST, "resp_1"))
    assert (texts, last.status) == (["hi"], "completed")


@pytest.mark.parametrize("opened", [False, True])
def test_message_posted_by_another_object_is_followed(serve_responses: Serve, opened: bool) -> None:
    """The receipt of a message is enough to follow its run."""
    talker, stub = serve_responses({POLL: [response(HI)]})
    if opened:
        talker.open_thread("c")
    request = attrs.evolve(REQUEST, posted=Posted(message_id="resp_1"))
    assert follow(talker.start_run(request))[0] == ["hi"]
    assert CREATE not in stub.lines


def test_message_whose_response_is_gone_is_told_by_its_items(serve_responses: Serve) -> None:
    """The run of a receipt that the service has forgotten is told by what stands there."""
    talker, _ = serve_responses({ITEMS: [newest(USER, HI)]})
    request = attrs.evolve(REQUEST, posted=Posted(message_id="resp_1"))
    texts, last = follow(talker.start_run(request))
    assert (texts, last.status) == (["hi"], "completed")


def test_messages_of_a_run_that_was_forgotten_at_its_end_are_read_again(
    serve_responses: Serve,
) -> None:
    """A run's messages are told even if the conversation is opened anew just before."""
    talker, _ = serve_responses({CREATE: [response(HI)], POLL: [response(HI)]})
    feed = begin(talker)
    next(feed)
    talker.open_thread("c")
    assert follow(feed)[0] == ["hi"]


# cancelling


def test_working_response_is_cancelled(serve_responses: Serve) -> None:
    """Cancelling a run cancels the response now going."""
    talker, stub = serve_responses(
        {
            CREATE: [CALLS, in_progress("resp_2")],
            CANCEL_2: [response(id="resp_2", status="cancelled")],
            POLL_2: [response(id="resp_2", status="cancelled")],
        }
    )
    follow(begin(talker))
    feed = submit(talker, "call_1")
    next(feed)
    talker.cancel_run("c", "resp_1")
    assert follow(feed)[1].status == "cancelled"
    assert stub.lines.count(CANCEL_2) == 1


def test_lost_cancel_is_repeated(serve_responses: Serve) -> None:
    """Cancelling twice does no harm, so a cancel whose answer was lost is sent again."""
    talker, stub = serve_responses(
        {CREATE: [in_progress()], CANCEL: [HangUp, response(status="cancelled")]}
    )
    talker.post_message(REQUEST, HELLO)
    talker.cancel_run("c", "resp_1")
    assert stub.lines.count(CANCEL) == 2


@pytest.mark.parametrize(
    "refusal, polled",
    [
        (error(409, "already completed"), response(HI)),
        (error(400, "Cannot cancel a completed response."), response(HI)),
        (error(404, "not found"), error(404, "not found")),
    ],
)
def test_refused_cancel_of_what_is_over_is_quiet(
    serve_responses: Serve, refusal: Response, polled: Response
) -> None:
    """A response that ended before the cancel came, or is gone, is no error."""
    talker, stub = serve_responses({CREATE: [in_progress()], CANCEL: [refusal], POLL: [polled]})
    talker.post_message(REQUEST, HELLO)
    talker.cancel_run("c", "resp_1")
    assert stub.lines[-2:] == [CANCEL, POLL]


def test_refused_cancel_of_a_live_response_is_told(serve_responses: Serve) -> None:
    """A server that does not cancel a response at work says so."""
    refusal = error(400, "Cannot cancel a synchronous response.")
    talker, _ = serve_responses({CREATE: [in_progress()], CANCEL: [refusal], POLL: [in_progress()]})
    talker.post_message(REQUEST, HELLO)
    with pytest.raises(RequestRejectedError, match="synchronous"):
        talker.cancel_run("c", "resp_1")


def test_calls_of_a_response_that_ended_before_the_cancel_are_answered(
    serve_responses: Serve,
) -> None:
    """A response that ended with calls before the cancel came leaves the conversation free."""
    talker, stub = serve_responses(
        {
            CREATE: [in_progress()],
            CANCEL: [error(409, "completed")],
            POLL: [CALLS],
            ITEMS: [newest(USER, *called("call_1"))],
            ADD: [listing()],
        }
    )
    talker.post_message(REQUEST, HELLO)
    talker.cancel_run("c", "resp_1")
    (body,) = bodies(stub, ADD)
    assert [item["call_id"] for item in body["items"]] == ["call_1"]


def test_waiting_run_is_cancelled_by_answering_its_calls(serve_responses: Serve) -> None:
    """The calls of a run that waits are answered with errors, and the note says it is over."""
    talker, stub = serve_responses(
        {
            CREATE: [response(*called("call_1", "call_2"))],
            ITEMS: [newest(USER, *called("call_1", "call_2"))],
            ADD: [listing()],
        }
    )
    follow(begin(talker))
    talker.cancel_run("c", "resp_1")
    (body,) = bodies(stub, ADD)
    assert [(item["type"], item["call_id"]) for item in body["items"]] == [
        ("function_call_output", "call_1"),
        ("function_call_output", "call_2"),
    ]
    assert all("error" in json.loads(item["output"]) for item in body["items"])
    assert notes(stub)[-1]["over"] is True


def test_many_calls_are_answered_twenty_at_a_time(serve_responses: Serve) -> None:
    """One call adds at most twenty items to a conversation."""
    ids = [f"call_{number}" for number in range(21)]
    talker, stub = serve_responses(
        {
            CREATE: [response(*called(*ids))],
            ITEMS: [newest(USER, *called(*ids))],
            ADD: [listing()],
        }
    )
    follow(begin(talker))
    talker.cancel_run("c", "resp_1")
    assert [len(body["items"]) for body in bodies(stub, ADD)] == [20, 1]


def test_cancelled_waiting_run_is_over(serve_responses: Serve) -> None:
    """A run cancelled while it waited is told as that, and nothing is sent for it any more."""
    talker, stub = serve_responses({CREATE: [CALLS], ADD: [listing()]})
    follow(begin(talker))
    talker.cancel_run("c", "resp_1")
    sent = len(stub.lines)
    feeds = [talker.resume_run(REQUEST, "resp_1"), submit(talker, "call_1")]
    assert [follow(feed)[1].status for feed in feeds] == ["cancelled", "cancelled"]
    assert len(stub.lines) == sent


def test_cancelling_twice_answers_once(serve_responses: Serve) -> None:
    """A run that is over is not cancelled again."""
    talker, stub = serve_responses(
        {CREATE: [CALLS], ITEMS: [newest(USER, *called("call_1"))], ADD: [listing()]}
    )
    follow(begin(talker))
    for _ in range(2):
        talker.cancel_run("c", "resp_1")
    assert stub.lines.count(ADD) == 1


@pytest.mark.parametrize("refusal", [error(400, "no"), LOCKED])
def test_calls_that_take_no_items_are_left_to_the_next_message(
    serve_responses: Serve, refusal: Response, caplog: pytest.LogCaptureFixture
) -> None:
    """Where the error outputs are refused, or the conversation is locked, the run is over too."""
    caplog.set_level(logging.INFO)
    talker, _ = serve_responses(
        {CREATE: [CALLS], ITEMS: [newest(USER, *called("call_1"))], ADD: [refusal]}
    )
    follow(begin(talker))
    talker.cancel_run("c", "resp_1")
    assert follow(talker.resume_run(REQUEST, "resp_1"))[1].status == "cancelled"
    assert "wait for the next message" in caplog.text


def test_run_of_other_software_is_cancelled(serve_responses: Serve) -> None:
    """Calls that were found in the conversation can be answered with errors too."""
    talker, stub = serve_responses({ITEMS: [newest(USER, *called("call_1"))], ADD: [listing()]})
    talker.cancel_run("c", found(talker).id)
    assert [item["call_id"] for item in bodies(stub, ADD)[0]["items"]] == ["call_1"]


def cancelling(made: Response, answers: Mapping[str, Any]) -> tuple[Any, list[ResponsesService]]:
    """Answer a run's outputs with ``made`` after it was cancelled by the service in the list."""
    other = table({**QUIET, CREATE: [CALLS], **answers})
    services: list[ResponsesService] = []

    def answer(request: Request) -> Response:
        if request.line == CREATE and request.body["input"][0]["type"] != "message":
            services[0].cancel_run("c", "resp_1")
            return made
        return other(request)

    return answer, services


def test_cancel_while_outputs_are_on_their_way_ends_what_comes_of_them(
    serve_responses: Serve,
) -> None:
    """A run cancelled while its outputs are sent has the response made from them cancelled."""
    answer, services = cancelling(
        in_progress("resp_2"), {CANCEL_2: [response(id="resp_2", status="cancelled")]}
    )
    talker, stub = serve_responses(answer)
    services.append(talker)
    follow(begin(talker))
    assert follow(submit(talker, "call_1"))[1].status == "cancelled"
    assert stub.lines.count(CANCEL_2) == 1
    assert ADD not in stub.lines


def test_cancel_while_outputs_are_refused_ends_the_run(serve_responses: Serve) -> None:
    """A run cancelled while its outputs are refused is told as cancelled, not as trouble."""
    answer, services = cancelling(error(400, "no"), {})
    talker, _ = serve_responses(answer)
    services.append(talker)
    follow(begin(talker))
    assert follow(submit(talker, "call_1"))[1].status == "cancelled"


def test_cancel_while_outputs_get_lost_is_noted(serve_responses: Serve) -> None:
    """A run cancelled while its outputs found no service is over, and the conversation says so."""
    answer, services = cancelling(error(500, "no"), {})
    talker, stub = serve_responses(answer, http_retries=0)
    services.append(talker)
    follow(begin(talker))
    with pytest.raises(ServiceUnavailableError):
        next(submit(talker, "call_1"))
    assert notes(stub)[-1]["over"] is True
    assert follow(talker.resume_run(REQUEST, "resp_1"))[1].status == "cancelled"


def test_response_of_another_process_is_cancelled(serve_responses: Serve) -> None:
    """Cancelling a run that another process has gone on with cancels its response."""
    talker, stub = serve_responses(
        {
            CREATE: [CALLS],
            OPEN: [CONVERSATION, noted(run="resp_1", response="resp_2", assistant="m")],
            POLL_2: [in_progress("resp_2")],
            CANCEL_2: [response(id="resp_2", status="cancelled")],
        }
    )
    follow(begin(talker))
    talker.cancel_run("c", "resp_1")
    assert stub.lines.count(CANCEL_2) == 1
    assert ADD not in stub.lines


def test_cancelling_a_run_that_is_gone_is_quiet(serve_responses: Serve) -> None:
    """There is nothing to cancel where the service has no such response."""
    talker, stub = serve_responses({})
    talker.cancel_run("c", "resp_1")
    assert set(stub.lines) == {OPEN, POLL}


def test_run_cancelled_by_another_process_is_told(serve_responses: Serve) -> None:
    """A note that says the run is over ends it here too."""
    talker, _ = serve_responses(
        {
            CREATE: [CALLS],
            OPEN: [CONVERSATION, noted(run="resp_1", response="resp_1", over=True)],
            POLL: [CALLS],
        }
    )
    follow(begin(talker))
    assert follow(talker.resume_run(REQUEST, "resp_1"))[1].status == "cancelled"


# calls left behind


def leaving(opened: Response) -> dict[str, Any]:
    """Answer in a conversation that is blocked by a call without an output."""
    return {
        OPEN: [opened],
        ITEMS: [newest(USER, *called("call_1"))],
        POLL: [CALLS],
        CREATE: [error(400, NO_OUTPUT), response(said("new", "msg_2"), id="resp_2")],
    }


@pytest.mark.parametrize(
    "opened, last_run_id",
    [
        (noted(run="resp_1", response="resp_1", assistant="m"), "resp_1"),
        (noted(run="resp_1", response="resp_1", over=True), None),
        (CONVERSATION, "u1"),
    ],
)
def test_calls_left_behind_are_answered_with_the_next_message(
    serve_responses: Serve, opened: Response, last_run_id: str | None
) -> None:
    """Calls of a run of ours that is over get error outputs, together with the message."""
    talker, stub = serve_responses(leaving(opened))
    talker.open_thread("c")
    assert follow(begin(talker, attrs.evolve(REQUEST, last_run_id=last_run_id)))[0] == ["new"]
    assert given(stub) == [["hello"], ["call_1", "hello"]]
    assert "error" in json.loads(bodies(stub)[1]["input"][0]["output"])


@pytest.mark.parametrize(
    "opened, run_id",
    [
        (noted(run="resp_1", response="resp_1", assistant="m"), "resp_1"),
        (CONVERSATION, "u1"),
    ],
)
def test_calls_of_anothers_run_are_left_in_peace(
    serve_responses: Serve, opened: Response, run_id: str
) -> None:
    """Calls that somebody may still answer make the conversation busy, and the run is named."""
    talker, stub = serve_responses(leaving(opened))
    with pytest.raises(ServiceBusyError, match=f"run {run_id} of another caller waits") as refused:
        talker.post_message(attrs.evolve(REQUEST, last_run_id="resp_0"), HELLO)
    assert refused.value.run_id == run_id
    assert stub.lines.count(CREATE) == 1


def test_calls_left_behind_that_another_caller_answers_first(serve_responses: Serve) -> None:
    """Outputs that another caller was quicker to add are left out, and the message goes ahead."""
    opened = noted(run="resp_1", response="resp_1", over=True)
    no_call = error(400, "No tool call found for function call output with call_id call_1.")
    reply = response(said("new", "msg_2"), id="resp_2")
    talker, stub = serve_responses(
        {**leaving(opened), CREATE: [error(400, NO_OUTPUT), no_call, reply]}
    )
    talker.open_thread("c")
    assert follow(begin(talker, REQUEST))[0] == ["new"]
    assert given(stub) == [["hello"], ["call_1", "hello"], ["hello"]]


def test_refusal_without_calls_is_told_as_it_is(serve_responses: Serve) -> None:
    """Where no call can be found that lacks an output, the refusal stands."""
    talker, _ = serve_responses({CREATE: [error(400, "No tool output found.")]})
    with pytest.raises(RequestRejectedError, match="No tool output found"):
        talker.post_message(REQUEST, HELLO)


def test_call_that_nothing_tells_of_is_anothers(serve_responses: Serve) -> None:
    """Where only the refusal names a call, the conversation is busy with a run without a name."""
    talker, _ = serve_responses({CREATE: [error(400, NO_OUTPUT)]})
    with pytest.raises(ServiceBusyError, match="a run of another caller waits") as refused:
        talker.post_message(REQUEST, HELLO)
    assert refused.value.run_id is None


def test_call_that_only_the_refusal_names_is_answered(serve_responses: Serve) -> None:
    """A server may go by a log of its own, in which a call stands that the items do not show."""
    talker, stub = serve_responses(
        {CREATE: [CALLS, error(400, NO_OUTPUT), response(said("new", "msg_2"), id="resp_2")]}
    )
    follow(begin(talker))
    request = attrs.evolve(REQUEST, last_run_id="resp_1")
    assert follow(begin(talker, request))[0] == ["new"]
    assert given(stub)[-1] == ["call_1", "hello"]


def test_calls_of_a_run_that_left_no_note_are_answered(serve_responses: Serve) -> None:
    """Where metadata are full, a run's own calls are known by what this process saw of it."""
    pairs = {f"k{number}": "v" for number in range(16)}
    talker, stub = serve_responses(
        {
            **leaving(Response({"id": "c", "metadata": pairs})),
            CREATE: [CALLS, error(400, NO_OUTPUT), response(HI, id="resp_2")],
        }
    )
    follow(begin(talker))
    assert follow(begin(talker, attrs.evolve(REQUEST, last_run_id="resp_1")))[0] == ["hi"]
    assert given(stub) == [["hello"], ["hello"], ["call_1", "hello"]]


def test_further_calls_than_those_of_our_run_are_anothers(serve_responses: Serve) -> None:
    """Where calls wait that this process never saw, somebody else has gone on with the run."""
    talker, _ = serve_responses(
        {
            **leaving(CONVERSATION),
            CREATE: [CALLS, error(400, NO_OUTPUT)],
            ITEMS: [newest(USER, *called("call_1", "call_2"))],
        }
    )
    follow(begin(talker))
    with pytest.raises(ServiceBusyError, match="run u1 of another caller waits"):
        talker.post_message(attrs.evolve(REQUEST, last_run_id="resp_1"), HELLO)


def test_calls_of_a_run_that_met_limits_are_answered(serve_responses: Serve) -> None:
    """Calls whose outputs met limits until the run was given up get error outputs, too."""
    limit = error(429, "slow")
    talker, stub = serve_responses(
        {
            **leaving(noted(run="resp_1", response="resp_1", assistant="m")),
            CREATE: [
                CALLS,
                limit,
                failed("rate_limit_exceeded", id="resp_2"),
                error(400, NO_OUTPUT),
                response(HI, id="resp_3"),
            ],
        },
        http_retries=0,
    )
    follow(begin(talker))
    follow(submit(talker, "call_1"))
    _, last = follow(talker.start_run(AGAIN))
    assert follow(begin(talker, attrs.evolve(REQUEST, last_run_id=last.id)))[0] == ["hi"]
    assert given(stub)[-1] == ["call_1", "hello"]


# assistants of runs that were found


def waiting_for(model: Mapping[str, Any]) -> dict[str, Any]:
    """Answer with a run that waits, of an assistant registered elsewhere."""
    return {
        OPEN: [noted(run="resp_1", response="resp_1", assistant="asst_far")],
        POLL: [response(*called("call_1"), **model)],
        ITEMS: [newest(USER, *called("call_1"))],
        CREATE: [response(HI, id="resp_2")],
    }


def test_run_of_an_assistant_registered_elsewhere_goes_on(serve_responses: Serve) -> None:
    """A run that was found goes on with what its response says it was made with."""
    tool = {"type": "function", "name": "add", "parameters": {"type": "object"}, "strict": False}
    fields = {"model": "far", "instructions": "Be far.", "tools": [tool]}
    talker, stub = serve_responses(waiting_for(fields))
    unset = attrs.evolve(REQUEST, assistant_id=None)
    follow(submit(talker, "call_1", run_id=found(talker).id, request=unset))
    (body,) = bodies(stub)
    assert {name: body[name] for name in fields} == fields


def test_instructions_that_are_no_text_are_left_out(serve_responses: Serve) -> None:
    """A server that shows instructions as items does not have them sent back as text."""
    fields = {"model": "far", "instructions": [{"role": "system", "content": "x"}]}
    talker, stub = serve_responses(waiting_for(fields))
    unset = attrs.evolve(REQUEST, assistant_id=None)
    follow(submit(talker, "call_1", run_id=found(talker).id, request=unset))
    assert "instructions" not in bodies(stub)[0]


def test_options_of_a_run_that_was_found_are_kept(serve_responses: Serve) -> None:
    """A run goes on with the options it was begun with, and without those of the service's own."""
    kept = {
        "model": "far",
        "temperature": 0.5,
        "max_output_tokens": 9,
        "reasoning": {"effort": "low"},
        "text": {"format": {"type": "json_object"}},
        "truncation": "auto",
    }
    usual = {"top_p": 1, "parallel_tool_calls": None, "metadata": {"k": "v"}}
    talker, stub = serve_responses(waiting_for({**kept, **usual}))
    follow(submit(talker, "call_1", run_id=found(talker).id))
    (body,) = bodies(stub)
    assert {name: body[name] for name in kept} == kept
    assert not {"top_p", "parallel_tool_calls"} & body.keys()
    assert body["metadata"]["k"] == "v"


def test_options_that_cannot_be_read_are_left_out(serve_responses: Serve) -> None:
    """A server that shows odd options does not keep a run from going on."""
    talker, stub = serve_responses(waiting_for({"model": "far", "temperature": "hot"}))
    assert follow(submit(talker, "call_1", run_id=found(talker).id))[0] == ["hi"]
    assert "temperature" not in bodies(stub)[0]


def test_run_of_an_unknown_assistant_needs_its_registration(serve_responses: Serve) -> None:
    """Where the response does not say what it was made with, the assistant must be registered."""
    talker, stub = serve_responses(waiting_for({}))
    unset = attrs.evolve(REQUEST, assistant_id=None)
    live = found(talker)
    with pytest.raises(ConfigurationError, match="asst_far"):
        next(submit(talker, "call_1", run_id=live.id, request=unset))
    assert CREATE not in stub.lines


# responses without end


def test_response_without_end_is_given_up(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A response that goes on for longer than any does is cancelled, and told as expired."""
    monkeypatch.setattr(tracking, "LONGEST_RESPONSE", 0.0)
    talker, stub = serve_responses(
        {CREATE: [in_progress()], POLL: [in_progress()], CANCEL: [response(status="cancelled")]}
    )
    _, last = follow(begin(talker))
    assert last.status == "expired"
    assert last.error_message is not None
    assert "had not ended" in last.error_message
    assert stub.lines.count(CANCEL) == 1


def test_response_that_cannot_be_cancelled_is_given_up_all_the_same(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A server that refuses the cancel does not keep a run going."""
    monkeypatch.setattr(tracking, "LONGEST_RESPONSE", 0.0)
    talker, _ = serve_responses(
        {CREATE: [in_progress()], POLL: [in_progress()], CANCEL: [error(400, "no")]}
    )
    assert follow(begin(talker))[1].status == "expired"


def test_run_that_waits_is_not_given_up(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run may wait for its outputs for as long as it likes."""
    monkeypatch.setattr(tracking, "LONGEST_RESPONSE", 0.0)
    talker, stub = serve_responses({CREATE: [CALLS]})
    follow(begin(talker))
    assert follow(talker.resume_run(REQUEST, "resp_1"))[1].status == "requires_action"
    assert CANCEL not in stub.lines


def test_trouble_while_polling_is_told(serve_responses: Serve) -> None:
    """An answer to a poll that is no response is reported as what it is."""
    talker, _ = serve_responses({CREATE: [in_progress()], POLL: [Response({"object": "response"})]})
    feed = begin(talker)
    next(feed)
    with pytest.raises(ProtocolError):
        next(feed)
