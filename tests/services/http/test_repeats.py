"""Repeats of requests: writes that take effect once, and reads of what is known to be there."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from gpt_agent_sync.errors import (
    AgentNotAliveError,
    AuthenticationError,
    GptAgentError,
    RateLimitError,
    RequestRejectedError,
    ServiceBusyError,
    ServiceError,
    ServiceUnavailableError,
    WaitTimeoutError,
)
from gpt_agent_sync.services.http.answers import Answer
from gpt_agent_sync.services.http.client import HttpClient, Limits
from gpt_agent_sync.services.http.repeats import repeat_safe, repeat_write
from tests.support.stub import Answerer, HangUp, Request, Response, StubServer, error

MakeStub = Callable[[Answerer], StubServer]

DONE = Answer({"id": "x"}, None, "POST /x", None)


def dropped() -> ServiceUnavailableError:
    """Return the error of a connection that broke off."""
    return ServiceUnavailableError("broke off", in_doubt=True)


def silent() -> ServiceUnavailableError:
    """Return the error of an answer that did not come in time."""
    return ServiceUnavailableError("silent", in_doubt=True, timed_out=True)


class Story:
    """What happens while a request is repeated: tries, pauses and looks, in order.

    Args:
        tries: What each try does: an error to raise, or the answer.
        looks: What each look finds, or an error to raise.
    """

    def __init__(self, tries: list[Any], looks: list[Any] | None = None) -> None:
        self._tries = iter(tries)
        self._looks = iter(looks or [])
        self.told: list[str] = []

    def attempt(self) -> Answer:
        """Make the next try."""
        answer: Answer = self._next("try", self._tries)
        return answer

    def find(self) -> Any:
        """Look."""
        return self._next("look", self._looks)

    def pause(self, seconds: float) -> None:
        """Keep that a pause was asked for."""
        self.told.append("pause")

    def _next(self, what: str, results: Iterator[Any]) -> Any:
        self.told.append(what)
        result = next(results)
        if isinstance(result, Exception):
            raise result
        return result

    def write(self, most: int = 3, **how: Any) -> Any:
        """Repeat the request as a write that can be looked for."""
        return repeat_write(self.attempt, self.find, self.pause, most, **how)


def test_write_in_doubt_is_looked_for_after_the_pause() -> None:
    """What a request does may show a little later, so the look comes just before the repeat."""
    story = Story([dropped(), DONE], [None])
    assert story.write() is DONE
    assert story.told == ["try", "pause", "look", "try"]


def test_last_try_is_looked_for_too() -> None:
    """A write that is in doubt to the last is looked for once more before it is given up."""
    story = Story([dropped(), dropped()], [None, "it"])
    assert story.write(most=1) == "it"


def test_write_that_timed_out_is_never_sent_again() -> None:
    """It may be worked on for as long as it likes, so that it is only looked for."""
    story = Story([silent()], [None, None, None, None])
    with pytest.raises(ServiceUnavailableError) as failed:
        story.write()
    assert failed.value.in_doubt
    assert story.told.count("try") == 1
    assert story.told.count("look") == 4


def test_write_that_timed_out_is_found_late() -> None:
    """A slow service's work is found once it is done."""
    assert Story([silent()], [None, None, "it"]).write() == "it"


@pytest.mark.parametrize(
    "refusal",
    [RequestRejectedError("no", status=404), ServiceUnavailableError("down", status=503)],
)
def test_refused_look_leaves_the_doubt(refusal: ServiceError) -> None:
    """The caller gets the request's own error, in doubt, and not the look's refusal."""
    story = Story([dropped()], [refusal])
    with pytest.raises(ServiceUnavailableError, match="broke off") as failed:
        story.write()
    assert failed.value.in_doubt
    assert failed.value.__cause__ is refusal


def test_repeat_that_is_refused_is_looked_for() -> None:
    """A first try that took effect after the look is why the second one is refused."""
    story = Story([dropped(), ServiceBusyError("a run is live", status=400)], [None, "it"])
    assert story.write() == "it"


@pytest.mark.parametrize(
    "refusal",
    [
        RequestRejectedError("no", status=400),
        AuthenticationError("no", status=403),
        ServiceBusyError("busy", status=400),
    ],
)
def test_doubt_travels_with_a_later_refusal(refusal: ServiceError) -> None:
    """A refusal of the repeat says nothing of the first try."""
    with pytest.raises(type(refusal)) as failed:
        Story([dropped(), refusal], [None, None]).write()
    assert failed.value.in_doubt


def test_refusal_of_the_first_try_is_no_doubt() -> None:
    """What was refused at once was not done."""
    with pytest.raises(RequestRejectedError) as failed:
        Story([RequestRejectedError("no", status=400)]).write()
    assert not failed.value.in_doubt


@pytest.mark.parametrize(
    "given_up", [AgentNotAliveError("t"), WaitTimeoutError("t", None, None, None)]
)
def test_doubt_travels_with_a_pause_that_is_given_up(given_up: GptAgentError) -> None:
    """A caller whose time is up, or whose agent stops, learns why, and of the doubt."""

    def give_up(seconds: float) -> None:
        raise given_up

    story = Story([dropped()])
    with pytest.raises(ServiceUnavailableError) as failed:
        repeat_write(story.attempt, story.find, give_up, 3)
    assert failed.value.in_doubt
    assert failed.value.__cause__ is given_up


def test_longer_pause_than_the_caller_has_gives_up_with_the_services_error() -> None:
    """Where the service asks for more time than there is, its error says so at once."""

    def no_time(seconds: float) -> None:
        raise WaitTimeoutError("t", None, None, None)

    story = Story([RateLimitError("slow down", status=429, retry_after=20.0)])
    with pytest.raises(RateLimitError, match="slow down"):
        repeat_write(story.attempt, story.find, no_time, 3)


def test_key_that_is_fetched_anew_is_tried_once_more() -> None:
    """Tokens are exchanged: a single 401 passes where the next request has another key."""
    refusal = AuthenticationError("expired", status=401)
    assert Story([refusal, DONE]).write(renews_key=True) is DONE
    with pytest.raises(AuthenticationError):
        Story([refusal, refusal]).write(renews_key=True)


def test_fixed_key_that_is_refused_is_told_at_once() -> None:
    """A write with a key that cannot change is not repeated."""
    story = Story([AuthenticationError("wrong", status=401)])
    with pytest.raises(AuthenticationError):
        story.write()
    assert story.told == ["try"]


def test_what_may_be_done_twice_is_not_looked_for() -> None:
    """A request that does no harm when it is made again is simply made again."""
    story = Story([silent(), dropped(), DONE])
    assert repeat_safe(story.attempt, story.pause, 3) is DONE
    assert story.told == ["try", "pause", "try", "pause", "try"]


# over HTTP


def client(read_timeout: float = 5.0) -> HttpClient:
    """Return a client."""
    return HttpClient(dict, lambda: Limits(1.0, read_timeout, 2), trust_environment=False)


@pytest.mark.parametrize("status", [401, 404, 409, 425])
def test_refused_read_of_what_is_known_to_be_there_is_repeated(
    make_stub: MakeStub, status: int
) -> None:
    """A replica that lags behind, or does not know a new token yet, is asked again."""
    answers = iter([error(status, "no"), Response({"id": "x"})])
    stub = make_stub(lambda request: next(answers))
    read = client().get(f"{stub.base_url}/x", pause=lambda seconds: None, known=True)
    assert read.data == {"id": "x"}


@pytest.mark.parametrize("status, tries", [(400, 1), (401, 2), (403, 1), (404, 3)])
def test_refusal_of_what_is_known_to_be_there_is_bounded(
    make_stub: MakeStub, status: int, tries: int
) -> None:
    """A refusal that stays is told in the end."""
    stub = make_stub(lambda request: error(status, "no"))
    with pytest.raises(ServiceError):
        client().get(f"{stub.base_url}/x", pause=lambda seconds: None, known=True)
    assert len(stub.requests) == tries


def test_write_that_was_handled_and_dropped_stands_once(make_stub: MakeStub) -> None:
    """A write whose answer was lost is found by the look, and not made again."""
    made: list[Request] = []

    def answer(request: Request) -> Response:
        made.append(request)
        raise HangUp

    stub = make_stub(answer)
    found = client().post(
        f"{stub.base_url}/x", {}, find=lambda: made or None, pause=lambda seconds: None
    )
    assert found is made
    assert len(stub.requests) == 1


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the system has no interval timer")
def test_time_out_of_the_programs_own_comes_out(make_stub: MakeStub) -> None:
    """A ``TimeoutError`` of a signal handler is not the network's: nothing is repeated."""
    release = threading.Event()

    def answer(request: Request) -> Response:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        release.wait(10)
        return Response()

    def ring(number: int, frame: Any) -> None:
        raise TimeoutError("the program's own")

    stub = make_stub(answer)
    before = signal.signal(signal.SIGALRM, ring)
    try:
        with pytest.raises(TimeoutError, match="the program's own"):
            client().post(f"{stub.base_url}/x", {}, find=lambda: None)
    finally:
        signal.signal(signal.SIGALRM, before)
        release.set()
    assert len(stub.requests) == 1


def test_silence_is_the_networks(make_stub: MakeStub) -> None:
    """A read timeout is an error of the service, in doubt."""
    release = threading.Event()

    def answer(request: Request) -> Response:
        release.wait(10)
        return Response()

    stub = make_stub(answer)
    with pytest.raises(ServiceUnavailableError) as failed:
        client(read_timeout=0.05).post(f"{stub.base_url}/x", {}, pause=lambda seconds: None)
    release.set()
    assert failed.value.timed_out
