"""What the Assistants wire refuses, and in which words."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from gpt_agent_sync.testing import Hold, Reply
from tests.support.server_setup import TWO_CALLS, MakeClient
from tests.support.wire_client import Json, WireClient, calls_of, plain_error


def test_message_while_a_run_is_live(make_client: MakeClient) -> None:
    """A message is refused while a run is live, and both are named."""
    wire = make_client(Hold())
    thread_id = wire.thread("hi")
    run_id = wire.start(thread_id)
    path = f"/threads/{thread_id}/messages"
    assert wire.refusal("POST", path, json={"role": "user", "content": "x"}) == (
        400,
        plain_error(f"Can't add messages to {thread_id} while a run {run_id} is active."),
    )


def test_run_while_a_run_is_live(make_client: MakeClient) -> None:
    """A second run is refused while one is live, and both are named."""
    wire = make_client(Hold())
    thread_id, assistant_id = wire.thread("hi"), wire.assistant()
    run_id = wire.start(thread_id)
    path = f"/threads/{thread_id}/runs"
    assert wire.refusal("POST", path, json={"assistant_id": assistant_id}) == (
        400,
        plain_error(f"Thread {thread_id} already has an active run {run_id}."),
    )


def test_outputs_for_a_run_that_is_final(wire: WireClient) -> None:
    """Outputs are refused by a run that waits for none."""
    thread_id = wire.thread("hi")
    run = wire.settled(thread_id, wire.start(thread_id))
    path = f"/threads/{thread_id}/runs/{run['id']}/submit_tool_outputs"
    assert wire.refusal("POST", path, json={"tool_outputs": []}) == (
        400,
        plain_error('Runs in status "completed" do not accept tool outputs.'),
    )


def test_outputs_twice(make_client: MakeClient) -> None:
    """The same outputs are not taken a second time."""
    wire = make_client(TWO_CALLS, Reply("done"))
    thread_id = wire.thread("hi")
    run = wire.settled(thread_id, wire.start(thread_id))
    wire.submit(thread_id, run, "1", "2")
    wire.settled(thread_id, run["id"])
    path = f"/threads/{thread_id}/runs/{run['id']}/submit_tool_outputs"
    outputs = [{"tool_call_id": call["id"], "output": "1"} for call in calls_of(run)]
    assert wire.refusal("POST", path, json={"tool_outputs": outputs}) == (
        400,
        plain_error('Runs in status "completed" do not accept tool outputs.'),
    )


@pytest.mark.parametrize(
    "given", [[], [0], [0, "call_x"], [0, 1, "call_x"]], ids=["none", "few", "wrong", "many"]
)
def test_wrong_outputs(make_client: MakeClient, given: list[int | str]) -> None:
    """Too few, too many or wrong outputs are refused with the ids that are waited for."""
    wire = make_client(TWO_CALLS)
    thread_id = wire.thread("hi")
    run = wire.settled(thread_id, wire.start(thread_id))
    ids = [call["id"] for call in calls_of(run)]
    got = [ids[item] if isinstance(item, int) else item for item in given]
    path = f"/threads/{thread_id}/runs/{run['id']}/submit_tool_outputs"
    outputs = [{"tool_call_id": call_id, "output": "1"} for call_id in got]
    assert wire.refusal("POST", path, json={"tool_outputs": outputs}) == (
        400,
        plain_error(f"Expected tool outputs for call_ids {ids!r}, got {got!r}"),
    )


def test_refused_outputs_leave_the_run_waiting(make_client: MakeClient) -> None:
    """After wrong outputs a run still waits for the right ones."""
    wire = make_client(TWO_CALLS, Reply("done"))
    thread_id = wire.thread("hi")
    run = wire.settled(thread_id, wire.start(thread_id))
    path = f"/threads/{thread_id}/runs/{run['id']}/submit_tool_outputs"
    wire.refusal("POST", path, json={"tool_outputs": []})
    wire.submit(thread_id, run, "1", "2")
    assert wire.settled(thread_id, run["id"])["status"] == "completed"


def test_cancel_of_a_run_that_is_final(wire: WireClient) -> None:
    """A run in a final status is not cancelled."""
    thread_id = wire.thread("hi")
    run = wire.settled(thread_id, wire.start(thread_id))
    assert wire.refusal("POST", f"/threads/{thread_id}/runs/{run['id']}/cancel") == (
        400,
        plain_error("Cannot cancel run with status 'completed'."),
    )


@pytest.mark.parametrize(
    "method, path, kind, object_id",
    [
        ("GET", "/assistants/asst_x", "assistant", "asst_x"),
        ("POST", "/assistants/asst_x", "assistant", "asst_x"),
        ("DELETE", "/assistants/asst_x", "assistant", "asst_x"),
        ("GET", "/assistants?after=asst_x", "assistant", "asst_x"),
        ("GET", "/threads/thread_x", "thread", "thread_x"),
        ("POST", "/threads/thread_x", "thread", "thread_x"),
        ("DELETE", "/threads/thread_x", "thread", "thread_x"),
        ("GET", "/threads/thread_x/messages", "thread", "thread_x"),
        ("GET", "/threads/thread_x/messages/msg_x", "thread", "thread_x"),
        ("GET", "/threads/thread_x/runs", "thread", "thread_x"),
        ("GET", "/threads/thread_x/runs/run_x", "thread", "thread_x"),
        ("POST", "/threads/thread_x/runs/run_x/cancel", "thread", "thread_x"),
        ("GET", "/threads/{thread}/messages/msg_x", "message", "msg_x"),
        ("POST", "/threads/{thread}/messages/msg_x", "message", "msg_x"),
        ("DELETE", "/threads/{thread}/messages/msg_x", "message", "msg_x"),
        ("GET", "/threads/{thread}/runs/run_x", "run", "run_x"),
        ("GET", "/threads/{thread}/runs?after=run_x", "run", "run_x"),
        ("POST", "/threads/{thread}/runs/run_x", "run", "run_x"),
        ("POST", "/threads/{thread}/runs/run_x/cancel", "run", "run_x"),
    ],
)
def test_unknown_ids(wire: WireClient, method: str, path: str, kind: str, object_id: str) -> None:
    """An id that is not there is refused by its kind and name."""
    path = path.format(thread=wire.thread())
    body: Json = {"json": {}} if method == "POST" else {}
    assert wire.refusal(method, path, **body) == (
        404,
        plain_error(f"No {kind} found with id '{object_id}'."),
    )


@pytest.mark.parametrize(
    "path, body, message",
    [
        (
            "/threads/thread_x/messages",
            {"role": "user", "content": "x"},
            "No thread found with id 'thread_x'.",
        ),
        (
            "/threads/thread_x/runs",
            {"assistant_id": "asst_x"},
            "No thread found with id 'thread_x'.",
        ),
        (
            "/threads/{thread}/runs",
            {"assistant_id": "asst_x"},
            "No assistant found with id 'asst_x'.",
        ),
        ("/threads/runs", {"assistant_id": "asst_x"}, "No assistant found with id 'asst_x'."),
        (
            "/threads/{thread}/runs/run_x/submit_tool_outputs",
            {"tool_outputs": []},
            "No run found with id 'run_x'.",
        ),
    ],
)
def test_unknown_ids_of_bodies(wire: WireClient, path: str, body: Json, message: str) -> None:
    """A request about what is not there is refused before anything is made."""
    answer = wire.refusal("POST", path.format(thread=wire.thread()), json=body)
    assert answer == (404, plain_error(message))


def test_objects_of_another_thread(wire: WireClient) -> None:
    """A run is found under its own thread only."""
    thread_id, other_id = wire.thread("hi"), wire.thread()
    run_id = wire.start(thread_id)
    assert wire.refusal("GET", f"/threads/{other_id}/runs/{run_id}") == (
        404,
        plain_error(f"No run found with id '{run_id}'."),
    )


@pytest.mark.parametrize(
    "method, path, status",
    [
        ("GET", "/nothing", 404),
        ("GET", "/", 404),
        ("POST", "/threads/thread_x/nothing", 404),
        ("PUT", "/threads", 405),
        ("DELETE", "/assistants", 405),
    ],
)
def test_unknown_routes(wire: WireClient, method: str, path: str, status: int) -> None:
    """A path or a method that the wire does not have is refused as JSON."""
    assert wire.refusal(method, path) == (status, plain_error(f"Invalid URL ({method} /v1{path})"))


@pytest.mark.parametrize(
    "path",
    [
        "/assistants",
        "/assistants/{assistant}",
        "/threads",
        "/threads/{thread}",
        "/threads/{thread}/messages",
        "/threads/{thread}/runs",
        "/threads/{thread}/runs/run_x",
        "/threads/{thread}/runs/run_x/submit_tool_outputs",
        "/threads/runs",
    ],
)
@pytest.mark.parametrize("data", ["{broken", "[1]", '"text"', "[]"])
def test_bodies_that_are_no_objects(wire: WireClient, path: str, data: str) -> None:
    """A body that is not a JSON object is refused everywhere."""
    path = path.format(thread=wire.thread(), assistant=wire.assistant())
    headers = {"Content-Type": "application/json"}
    assert wire.refusal("POST", path, data=data, headers=headers) == (
        400,
        plain_error("The request body must be a JSON object."),
    )


@pytest.mark.parametrize(
    "path, body, param, code",
    [
        ("/assistants", {"name": "x"}, "model", "missing_required_parameter"),
        ("/assistants", {"model": "no-such-model"}, "model", "model_not_found"),
        ("/assistants/{assistant}", {"model": "no-such-model"}, "model", "model_not_found"),
        ("/assistants", {"model": "any", "x": 1}, "x", "unknown_parameter"),
        ("/threads/{thread}", {"messages": []}, "messages", "unknown_parameter"),
        ("/threads/{thread}/messages", {"content": "x"}, "role", "missing_required_parameter"),
        ("/threads/{thread}/messages", {"role": "user", "content": ""}, "content", None),
        ("/threads/{thread}/messages", {"role": "tool", "content": "x"}, "role", "invalid_value"),
        ("/threads/{thread}/runs", {}, "assistant_id", "missing_required_parameter"),
        (
            "/threads/{thread}/runs",
            {"assistant_id": "{assistant}", "model": "no-such-model"},
            "model",
            "model_not_found",
        ),
        (
            "/threads/{thread}/runs",
            {"assistant_id": "x", "stream": "yes"},
            "stream",
            "invalid_type",
        ),
        ("/threads/runs", {"assistant_id": "x", "stream": "yes"}, "stream", "invalid_type"),
        (
            "/threads/{thread}/runs/run_x/submit_tool_outputs",
            {"tool_outputs": [], "stream": 1},
            "stream",
            "invalid_type",
        ),
    ],
)
def test_bad_parameters(
    wire: WireClient, path: str, body: Json, param: str, code: str | None
) -> None:
    """A bad parameter is refused by its name, with a code where the wire has one."""
    ids = {"thread": wire.thread(), "assistant": wire.assistant()}
    filled = {
        name: value.format(**ids) if isinstance(value, str) else value
        for name, value in body.items()
    }
    status, error = wire.refusal("POST", path.format(**ids), json=filled)
    assert (status, error["param"], error["code"]) == (400, param, code)


def test_unknown_model(wire: WireClient) -> None:
    """A model that nobody serves is refused by its name."""
    _, error = wire.refusal("POST", "/assistants", json={"model": "no-such-model"})
    assert error["message"] == "The requested model 'no-such-model' does not exist."


def test_bad_query(wire: WireClient) -> None:
    """A limit out of range is refused in the wire's words."""
    status, error = wire.refusal("GET", "/assistants", params={"limit": 101})
    assert (status, error["param"]) == (400, "limit")


def test_broken_database(tmp_path: Path, make_client: MakeClient) -> None:
    """A fault of the server's own is a server error that shows no secrets."""
    wire = make_client(location=str(tmp_path / "a.db"))
    connection = sqlite3.connect(tmp_path / "a.db")
    connection.execute("DROP TABLE threads")
    connection.close()
    status, error = wire.refusal("GET", "/threads/thread_x")
    assert (status, error["type"]) == (500, "server_error")
    assert "DROP" not in error["message"]
    assert "threads" not in error["message"]
