"""The messages of a conversation, from servers that list items as real ones do."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_agent_sync.records import Order
from tests.support.feeds import follow
from tests.support.responses_stub import (
    CREATE,
    HI,
    ITEMS,
    POLL,
    Serve,
    begin,
    called,
    failed,
    gave,
    in_progress,
    newest,
    response,
    said,
)
from tests.support.stub import Request, Response, error, listing

pytestmark = pytest.mark.usefixtures("short_pauses")

EVERYTHING = [
    said("hello", "u1", "user"),
    {"type": "reasoning", "id": "rs_1", "summary": []},
    *called("call_1"),
    gave("call_1"),
    said("one", "msg_1"),
    said("more", "u2", "user"),
    said("two", "msg_2"),
]
"""Two turns, the first with a tool call."""


def serve_items(serve: Serve, answer_of_response: Response, *, refuses_after: bool) -> Any:
    """Return a service over the items of ``EVERYTHING``, two a page."""

    def answer(request: Request) -> Response:
        if request.line == POLL:
            return answer_of_response
        items = EVERYTHING if request.query["order"] == "asc" else EVERYTHING[::-1]
        ids = [item["id"] for item in items]
        after = request.query.get("after")
        if after is not None and (refuses_after or after not in ids):
            return error(422, "no such parameter or item")
        begin = 0 if after is None else ids.index(after) + 1
        size = len(items) if refuses_after else 2
        return listing(*items[begin : begin + size], has_more=begin + size < len(items))

    return serve(answer)[0]


RESPONSE_1 = response(*EVERYTHING[1:3])
"""The response that the first message asked for: it ended with the call."""


@pytest.mark.parametrize("refuses_after", [False, True])
@pytest.mark.parametrize(
    "after, order, ids",
    [
        ("resp_1", "asc", ["msg_1", "u2", "msg_2"]),
        ("resp_1", "desc", []),
        ("u1", "asc", ["msg_1", "u2", "msg_2"]),
        ("u2", "asc", ["msg_2"]),
        ("u2", "desc", ["msg_1", "u1"]),
        ("msg_1", "desc", ["u1"]),
        ("msg_1", "asc", ["u2", "msg_2"]),
    ],
)
def test_messages_after_either_id(
    serve_responses: Serve, refuses_after: bool, after: str, order: Order, ids: list[str]
) -> None:
    """Ids of items and of responses serve, also where the server cannot begin there."""
    service = serve_items(serve_responses, RESPONSE_1, refuses_after=refuses_after)
    assert [message.id for message in service.messages("c", after=after, order=order)] == ids


def test_messages_before_what_a_later_response_answers(serve_responses: Serve) -> None:
    """Before the message of a response comes the turn before it."""
    service = serve_items(serve_responses, response(EVERYTHING[-1]), refuses_after=False)
    earlier = service.messages("c", after="resp_1", order="desc")
    assert [message.id for message in earlier] == ["msg_1", "u1"]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_messages_name_the_same_run_in_either_order(serve_responses: Serve, order: Order) -> None:
    """A run that no response is known of goes by its turn, however the list is read."""
    service = serve_items(serve_responses, RESPONSE_1, refuses_after=False)
    runs = {message.id: message.run_id for message in service.messages("c", order=order)}
    assert runs == {"u1": None, "msg_1": "u1", "u2": None, "msg_2": "u2"}


def test_messages_of_our_run_name_it_newest_first(serve_responses: Serve) -> None:
    """The run that this process has followed is named, whichever way the list is read."""
    listed = newest(said("hello", "u1", "user"), HI)
    service, _ = serve_responses({CREATE: [response(HI)], ITEMS: [listed]})
    follow(begin(service))
    (reply,) = service.messages("c", order="desc", limit=1)
    assert reply.run_id == "resp_1"


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_response_at_work_has_nothing_after_it_yet(
    serve_responses: Serve, caplog: pytest.LogCaptureFixture, order: Order
) -> None:
    """While a response is at work its message has no place yet, which is no trouble."""
    service, _ = serve_responses({POLL: [in_progress()]})
    assert list(service.messages("c", after="resp_1", order=order)) == []
    assert caplog.text == ""


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_place_of_a_failed_response_is_unknown(
    serve_responses: Serve, caplog: pytest.LogCaptureFixture, order: Order
) -> None:
    """What came after a message that left nothing is said to be unknown."""
    service, _ = serve_responses({POLL: [failed("server_error")], ITEMS: [newest(*EVERYTHING)]})
    assert list(service.messages("c", after="resp_1", order=order)) == []
    assert "that response left nothing there" in caplog.text


def test_message_to_be_written_is_left_out(serve_responses: Serve) -> None:
    """Where items of a live response are shown, its empty message is not listed."""
    empty = {"type": "message", "id": "msg_1", "role": "assistant", "content": []}
    unwritten = {**empty, "status": "in_progress"}
    listed = listing(said("hello", "u1", "user"), unwritten)
    service, _ = serve_responses({ITEMS: [listed]})
    assert [message.id for message in service.messages("c")] == ["u1"]
