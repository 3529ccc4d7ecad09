"""Conversations + Responses when something goes wrong: lost answers, locks, limits."""

from __future__ import annotations

from typing import Any

import attrs
import pytest

from gpt_agent_sync.errors import (
    RateLimitError,
    RequestRejectedError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
)
from gpt_agent_sync.records import UserMessage
from gpt_agent_sync.services.base import Feed
from gpt_agent_sync.services.responses import cancelling, creation, submitting
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
    NO_CALL,
    NO_OUTPUT,
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

LACKS_1, LACKS_2 = (
    error(400, f"No tool output found for function call {call}.") for call in ("call_1", "call_2")
)

pytestmark = pytest.mark.usefixtures("short_pauses")

# a conversation that is locked


def test_locked_conversation_is_waited_for(serve_responses: Serve) -> None:
    """A message waits until another caller's response is over, and is taken once."""
    talker, stub = serve_responses({CREATE: [LOCKED, LOCKED, response(HI)]})
    assert follow(begin(talker))[0] == ["hi"]
    assert stub.lines == [CREATE, CREATE, CREATE]


def test_wait_for_a_locked_conversation_is_bounded(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A conversation that stays locked is told as busy when the read timeout has passed."""
    monkeypatch.setattr(creation, "SHORTEST_LOCK_PAUSE", 4.0)
    monkeypatch.setattr(creation, "LONGEST_LOCK_PAUSE", 6.0)
    pauses: list[float] = []
    talker, stub = serve_responses({CREATE: [LOCKED]}, timeout=5.5)
    with pytest.raises(ServiceBusyError):
        talker.post_message(attrs.evolve(REQUEST, pause=pauses.append), HELLO)
    assert pauses == [4.0]
    assert stub.lines == [CREATE, CREATE]


def test_locked_conversation_need_not_be_waited_for(serve_responses: Serve) -> None:
    """A message whose caller has no time to wait is refused by a locked conversation at once."""
    talker, stub = serve_responses({CREATE: [LOCKED]})
    pauses: list[float] = []
    hasty = attrs.evolve(REQUEST, pause=pauses.append, waits_for_lock=False)
    with pytest.raises(ServiceBusyError):
        talker.post_message(hasty, HELLO)
    assert (stub.lines, pauses) == ([CREATE], [])


def test_outputs_wait_for_a_locked_conversation(serve_responses: Serve) -> None:
    """Outputs wait until another caller's response is over, and are taken once."""
    talker, stub = serve_responses({CREATE: [CALLS, LOCKED, LOCKED, response(HI, id="resp_2")]})
    follow(begin(talker))
    assert follow(submit(talker, "call_1"))[0] == ["hi"]
    assert stub.lines.count(CREATE) == 4


def test_wait_of_outputs_is_bounded(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs for a conversation that stays locked are told as busy, and can be sent again."""
    monkeypatch.setattr(creation, "SUBMISSION_PATIENCE", 0.0)
    talker, _ = serve_responses({CREATE: [CALLS, LOCKED, response(HI, id="resp_2")]})
    follow(begin(talker))
    with pytest.raises(ServiceBusyError):
        next(submit(talker, "call_1"))
    assert follow(submit(talker, "call_1"))[0] == ["hi"]


def test_run_that_another_process_took_on_is_followed(serve_responses: Serve) -> None:
    """When the lock is that of another process's answer to the calls, its response is followed."""
    talker, stub = serve_responses(
        {
            CREATE: [CALLS, LOCKED],
            OPEN: [CONVERSATION, noted(run="resp_1", response="resp_2")],
            POLL: [CALLS],
            POLL_2: [in_progress("resp_2", **ROUND_2), response(HI, id="resp_2", **ROUND_2)],
        }
    )
    follow(begin(talker))
    texts, last = follow(submit(talker, "call_1"))
    assert (texts, last.id) == (["hi"], "resp_1")
    assert stub.lines.count(CREATE) == 2


def test_run_that_another_process_has_ended_is_told_from_its_items(
    serve_responses: Serve,
) -> None:
    """When the calls have outputs by the time the lock is checked, what is there is yielded."""
    talker, stub = serve_responses(
        {
            CREATE: [CALLS, LOCKED],
            ITEMS: [newest(USER, *called("call_1"), gave("call_1"), HI)],
        }
    )
    follow(begin(talker))
    assert follow(submit(talker, "call_1"))[0] == ["hi"]
    assert stub.lines.count(CREATE) == 2


def test_long_assistant_id_does_not_poll_like_another_process(serve_responses: Serve) -> None:
    """A note without the assistant, whose id was too long for it, is still the run's own."""
    request = attrs.evolve(REQUEST, assistant_id="x" * 600)
    talker, stub = serve_responses(
        {
            CREATE: [CALLS, LOCKED, response(HI, id="resp_2")],
            OPEN: [CONVERSATION, noted(run="resp_1", response="resp_1")],
            POLL: [CALLS],
        }
    )
    follow(begin(talker, request))
    assert follow(submit(talker, "call_1", request=request))[0] == ["hi"]
    assert stub.lines.count(CREATE) == 3


# lost answers to a message


@pytest.mark.parametrize("lost", [HangUp, error(500, "oops"), error(504, "gateway timeout")])
def test_message_whose_answer_was_lost_is_found(serve_responses: Serve, lost: Any) -> None:
    """A message that stands in the conversation is not sent again; what followed it is told."""
    talker, stub = serve_responses({CREATE: [lost], ITEMS: [listing(), newest(USER, HI)]})
    talker.open_thread("c")
    assert follow(begin(talker))[0] == ["hi"]
    assert stub.lines.count(CREATE) == 1


def test_message_with_an_image_is_found(serve_responses: Serve) -> None:
    """A message of parts is known again by its texts and images."""
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "http://x/y.png", "detail": "low"},
    ]
    kept = {"type": "message", "id": "u1", "role": "user", "content": parts}
    talker, stub = serve_responses({CREATE: [HangUp], ITEMS: [listing(), newest(kept, HI)]})
    talker.open_thread("c")
    content: tuple[dict[str, Any], ...] = (
        {"type": "text", "text": "look"},
        {"type": "image_url", "image_url": {"url": "http://x/y.png"}},
    )
    assert talker.post_message(REQUEST, UserMessage(content=content)).message_id == "u1"
    assert stub.lines.count(CREATE) == 1


@pytest.mark.parametrize("lost", [HangUp, error(500, "oops")])
@pytest.mark.parametrize("before", [[], [said("other", "u0", "user"), said("old", "msg_0")]])
def test_message_that_did_not_arrive_is_sent_again(
    serve_responses: Serve, lost: Any, before: list[dict[str, Any]]
) -> None:
    """A message that does not stand in the conversation is sent once more."""
    talker, stub = serve_responses({CREATE: [lost, response(HI)], ITEMS: [newest(*before)]})
    talker.open_thread("c")
    assert follow(begin(talker))[0] == ["hi"]
    assert stub.lines.count(CREATE) == 2


def test_message_that_timed_out_is_not_sent_again(serve_responses: Serve) -> None:
    """After a timeout the response may still be made, so that the message is not repeated."""
    talker, stub = serve_responses({CREATE: [error(504, "gateway timeout")]})
    talker.open_thread("c")
    with pytest.raises(ServiceUnavailableError) as failure:
        talker.post_message(REQUEST, HELLO)
    assert failure.value.timed_out
    assert stub.lines.count(CREATE) == 1


@pytest.mark.parametrize("known", ["by opening", "by the agent"])
def test_older_message_is_not_mistaken_for_the_lost_one(serve_responses: Serve, known: str) -> None:
    """The same words said earlier are no sign that the message arrived."""
    talker, stub = serve_responses(
        {CREATE: [HangUp, response(said("again", "msg_2"))], ITEMS: [newest(USER, HI)]}
    )
    request = REQUEST
    if known == "by opening":
        talker.open_thread("c")
    else:
        request = attrs.evolve(REQUEST, last_message_id="msg_1")
    assert follow(begin(talker, request))[0] == ["again"]
    assert stub.lines.count(CREATE) == 2


def test_reply_of_the_turn_before_tells_older_messages_apart(serve_responses: Serve) -> None:
    """What the last response wrote is known without a poll, and is older than a lost message."""
    talker, stub = serve_responses(
        {
            CREATE: [response(HI), HangUp, response(said("again", "msg_2"))],
            ITEMS: [newest(USER, HI)],
        }
    )
    assert [follow(begin(talker))[0] for _ in range(2)] == [["hi"], ["again"]]
    assert stub.lines.count(CREATE) == 3


def test_message_that_cannot_be_told_from_an_older_one_is_not_sent_again(
    serve_responses: Serve,
) -> None:
    """Where nothing is known of what came before, the doubt is told."""
    talker, stub = serve_responses({CREATE: [HangUp], ITEMS: [newest(USER, HI)]})
    with pytest.raises(ServiceUnavailableError, match="older one") as failure:
        talker.post_message(REQUEST, HELLO)
    assert failure.value.in_doubt
    assert stub.lines.count(CREATE) == 1


def test_lock_after_a_lost_answer_may_be_our_own(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A repeat that meets a lock waits for the first response, beyond the usual patience."""
    monkeypatch.setattr(creation, "SHORTEST_LOCK_PAUSE", 9.0)
    pauses: list[float] = []
    talker, stub = serve_responses(
        {
            CREATE: [HangUp, LOCKED],
            ITEMS: [listing(), listing(), listing(), newest(USER, HI)],
        },
        timeout=8.0,
    )
    talker.open_thread("c")
    assert follow(begin(talker, attrs.evolve(REQUEST, pause=pauses.append)))[0] == ["hi"]
    assert 9.0 in pauses
    assert stub.lines.count(CREATE) == 2


def test_second_response_is_dropped_for_the_first(serve_responses: Serve) -> None:
    """A response made again is cancelled when the first one shows up after all."""
    talker, stub = serve_responses(
        {
            CREATE: [HangUp, in_progress("resp_2")],
            ITEMS: [listing(), listing(), newest(USER, HI)],
            CANCEL_2: [response(id="resp_2", status="cancelled")],
        }
    )
    talker.open_thread("c")
    assert follow(begin(talker))[0] == ["hi"]
    assert stub.lines.count(CANCEL_2) == 1


@pytest.mark.parametrize("again", [in_progress("resp_2"), response(HI, id="resp_2")])
def test_second_response_is_kept_without_the_first(serve_responses: Serve, again: Response) -> None:
    """A response made again is followed when the first one is nowhere, or it is over itself."""
    talker, stub = serve_responses({CREATE: [HangUp, again], POLL_2: [response(HI, id="resp_2")]})
    talker.open_thread("c")
    texts, last = follow(begin(talker))
    assert (texts, last.id) == (["hi"], "resp_2")
    assert CANCEL_2 not in stub.lines


def test_second_response_that_is_over_is_kept(serve_responses: Serve) -> None:
    """A response made again that is complete in its answer is told, whatever the first one did."""
    second = response(said("again", "msg_2"), id="resp_2")
    talker, _ = serve_responses(
        {CREATE: [HangUp, second], ITEMS: [listing(), listing(), newest(USER, HI)]}
    )
    talker.open_thread("c")
    assert follow(begin(talker))[0] == ["again"]


def test_server_that_stays_broken_is_told(serve_responses: Serve) -> None:
    """After the retries a failing server is told as unavailable."""
    talker, stub = serve_responses({CREATE: [error(500, "no")]})
    talker.open_thread("c")
    with pytest.raises(ServiceUnavailableError):
        talker.post_message(REQUEST, HELLO)
    assert stub.lines.count(CREATE) == 3


# lost answers to outputs


def test_outputs_whose_answer_was_lost_are_found(serve_responses: Serve) -> None:
    """Outputs that stand in the conversation are not sent again; what followed them is told."""
    talker, stub = serve_responses({CREATE: [CALLS, HangUp], ITEMS: [ANSWERED]})
    follow(begin(talker))
    texts, last = follow(submit(talker, "call_1"))
    assert (texts, last.id, last.status) == (["done"], "resp_1", "completed")
    assert stub.lines.count(CREATE) == 2


def test_messages_before_lost_outputs_are_told_once(serve_responses: Serve) -> None:
    """What a run said before outputs that were lost and found is told once, with the rest."""
    one, two = said("one", "msg_8"), said("two", "msg_9")
    first, second = called("call_1"), called("call_2")
    items = [USER, one, *first, gave("call_1"), two, *second, gave("call_2"), HI]
    talker, _ = serve_responses(
        {
            CREATE: [response(one, *first), response(two, *second, id="resp_2"), HangUp],
            ITEMS: [newest(*items)],
        }
    )
    follow(begin(talker))
    follow(submit(talker, "call_1"))
    assert follow(submit(talker, "call_2"))[0] == ["one", "two", "hi"]


def test_outputs_that_did_not_arrive_are_sent_again(serve_responses: Serve) -> None:
    """Outputs that do not stand in the conversation are sent once more."""
    talker, stub = serve_responses(
        {
            CREATE: [CALLS, HangUp, response(HI, id="resp_2")],
            ITEMS: [newest(USER, *called("call_1"))],
        }
    )
    follow(begin(talker))
    assert follow(submit(talker, "call_1"))[0] == ["hi"]
    assert stub.lines.count(CREATE) == 3


def test_outputs_that_timed_out_are_not_sent_again(serve_responses: Serve) -> None:
    """After a timeout outputs are not repeated, but the program may send them again."""
    talker, stub = serve_responses(
        {CREATE: [CALLS, error(504, "gateway timeout"), response(HI, id="resp_2")]}
    )
    follow(begin(talker))
    with pytest.raises(ServiceUnavailableError):
        next(submit(talker, "call_1"))
    assert stub.lines.count(CREATE) == 2
    assert follow(submit(talker, "call_1"))[0] == ["hi"]


def test_next_calls_of_a_run_found_by_its_items_are_waited_for(serve_responses: Serve) -> None:
    """Where lost outputs led to further calls, the run waits for those, and only for those."""
    items = newest(USER, *called("call_1"), gave("call_1"), *called("call_2"))
    talker, _ = serve_responses(
        {
            CREATE: [CALLS, HangUp],
            OPEN: [CONVERSATION, noted(run="resp_1", response="resp_1", assistant="m")],
            POLL: [CALLS],
            ITEMS: [items],
        }
    )
    follow(begin(talker))
    feeds = [submit(talker, "call_1"), talker.resume_run(REQUEST, "resp_1")]
    waited = [[call.id for call in follow(feed)[1].tool_calls] for feed in feeds]
    assert waited == [["call_2"], ["call_2"]]


def test_closed_feed_stops_sending_outputs(serve_responses: Serve) -> None:
    """A feed that is closed while its outputs wait ends, and they can be sent by another one."""
    scripted = table({**QUIET, CREATE: [CALLS, LOCKED, response(HI, id="resp_2")]})
    feeds: list[Feed] = []

    def answer(request: Request) -> Response:
        if request.line == CREATE and feeds:
            feeds[0].close()
        return scripted(request)

    talker, _ = serve_responses(answer)
    follow(begin(talker))
    feeds.append(submit(talker, "call_1"))
    assert list(feeds[0]) == []
    assert follow(submit(talker, "call_1"))[0] == ["hi"]


# calls that lag behind, and wrong outputs


@pytest.mark.parametrize("words", [NO_CALL, "no corresponding function_call for call_1"])
def test_calls_that_lag_behind_are_waited_for(serve_responses: Serve, words: str) -> None:
    """Outputs whose calls are not in the conversation yet are sent again shortly after."""
    refusal = error(400, words)
    talker, stub = serve_responses({CREATE: [CALLS, refusal, refusal, response(HI, id="resp_2")]})
    follow(begin(talker))
    assert follow(submit(talker, "call_1"))[0] == ["hi"]
    assert stub.lines.count(CREATE) == 4


def test_wait_for_lagging_calls_is_bounded(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls that never come are told as the refusal that they are."""
    monkeypatch.setattr(submitting, "ITEMS_DELAY", 0.0)
    talker, stub = serve_responses({CREATE: [CALLS, error(400, NO_CALL)]})
    follow(begin(talker))
    with pytest.raises(RequestRejectedError, match="No tool call found"):
        next(submit(talker, "call_1"))
    assert stub.lines.count(CREATE) == 2


def test_calls_that_somebody_else_answered_are_not_waited_for(serve_responses: Serve) -> None:
    """Outputs refused because the calls have some already show how the run went on."""
    talker, stub = serve_responses({CREATE: [CALLS, error(400, NO_CALL)], ITEMS: [ANSWERED]})
    follow(begin(talker))
    assert follow(submit(talker, "call_1"))[0] == ["done"]
    assert stub.lines.count(CREATE) == 2


def test_partial_outputs_are_refused(serve_responses: Serve) -> None:
    """Outputs of only some of the calls are refused, and the run still waits for all."""
    talker, _ = serve_responses(
        {
            CREATE: [response(*called("call_1", "call_2")), error(400, NO_OUTPUT)],
            ITEMS: [newest(USER, *called("call_1", "call_2"))],
        }
    )
    follow(begin(talker))
    with pytest.raises(RequestRejectedError, match="No tool output found"):
        next(submit(talker, "call_2"))
    _, still = follow(talker.resume_run(REQUEST, "resp_1"))
    assert [call.id for call in still.tool_calls] == ["call_1", "call_2"]


def test_outputs_of_other_calls_are_not_sent(serve_responses: Serve) -> None:
    """Outputs of calls that the run does not wait for show those that it does."""
    talker, stub = serve_responses({CREATE: [CALLS]})
    follow(begin(talker))
    _, still = follow(submit(talker, "call_9"))
    assert [call.id for call in still.tool_calls] == ["call_1"]
    assert stub.lines.count(CREATE) == 1


# limits


def test_refused_outputs_are_a_run_that_met_a_limit(serve_responses: Serve) -> None:
    """Outputs refused with 429 end the run as on the other wire, with the pause that is named."""
    limit = attrs.evolve(error(429, "slow down"), headers={"Retry-After": "7"})
    talker, _ = serve_responses({CREATE: [CALLS, limit]}, http_retries=0)
    follow(begin(talker))
    _, last = follow(submit(talker, "call_1"))
    assert (last.id, last.status, last.error_code) == ("resp_1", "failed", "rate_limit_exceeded")
    assert last.error_message is not None
    assert last.error_message.endswith("(try again in 7s)")


def test_quota_keeps_its_code(serve_responses: Serve) -> None:
    """Outputs refused for lack of quota are not repeated, and carry the service's code."""
    limit = error(429, "You exceeded your current quota.", code="insufficient_quota")
    talker, stub = serve_responses({CREATE: [CALLS, limit]})
    follow(begin(talker))
    _, last = follow(submit(talker, "call_1"))
    assert (last.status, last.error_code) == ("failed", "insufficient_quota")
    assert stub.lines.count(CREATE) == 2


def test_limited_outputs_are_sent_again_by_the_next_start(serve_responses: Serve) -> None:
    """A run that met a limit on its way on is started again with the same outputs."""
    talker, stub = serve_responses(
        {CREATE: [CALLS, error(429, "slow"), response(HI, id="resp_2")]}, http_retries=0
    )
    follow(begin(talker))
    follow(submit(talker, "call_1"))
    texts, last = follow(talker.start_run(AGAIN))
    assert (texts, last.id) == (["hi"], "resp_2")
    assert given(stub) == [["hello"], ["call_1"], ["call_1"]]


def test_failed_response_is_told_before_it_is_made_again(serve_responses: Serve) -> None:
    """A response that failed in its first answer is told as a run; the next start repeats it."""
    talker, stub = serve_responses(
        {CREATE: [failed("rate_limit_exceeded"), response(HI, id="resp_2")]}
    )
    _, last = follow(begin(talker))
    assert (last.status, last.error_code) == ("failed", "rate_limit_exceeded")
    assert stub.lines == [CREATE]
    texts, again = follow(talker.start_run(AGAIN))
    assert (texts, again.id) == (["hi"], "resp_2")


@pytest.mark.parametrize(
    "items, sent",
    [
        ([], ["hello"]),
        ([USER], []),
        ([USER, HI], ["hello"]),
        ([USER, *called("call_0")], ["hello"]),
        ([said("other", "u0", "user")], ["hello"]),
    ],
)
def test_message_goes_along_again_where_it_was_not_kept(
    serve_responses: Serve, items: list[dict[str, Any]], sent: list[str]
) -> None:
    """A failed response made again is given the message unless that stands there unanswered."""
    talker, stub = serve_responses(
        {
            CREATE: [failed("rate_limit_exceeded"), response(id="resp_2")],
            ITEMS: [newest(*items)],
        }
    )
    follow(begin(talker))
    follow(talker.start_run(AGAIN))
    assert given(stub) == [["hello"], sent]


def test_limit_may_be_met_again_and_again(serve_responses: Serve) -> None:
    """Each start makes a failed response once more, with the message it began with."""
    limit = failed("rate_limit_exceeded")
    talker, stub = serve_responses({CREATE: [limit, limit, response(HI, id="resp_3")]})
    follow(begin(talker))
    follow(talker.start_run(AGAIN))
    assert follow(talker.start_run(AGAIN))[0] == ["hi"]
    assert given(stub) == [["hello"]] * 3


def test_response_made_again_is_found_by_its_items(serve_responses: Serve) -> None:
    """A repeat whose answer was lost is found in the conversation."""
    talker, stub = serve_responses(
        {
            CREATE: [failed("rate_limit_exceeded"), HangUp],
            ITEMS: [newest(USER), newest(USER, HI)],
        }
    )
    follow(begin(talker))
    assert follow(talker.start_run(AGAIN))[0] == ["hi"]
    assert stub.lines.count(CREATE) == 2


def test_older_turn_is_not_mistaken_for_a_response_made_again(serve_responses: Serve) -> None:
    """A repeat whose answer was lost is not taken for an older turn with the same words."""
    talker, stub = serve_responses(
        {
            CREATE: [
                failed("rate_limit_exceeded"),
                HangUp,
                response(said("again", "msg_2"), id="resp_2"),
            ],
            ITEMS: [newest(USER, HI)],
        }
    )
    follow(begin(talker))
    assert follow(talker.start_run(AGAIN))[0] == ["again"]
    assert stub.lines.count(CREATE) == 3


INPUT = "GET /responses/resp_1/input_items"


@pytest.mark.parametrize(
    "items, sent",
    [
        ([USER], ["hello"]),
        ([said("old", "u0", "user"), HI, USER], ["hello"]),
        ([USER, *called("call_1"), gave("call_1")], ["call_1"]),
        ([HI], []),
    ],
)
def test_failed_response_of_another_process_is_made_again_from_its_input(
    serve_responses: Serve, items: list[dict[str, Any]], sent: list[str]
) -> None:
    """What a response was made from is read where this process does not know it."""
    talker, stub = serve_responses(
        {
            OPEN: [noted(run="resp_1", response="resp_1", assistant="m")],
            POLL: [in_progress(), failed("rate_limit_exceeded")],
            INPUT: [newest(*items)],
            CREATE: [response(HI, id="resp_2")],
        }
    )
    talker.open_thread("c")
    follow(talker.resume_run(REQUEST, "resp_1"))
    assert follow(talker.start_run(AGAIN))[0] == ["hi"]
    assert given(stub) == [sent]


def test_input_of_a_long_history_is_read_from_its_newer_end(serve_responses: Serve) -> None:
    """Where a response's input is said to be the whole history, its newest items count."""
    everything = [said(str(number), f"u{number}", "user") for number in range(150)]
    more = table(
        {
            **QUIET,
            OPEN: [noted(run="resp_1", response="resp_1", assistant="m")],
            POLL: [in_progress(), failed("rate_limit_exceeded")],
            CREATE: [response(HI, id="resp_2")],
        }
    )

    def answer(request: Request) -> Response:
        if request.line != INPUT:
            return more(request)
        ordered = everything if request.query["order"] == "asc" else everything[::-1]
        return listing(*ordered[: int(request.query["limit"])], has_more=True)

    talker, stub = serve_responses(answer)
    talker.open_thread("c")
    follow(talker.resume_run(REQUEST, "resp_1"))
    follow(talker.start_run(AGAIN))
    (body,) = bodies(stub)
    assert body["input"][0]["content"] == everything[-1]["content"]


def test_limit_of_a_message_is_the_callers(serve_responses: Serve) -> None:
    """A message refused with 429 has begun no run."""
    talker, _ = serve_responses({CREATE: [error(429, "slow")]}, http_retries=0)
    with pytest.raises(RateLimitError):
        talker.post_message(REQUEST, HELLO)


@pytest.mark.parametrize("answer", [HangUp, error(500, "oops"), Response(b"<html>", 200)])
def test_message_is_not_sent_again_where_nobody_knows_of_locks(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    """A response at work leaves no trace: without a lock its message would stand twice."""
    monkeypatch.setattr(creation, "LOCKING_HOSTS", ())
    talker, stub = serve_responses({CREATE: [answer, response(HI)]})
    talker.open_thread("c")
    with pytest.raises(ServiceError) as failed:
        talker.post_message(REQUEST, HELLO)
    assert failed.value.in_doubt
    assert stub.lines.count(CREATE) == 1


def test_service_that_locks_is_known_by_its_lock(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once a conversation was locked, a lost message may be sent again."""
    monkeypatch.setattr(creation, "LOCKING_HOSTS", ())
    talker, stub = serve_responses({CREATE: [LOCKED, HangUp, response(HI)]})
    talker.open_thread("c")
    talker.post_message(REQUEST, HELLO)
    assert stub.lines.count(CREATE) == 3


def test_calls_of_a_message_in_doubt_do_not_hold_the_conversation(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message that was in doubt and shows up with calls is our own: the next one closes them."""
    monkeypatch.setattr(creation, "LOCKING_HOSTS", ())
    talker, stub = serve_responses(
        {
            CREATE: [HangUp, error(400, NO_OUTPUT), response(HI)],
            ITEMS: [*[listing()] * 3, newest(USER, *called("call_1"))],
        },
        http_retries=1,
    )
    talker.open_thread("c")
    with pytest.raises(ServiceUnavailableError):
        talker.post_message(REQUEST, HELLO)
    talker.post_message(REQUEST, UserMessage(content="again"))
    sent = [request.body["input"] for request in stub.requests if request.line == CREATE][-1]
    assert [item["type"] for item in sent] == ["function_call_output", "message"]


def test_doubt_outlasts_the_next_run(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A message in doubt may show up, with calls, when another one was answered meanwhile."""
    monkeypatch.setattr(creation, "LOCKING_HOSTS", ())
    talker, stub = serve_responses(
        {
            CREATE: [HangUp, response(HI), error(400, NO_OUTPUT), response(HI, id="resp_2")],
            ITEMS: [*[listing()] * 3, newest(USER, *called("call_1"))],
        },
        http_retries=1,
    )
    talker.open_thread("c")
    with pytest.raises(ServiceUnavailableError):
        talker.post_message(REQUEST, HELLO)
    talker.post_message(REQUEST, UserMessage(content="meanwhile"))
    talker.post_message(REQUEST, UserMessage(content="again"))
    sent = [request.body["input"] for request in stub.requests if request.line == CREATE][-1]
    assert [item["type"] for item in sent] == ["function_call_output", "message"]


def test_several_doubts_are_remembered(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The message that shows up with calls may be an earlier one of those in doubt."""
    monkeypatch.setattr(creation, "LOCKING_HOSTS", ())
    phases = [
        # The second is refused by the server, and the refusal lost on its way.
        table({**QUIET, CREATE: [HangUp], ITEMS: [listing()]}),
        table({**QUIET, CREATE: [LACKS_1, response(HI)], ITEMS: [newest(USER, *called("call_1"))]}),
    ]
    talker, stub = serve_responses(lambda request: phases[0](request), http_retries=1)
    talker.open_thread("c")
    for content in ("hello", "again"):
        with pytest.raises(ServiceUnavailableError):
            talker.post_message(REQUEST, UserMessage(content=content))
    del phases[0]
    talker.post_message(REQUEST, UserMessage(content="once more"))
    assert given(stub)[-1] == ["call_1", "once more"]


def test_calls_of_two_turns_are_closed(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where two messages in doubt show up with calls, the next one closes those of both."""
    monkeypatch.setattr(creation, "LOCKING_HOSTS", ())
    items = newest(USER, *called("call_1"), said("other", "u2", "user"), *called("call_2"))
    phases = [
        table({**QUIET, CREATE: [HangUp], ITEMS: [listing()]}),
        table({**QUIET, CREATE: [LACKS_2, LACKS_1, response(HI)], ITEMS: [items]}),
    ]
    talker, stub = serve_responses(lambda request: phases[0](request), http_retries=1)
    talker.open_thread("c")
    for content in ("hello", "other"):
        with pytest.raises(ServiceUnavailableError):
            talker.post_message(REQUEST, UserMessage(content=content))
    del phases[0]
    talker.post_message(REQUEST, UserMessage(content="once more"))
    assert given(stub)[-1] == ["call_2", "call_1", "once more"]


def test_refusal_that_stays_is_told(serve_responses: Serve) -> None:
    """A server that takes no outputs for a call is not asked for ever."""
    talker, stub = serve_responses(
        {**QUIET, CREATE: [CALLS, LACKS_1], ITEMS: [newest(USER, *called("call_1"))]}
    )
    follow(begin(talker))
    with pytest.raises(RequestRejectedError):
        talker.post_message(attrs.evolve(REQUEST, last_run_id="resp_1"), HELLO)
    assert len(given(stub)) == 3


def test_calls_after_outputs_in_doubt_do_not_hold_the_conversation(
    serve_responses: Serve,
) -> None:
    """A run that was given up with outputs in doubt may go on, and ask for more."""
    lost, more = Response(b"<html>", 200), [gave("call_1"), *called("call_2")]
    phases = [
        table({**QUIET, CREATE: [CALLS, lost], ITEMS: [newest(USER, *called("call_1"))]}),
        table(
            {
                **QUIET,
                CREATE: [LACKS_2, response(HI, id="resp_3")],
                ITEMS: [newest(USER, *called("call_1"), *more)],
            }
        ),
    ]
    talker, stub = serve_responses(lambda request: phases[0](request), http_retries=1)
    follow(begin(talker))
    with pytest.raises(ServiceError) as failure:
        next(submit(talker, "call_1"))
    assert failure.value.in_doubt
    del phases[0]
    talker.post_message(REQUEST, UserMessage(content="again"))
    assert given(stub)[-1] == ["call_2", "again"]


@pytest.mark.parametrize("seen", [CALLS, error(404, "gone")])
def test_calls_of_a_run_whose_cancel_failed_do_not_hold_the_conversation(
    serve_responses: Serve, seen: Response
) -> None:
    """A run that was given up may leave calls all the same: the next message closes them."""
    cancel = error(500, "oops")
    phases = [
        table({**QUIET, CREATE: [in_progress()], POLL: [in_progress()], CANCEL: [cancel]}),
        table(
            {
                **QUIET,
                CREATE: [LACKS_1, response(HI, id="resp_2")],
                POLL: [seen],
                ITEMS: [newest(USER, *called("call_1"))],
            }
        ),
    ]
    talker, stub = serve_responses(lambda request: phases[0](request), http_retries=1)
    talker.post_message(REQUEST, HELLO)
    with pytest.raises(ServiceError):
        talker.cancel_run("c", "resp_1")
    del phases[0]
    talker.post_message(REQUEST, UserMessage(content="again"))
    assert given(stub)[-1] == ["call_1", "again"]


def test_outputs_in_doubt_are_not_added_by_a_cancel(serve_responses: Serve) -> None:
    """A request that may still be worked on is left alone: its outputs would stand twice."""
    lost = Response(b"<html>", 200)
    talker, stub = serve_responses(
        {**QUIET, CREATE: [CALLS, lost], ITEMS: [newest(USER, *called("call_1"))]}, http_retries=1
    )
    follow(begin(talker))
    with pytest.raises(ServiceError):
        next(submit(talker, "call_1"))
    talker.cancel_run("c", "resp_1")
    assert notes(stub)[-1]["over"]
    assert not bodies(stub, ADD)


@pytest.mark.parametrize("comes", [True, False])
def test_outputs_of_a_cancel_that_were_lost_are_waited_for(
    serve_responses: Serve, monkeypatch: pytest.MonkeyPatch, comes: bool
) -> None:
    """What closes the calls of a cancelled run is not sent again while it may still come."""
    monkeypatch.setattr(cancelling, "CLOSING_DELAY", 0.2)
    monkeypatch.setattr(cancelling, "CLOSING_PAUSE", 0.01)
    asked = newest(USER, *called("call_1"))
    closed = newest(USER, *called("call_1"), gave("call_1"))
    phases = [
        table({**QUIET, CREATE: [CALLS], ITEMS: [asked], ADD: [HangUp]}),
        table(
            {
                **QUIET,
                CREATE: [LACKS_1, response(HI, id="resp_2")],
                ITEMS: [asked, asked, closed if comes else asked],
            }
        ),
    ]
    talker, stub = serve_responses(lambda request: phases[0](request), http_retries=0)
    follow(begin(talker))
    talker.cancel_run("c", "resp_1")
    del phases[0]
    talker.post_message(attrs.evolve(REQUEST, last_run_id="resp_1"), HELLO)
    assert given(stub)[-1] == (["hello"] if comes else ["call_1", "hello"])
