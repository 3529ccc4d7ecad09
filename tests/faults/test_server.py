"""The fault server does to requests what the faults say, and shows what the server has."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence

import pytest
import requests

from tests.faults.faults import BY_NAME, FAULTS, STALL, Fault
from tests.faults.kinds import ASSISTANTS, Record
from tests.faults.server import FaultServer, Line
from tests.faults.state import read_state
from tests.support.polling import wait_for

WRITES = [fault for fault in FAULTS if not fault.silent]
NUMBERS = itertools.count()
PATIENCE = STALL * 5


class Way:
    """A way to the server on which every request meets one fault, and a thread.

    Args:
        server: The server.
        fault: The fault's name.
    """

    def __init__(self, server: FaultServer, fault: str) -> None:
        self._server = server
        self._fault = BY_NAME[fault]
        self.line = Line(self._choose)
        self.name = f"way-{next(NUMBERS)}"
        self._base_url = server.open(self.name, self.line)
        self.thread_id: str = server.send("POST", "/threads", {})["id"]

    def _choose(self, phase: str, label: str, earlier: Sequence[Record]) -> Fault:
        return self._fault

    def post(self, path: str, **body: object) -> requests.Response | None:
        """Write to the thread, and return the answer if there is one."""
        url = f"{self._base_url}/threads/{self.thread_id}/{path}"
        try:
            return requests.post(url, json=body, timeout=PATIENCE)
        except requests.RequestException:
            return None

    def say(self) -> requests.Response | None:
        """Add a message to the thread."""
        return self.post("messages", role="user", content="hello")

    def count(self) -> int:
        """Return how often the message stands in the thread."""
        state = read_state(self._server.engine, ASSISTANTS, self.thread_id)
        return state.messages.get("hello", 0)

    def stream_run(self) -> list[str]:
        """Start a run, and return the names of its events that came whole."""
        assistant = self._server.send("POST", "/assistants", {"model": "any"})
        url = f"{self._base_url}/threads/{self.thread_id}/runs"
        body = {"assistant_id": assistant["id"], "stream": True}
        text = b""
        with (
            contextlib.suppress(requests.RequestException),
            requests.post(url, json=body, timeout=PATIENCE, stream=True) as answer,
        ):
            for piece in answer.iter_content(None):
                text += piece
        whole = text.decode().split("\n\n")[:-1]
        return [event.partition("\n")[0].removeprefix("event: ") for event in whole]


MakeWay = Callable[[str], Way]


@pytest.fixture
def make_way(fault_server: FaultServer) -> Iterator[MakeWay]:
    """Return a maker of ways to the server, by the name of a fault; they are removed."""
    made: list[Way] = []

    def make(fault: str) -> Way:
        made.append(Way(fault_server, fault))
        return made[-1]

    yield make
    for way in made:
        fault_server.drop(way.name)


@pytest.mark.parametrize("fault", [fault.name for fault in WRITES])
def test_request_is_handled_or_not_as_the_fault_says(fault: str, make_way: MakeWay) -> None:
    """What a fault says of the handling of a request is so."""
    way = make_way(fault)
    way.say()
    assert way.count() == BY_NAME[fault].handled


@pytest.mark.parametrize("fault", [fault.name for fault in WRITES if fault.status])
def test_status_is_answered(fault: str, make_way: MakeWay) -> None:
    """A fault with a status answers that, and the pause that it asks for."""
    way = make_way(fault)
    answer = way.say()
    assert answer is not None
    assert answer.status_code == BY_NAME[fault].status
    assert ("Retry-After" in answer.headers) == (BY_NAME[fault].retry_after is not None)


def test_late_request_is_handled_after_the_silence(make_way: MakeWay) -> None:
    """A request that is stalled gets no answer, and is handled in the end all the same."""
    way = make_way("stall, then handled")
    assert way.say() is None
    assert way.line.wait_until_quiet(PATIENCE)
    assert wait_for(way.count, bool) == 1


@pytest.mark.parametrize("how", ["after", "ended after", "in the middle of"])
def test_stream_is_cut(how: str, make_way: MakeWay) -> None:
    """As many events come whole as the fault says."""
    assert make_way(f"stream {how} event 2").stream_run() == [
        "thread.run.created",
        "thread.run.queued",
    ]


def test_requests_are_recorded(make_way: MakeWay) -> None:
    """A line knows its requests, by method and route, and what became of them."""
    way = make_way("503")
    way.say()
    (record,) = way.line.records
    assert (record.label, record.status, record.fault) == (
        "POST /threads/*/messages",
        503,
        BY_NAME["503"],
    )
