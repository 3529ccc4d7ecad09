"""Runs that answer what a conversation has, without a new message."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from gpt_agent_sync.errors import ConfigurationError, ServiceBusyError
from tests.support.feeds import follow
from tests.support.responses_stub import (
    AGAIN,
    CANCEL,
    CREATE,
    HI,
    ITEMS,
    LOCKED,
    POLL,
    REQUEST,
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
    notes,
    response,
    said,
)
from tests.support.stub import HangUp, Response, error

pytestmark = pytest.mark.usefixtures("short_pauses")

MORE = said("more", "msg_2")


def test_input_is_sent_empty(serve_responses: Serve) -> None:
    """What the conversation has is what there is to answer."""
    talker, stub = serve_responses({CREATE: [response(HI)], ITEMS: [newest(USER)]})
    talker.open_thread("c")
    texts, last = follow(talker.start_run(REQUEST))
    assert (texts, last.id, last.status) == (["hi"], "resp_1", "completed")
    (body,) = bodies(stub)
    assert (body["model"], body["conversation"], body["input"]) == ("m", "c", [])


def test_run_is_noted(serve_responses: Serve) -> None:
    """Another process finds the run by the conversation's note."""
    talker, stub = serve_responses({CREATE: [in_progress()], POLL: [response(HI)]})
    assert follow(talker.start_run(REQUEST))[0] == ["hi"]
    assert [note["run"] for note in notes(stub)] == ["resp_1"]


def test_lock_is_not_waited_for(serve_responses: Serve) -> None:
    """When another caller's response is over it is another question what there is to answer."""
    talker, stub = serve_responses({CREATE: [LOCKED]})
    with pytest.raises(ServiceBusyError):
        next(talker.start_run(REQUEST))
    assert stub.lines.count(CREATE) == 1


def test_unknown_assistant_is_refused(serve_responses: Serve) -> None:
    """An assistant that nobody registered cannot run."""
    talker, stub = serve_responses({})
    with pytest.raises(ConfigurationError, match="register_assistant"):
        next(talker.start_run(attrs.evolve(REQUEST, assistant_id="asst_1")))
    assert bodies(stub) == []


@pytest.mark.parametrize("lost", [HangUp, error(500, "oops")])
def test_run_whose_answer_was_lost_is_found(serve_responses: Serve, lost: Any) -> None:
    """What stands in the conversation that was not there before is the run's, and is told once."""
    talker, stub = serve_responses(
        {CREATE: [lost], ITEMS: [newest(USER, HI), newest(USER, HI), newest(USER, HI, MORE)]}
    )
    talker.open_thread("c")
    assert follow(talker.start_run(REQUEST))[0] == ["more"]
    assert stub.lines.count(CREATE) == 1


def test_calls_of_a_run_whose_answer_was_lost_wait(serve_responses: Serve) -> None:
    """A run that was found by its calls waits for those, and not for the ones before."""
    old = [*called("call_0"), gave("call_0")]
    talker, _ = serve_responses(
        {CREATE: [HangUp], ITEMS: [newest(USER, *old), newest(USER, *old, *called("call_1"))]}
    )
    _, last = follow(talker.start_run(REQUEST))
    assert last.status == "requires_action"
    assert [call.id for call in last.tool_calls] == ["call_1"]


def test_run_that_did_not_begin_is_begun(serve_responses: Serve) -> None:
    """Where nothing has come, the request is sent once more."""
    talker, stub = serve_responses({CREATE: [HangUp, response(MORE)], ITEMS: [newest(USER, HI)]})
    assert follow(talker.start_run(REQUEST))[0] == ["more"]
    assert given(stub) == [[], []]


@pytest.mark.parametrize(
    "before, now, sent",
    [
        ([], [], ["hello"]),
        ([said("old", "u0", "user")], [said("old", "u0", "user")], ["hello"]),
        ([], [USER], []),
        ([said("old", "u0", "user")], [said("other", "u9", "user")], []),
    ],
)
def test_message_that_was_lost_with_its_response_goes_along(
    serve_responses: Serve,
    before: list[dict[str, Any]],
    now: list[dict[str, Any]],
    sent: list[str],
) -> None:
    """What a failed run was to answer is sent again, unless it is there, or others came after."""
    talker, stub = serve_responses(
        {
            CREATE: [failed("server_error"), response(HI, id="resp_2")],
            ITEMS: [newest(*before), newest(*now)],
        }
    )
    talker.open_thread("c")
    follow(begin(talker))
    assert follow(talker.start_run(attrs.evolve(REQUEST, last_run_id="resp_1")))[0] == ["hi"]
    assert given(stub) == [["hello"], sent]


def test_message_of_a_run_given_up_goes_along(serve_responses: Serve) -> None:
    """A run that was cancelled, and not looked at since, has taken its message with it."""
    talker, stub = serve_responses(
        {
            CREATE: [in_progress(), response(HI, id="resp_2")],
            CANCEL: [Response({})],
            POLL: [response(status="cancelled")],
        }
    )
    talker.open_thread("c")
    next(begin(talker))
    talker.cancel_run("c", "resp_1")
    assert follow(talker.start_run(attrs.evolve(REQUEST, last_run_id="resp_1")))[0] == ["hi"]
    assert given(stub) == [["hello"], ["hello"]]


def test_failed_run_is_made_again(serve_responses: Serve) -> None:
    """After a rate limit the run is begun once more, as it was."""
    talker, stub = serve_responses(
        {CREATE: [failed("rate_limit_exceeded"), response(HI, id="resp_2")]}
    )
    assert follow(talker.start_run(REQUEST))[1].error_code == "rate_limit_exceeded"
    assert follow(talker.start_run(AGAIN))[0] == ["hi"]
    assert given(stub) == [[], []]
