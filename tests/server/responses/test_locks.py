"""Which response locks its conversation, and when it expires; one server or two on a database."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from gpt_agent_sync.testing import Fail, Hold, Incomplete, Reply
from tests.support.polling import wait_for
from tests.support.responses_client import (
    ResponsesClient,
    output,
    outputs_of,
)
from tests.support.server_setup import (
    CALL,
    MakeResponseSetup,
    post_at_once,
    wait_until_idle,
)
from tests.support.wire_client import Json

LOCKED = {
    "message": "Another process is currently operating on this conversation. "
    "Please retry in a few seconds.",
    "type": "invalid_request_error",
    "param": "conversation",
    "code": "conversation_locked",
}


def test_live_response_locks_its_conversation(response_setup: MakeResponseSetup) -> None:
    """While a response is live no other is made for its conversation."""
    setup = response_setup(Hold())
    conversation_id, _ = setup.in_progress()
    assert setup.wire.refused(conversation=conversation_id) == (400, LOCKED)


@pytest.mark.parametrize("background", [False, True])
def test_lock_is_for_all_responses(response_setup: MakeResponseSetup, background: bool) -> None:
    """A locked conversation refuses responses of both kinds, however it is named."""
    setup = response_setup(Hold())
    conversation_id, _ = setup.in_progress()
    refusal = setup.wire.refused(conversation={"id": conversation_id}, background=background)
    assert refusal == (400, LOCKED)


def test_foreground_response_locks_its_conversation(
    executor: ThreadPoolExecutor, response_setup: MakeResponseSetup
) -> None:
    """A response that its caller waits for locks the conversation as well."""
    setup = response_setup(Hold())
    conversation_id = setup.wire.conversation()
    other = ResponsesClient(setup.server.base_url)
    answer = executor.submit(other.respond, conversation=conversation_id)
    wait_for(lambda: setup.model.requests, bool)
    refusal = setup.wire.refused(conversation=conversation_id)
    setup.release()
    assert answer.result(20)["status"] == "completed"
    other.close()
    assert refusal == (400, LOCKED)


def test_live_response_locks_no_other_conversation(response_setup: MakeResponseSetup) -> None:
    """Other conversations go on while one is locked."""
    setup = response_setup(Hold(), Reply("ok"))
    setup.in_progress()
    _, response = setup.answered()
    assert response["status"] == "completed"


def test_live_response_locks_no_response_without_a_conversation(
    response_setup: MakeResponseSetup,
) -> None:
    """Responses without a conversation go on side by side."""
    setup = response_setup(Hold(), Reply("ok"))
    setup.wire.respond(background=True)
    wait_for(lambda: setup.model.requests, bool)
    assert setup.wire.respond()["status"] == "completed"


@pytest.mark.parametrize("step", [Reply("ok"), Fail(), Incomplete()])
def test_response_that_is_over_frees_its_conversation(
    response_setup: MakeResponseSetup, step: Any
) -> None:
    """After a response of any end the conversation takes the next one."""
    setup = response_setup(step, Reply("next"))
    conversation_id, _ = setup.answered()
    setup.wire.respond(conversation=conversation_id)
    assert setup.wire.item_texts(conversation_id)[-1] == "next"


def test_cancelled_response_frees_its_conversation(response_setup: MakeResponseSetup) -> None:
    """After a cancellation the next response is taken, though the model still works."""
    setup = response_setup(Hold(), Reply("next"))
    conversation_id, response_id = setup.in_progress()
    setup.wire.cancel(response_id)
    assert setup.wire.respond(conversation=conversation_id)["status"] == "completed"


def test_expired_response_frees_its_conversation(response_setup: MakeResponseSetup) -> None:
    """Once the time of a response is up the next one is taken, without anybody looking."""
    setup = response_setup(Hold(), Reply("next"))
    conversation_id, _ = setup.in_progress()
    setup.clock.now += 600
    assert setup.wire.respond(conversation=conversation_id)["status"] == "completed"


def test_lock_holds_until_the_last_second(response_setup: MakeResponseSetup) -> None:
    """A response that still has time locks its conversation."""
    setup = response_setup(Hold())
    conversation_id, _ = setup.in_progress()
    setup.clock.now += 599
    assert setup.wire.refused(conversation=conversation_id) == (400, LOCKED)


def test_deleted_response_frees_its_conversation(response_setup: MakeResponseSetup) -> None:
    """A live response that is deleted locks nothing any more."""
    setup = response_setup(Hold(), Reply("next"))
    conversation_id, response_id = setup.in_progress()
    setup.wire.delete(f"/responses/{response_id}")
    assert setup.wire.respond(conversation=conversation_id)["status"] == "completed"


def test_refused_response_locks_nothing(response_setup: MakeResponseSetup) -> None:
    """A response that was refused does not hold the conversation."""
    setup = response_setup(Reply("ok"))
    conversation_id = setup.wire.conversation()
    setup.wire.refused(conversation=conversation_id, input=[output("call_x")])
    assert setup.wire.respond(conversation=conversation_id)["status"] == "completed"


def test_one_of_many_responses_wins(response_setup: MakeResponseSetup) -> None:
    """Of many responses asked for at once in one conversation exactly one is taken."""
    setup = response_setup(Hold())
    body = background_response(setup.wire.conversation())
    statuses = post_at_once("/responses", body, *[setup.server.base_url] * 6)
    assert statuses == [200, 400, 400, 400, 400, 400]


def background_response(conversation_id: str) -> Json:
    """Return the body of a background response in a conversation."""
    return {"model": "any", "input": "hi", "conversation": conversation_id, "background": True}


def test_one_response_wins_over_two_servers(
    response_setup: MakeResponseSetup, tmp_path: Path
) -> None:
    """Of responses asked for at once through two servers exactly one is taken."""
    location = str(tmp_path / "a.db")
    one, other = (response_setup(Hold(), location=location) for _ in range(2))
    body = background_response(one.wire.conversation())
    statuses = post_at_once("/responses", body, one.server.base_url, other.server.base_url)
    assert statuses == [200, 400]


def test_slow_response_fails(response_setup: MakeResponseSetup) -> None:
    """A response whose model takes ten minutes fails while it is in progress."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    setup.clock.now += 600
    response = setup.wire.response(response_id)
    assert (response["status"], response["error"]) == (
        "failed",
        {"code": "server_error", "message": "The response took too long."},
    )


def test_response_does_not_expire_early(response_setup: MakeResponseSetup) -> None:
    """A response is in progress until its very last second."""
    setup = response_setup(Hold())
    _, response_id = setup.in_progress()
    setup.clock.now += 599
    assert setup.wire.response(response_id)["status"] == "in_progress"


def test_response_seconds(response_setup: MakeResponseSetup) -> None:
    """How long responses may take is an option of the server."""
    setup = response_setup(Hold(), run_seconds=5)
    _, response_id = setup.in_progress()
    setup.clock.now += 5
    assert setup.wire.response(response_id)["status"] == "failed"


@pytest.mark.parametrize("background", [False, True])
def test_response_without_time_is_not_begun(
    response_setup: MakeResponseSetup, background: bool
) -> None:
    """A response whose time is up before it is taken up fails, and its model is not asked."""
    setup = response_setup(run_seconds=0)
    response_id = setup.wire.respond(background=background)["id"]
    wait_until_idle()
    assert setup.wire.response(response_id)["status"] == "failed"
    assert setup.model.requests == []


def test_servers_share_responses(response_setup: MakeResponseSetup, tmp_path: Path) -> None:
    """A response in progress on one server locks, and is cancelled, through the other."""
    location = str(tmp_path / "a.db")
    one, other = response_setup(Hold(), location=location), response_setup(location=location)
    conversation_id, response_id = one.in_progress()
    refusal = other.wire.refused(conversation=conversation_id)
    other.wire.cancel(response_id)
    one.release()
    wait_until_idle()
    assert refusal == (400, LOCKED)
    assert one.wire.response(response_id)["status"] == "cancelled"


def test_calls_are_answered_at_the_other_server(
    response_setup: MakeResponseSetup, tmp_path: Path
) -> None:
    """A call of a response of one server is answered through the other."""
    location = str(tmp_path / "a.db")
    one, other = (
        response_setup(CALL, location=location),
        response_setup(Reply("done"), location=location),
    )
    conversation_id, response = one.answered()
    other.wire.respond(conversation=conversation_id, input=outputs_of(response, "1"))
    assert one.wire.item_texts(conversation_id)[-1] == "done"
