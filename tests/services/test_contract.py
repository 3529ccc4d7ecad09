"""The contract that every service keeps, over every wire."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from gpt_agent_sync import get_settings
from gpt_agent_sync.errors import (
    InvalidThreadIdError,
    RequestRejectedError,
    ServiceBusyError,
)
from gpt_agent_sync.records import (
    AssistantDefinition,
    Message,
    Order,
    RunOptions,
    RunRequest,
    RunSnapshot,
    ToolOutput,
    UserMessage,
)
from gpt_agent_sync.services.base import Feed, Service
from gpt_agent_sync.services.responses import ResponsesService
from gpt_agent_sync.testing import CallTools, Fail, Hold, Incomplete, Reply
from gpt_agent_sync.testing.script import Script
from tests.plugins.services import MakeService

HELLO = UserMessage(content="hello")


class Talk:
    """A service with an assistant and a thread."""

    def __init__(self, service: Service) -> None:
        self.service = service
        self.thread_id = service.create_thread()
        assistant_id = service.create_assistant(AssistantDefinition(model="any"))
        self.request = RunRequest(
            thread_id=self.thread_id,
            assistant_id=assistant_id,
            heartbeat_interval=0.05,
            streaming=get_settings().streaming,
        )

    def post(self, message: UserMessage = HELLO) -> str:
        """Post a message and return its id."""
        posted = self.service.post_message(self.request, message)
        self.request = attrs.evolve(self.request, posted=posted)
        return posted.message_id

    def start(self) -> Feed:
        """Post a message and start its run."""
        self.post()
        return self.service.start_run(self.request)

    def first(self, feed: Feed) -> RunSnapshot:
        """Take the feed's first update, a snapshot."""
        update = next(feed)
        assert isinstance(update, RunSnapshot)
        return update

    def follow(self, feed: Feed) -> tuple[list[Message], RunSnapshot]:
        """Take a feed to its end, and return messages and last snapshot."""
        updates = list(feed)
        last = updates[-1]
        assert isinstance(last, RunSnapshot)
        return [update for update in updates if isinstance(update, Message)], last


@pytest.fixture
def talk(make_service: MakeService) -> Callable[[Script], Talk]:
    """Return a maker of talks that follow a script."""
    return lambda script: Talk(make_service(script))


MakeTalk = Callable[[Script], Talk]


@attrs.frozen
class Told:
    """A thread in which something was said.

    Attributes:
        talk: The talk.
        posted: The ids under which the user's messages were posted.
        runs: The ids of the runs.
    """

    talk: Talk
    posted: list[str]
    runs: list[str]

    def messages(self, **how: Any) -> Iterator[Message]:
        """Return the thread's messages."""
        return self.talk.service.messages(self.talk.thread_id, **how)


def test_new_thread_is_open_and_quiet(talk: MakeTalk) -> None:
    """A thread that was just made is there and has no live run."""
    made = talk([])
    assert made.service.open_thread(made.thread_id) is None


def test_unknown_thread_is_refused(talk: MakeTalk) -> None:
    """A thread that is not there is an invalid thread id."""
    with pytest.raises(InvalidThreadIdError):
        talk([]).service.open_thread("no-such-thread")


@pytest.mark.parametrize("count", [1, 32, 75])
def test_history_comes_before_what_is_said(talk: MakeTalk, count: int) -> None:
    """A thread begins with its history, any number of messages, and takes a turn after it."""
    made = talk([Reply("one"), Reply("two")])
    roles = ["user", "assistant"]
    history = [
        Message(id="", role=roles[number % 2], content=f"text {number}") for number in range(count)
    ]
    made.thread_id = made.service.create_thread(history)
    made.request = attrs.evolve(made.request, thread_id=made.thread_id)
    posted = made.post()
    made.follow(made.service.start_run(made.request))
    made.follow(made.start())
    after = made.service.messages(made.thread_id, after=posted)
    assert [message.content for message in after] == ["one", "hello", "two"]


def test_messages_after_one_come_in_order(talk: MakeTalk) -> None:
    """However many messages there are, those after one come oldest first."""
    texts = [f"reply {number}" for number in range(60)]
    made = talk([Reply(text) for text in texts])
    replies = [made.follow(made.start())[0][0] for _ in texts]
    later = list(made.service.messages(made.thread_id, after=replies[0].id))
    said = [message for message in later if message.role == "assistant"]
    assert [message.id for message in said] == [message.id for message in replies[1:]]
    assert len(later) == 2 * len(said)


def test_messages_after_an_unknown_one_are_refused(talk: MakeTalk) -> None:
    """There is nothing after a message that is not there."""
    made = talk([])
    with pytest.raises(RequestRejectedError):
        next(made.service.messages(made.thread_id, after="msg_unknown"))


@pytest.fixture
def told(talk: MakeTalk) -> Told:
    """Return a thread of a short history and three turns."""
    made = talk([Reply("one"), Reply("two"), Reply("three")])
    history = [
        Message(id="", role="user", content="before"),
        Message(id="", role="assistant", content="then"),
    ]
    made.thread_id = made.service.create_thread(history)
    made.request = attrs.evolve(made.request, thread_id=made.thread_id)
    posted, runs = [], []
    for number in "123":
        posted.append(made.post(UserMessage(content=f"say {number}")))
        runs.append(made.follow(made.service.start_run(made.request))[1].id)
    return Told(made, posted, runs)


TEXTS = ["before", "then", "say 1", "one", "say 2", "two", "say 3", "three"]
"""What is said in the thread of the fixture ``told``."""


def test_messages_come_oldest_first(told: Told) -> None:
    """All that was said in a thread is listed, the user's words and the assistant's."""
    listed = list(told.messages())
    assert [message.content for message in listed] == TEXTS
    assert {message.role for message in listed} == {"user", "assistant"}
    assert len({message.id for message in listed}) == len(TEXTS)


def test_messages_come_newest_first(told: Told) -> None:
    """In descending order it is the same messages, the other way round."""
    assert list(told.messages(order="desc")) == list(told.messages())[::-1]


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_messages_after_each_one(told: Told, order: Order) -> None:
    """After any message come those that follow it in the order asked for."""
    listed = list(told.messages(order=order))
    for place, message in enumerate(listed):
        after = told.messages(after=message.id, order=order)
        assert [other.id for other in after] == [other.id for other in listed[place + 1 :]]


def test_messages_after_what_was_posted(told: Told) -> None:
    """The id that a message was posted under serves in either order."""
    later = told.messages(after=told.posted[1])
    assert [message.content for message in later] == TEXTS[5:]
    earlier = told.messages(after=told.posted[1], order="desc")
    assert [message.content for message in earlier] == TEXTS[3::-1]


@pytest.mark.parametrize("limit", [1, 3, 100])
@pytest.mark.parametrize("order", ["asc", "desc"])
def test_messages_end_at_the_limit(told: Told, order: Order, limit: int) -> None:
    """No more messages come than were asked for."""
    listed = list(told.messages(order=order))
    assert list(told.messages(order=order, limit=limit)) == listed[:limit]


def test_only_messages_of_the_assistant_name_a_run(told: Told) -> None:
    """A run writes the assistant's messages: those of one run name the same one."""
    runs = {message.content: message.run_id for message in told.messages()}
    assert runs["three"] == told.runs[2]
    assert runs["one"] not in (None, runs["two"], runs["three"])
    assert {runs["say 1"], runs["say 2"], runs["say 3"]} == {None}


def test_messages_are_of_today_where_their_age_is_told(told: Told) -> None:
    """Where the wire has it, a message says when it was added, in UTC."""
    times = [message.created_at for message in told.messages()]
    if isinstance(told.talk.service, ResponsesService):
        assert times == [None] * len(TEXTS)  # its items do not say
    else:
        now = datetime.now(timezone.utc)
        assert all(time and abs(now - time) < timedelta(days=1) for time in times)


def test_messages_are_not_asked_for_before_the_first(talk: MakeTalk) -> None:
    """An iterator that is not read asks for nothing, not even whether there is such a thread."""
    messages = talk([]).service.messages("no-such-thread")
    with pytest.raises((InvalidThreadIdError, RequestRejectedError)):
        next(messages)


def test_live_run_has_written_no_message(talk: MakeTalk) -> None:
    """While a run waits for outputs, it adds no message to the thread."""
    made = talk([Reply("one"), CallTools(("add", {}))])
    made.follow(made.start())
    made.follow(made.start())
    said = [message.content for message in made.service.messages(made.thread_id)]
    assert [text for text in said if text != "hello"] == ["one"]


def test_run_is_followed_to_its_reply(talk: MakeTalk) -> None:
    """A feed yields the run's messages and then its last snapshot."""
    made = talk([Reply("hi there")])
    messages, last = made.follow(made.start())
    assert [message.content for message in messages] == ["hi there"]
    assert last.status == "completed"


def test_messages_say_whose_they_are(talk: MakeTalk) -> None:
    """A run's message names the run and the assistant."""
    made = talk([Reply("hi")])
    messages, last = made.follow(made.start())
    assert (messages[0].run_id, messages[0].assistant_id) == (last.id, made.request.assistant_id)


def test_usage_is_told_at_the_end(talk: MakeTalk) -> None:
    """A completed run says what it used."""
    made = talk([Reply("hi")])
    _, last = made.follow(made.start())
    assert last.usage is not None
    assert (last.usage.input_tokens, last.usage.output_tokens, last.usage.total_tokens) == (1, 2, 3)


def test_second_turn_yields_its_own_messages(talk: MakeTalk) -> None:
    """What an earlier run wrote is not yielded again."""
    made = talk([Reply("one"), Reply("two")])
    made.follow(made.start())
    messages, _ = made.follow(made.start())
    assert [message.content for message in messages] == ["two"]


def test_feed_asks_for_nothing_before_it_is_read(talk: MakeTalk) -> None:
    """A feed that is not read sends no outputs."""
    made = talk([CallTools(("add", {}))])
    _, waiting = made.follow(made.start())
    answer = [ToolOutput(tool_call_id=waiting.tool_calls[0].id, output="1")]
    made.service.submit_tool_outputs(made.request, waiting.id, answer)
    found = made.service.open_thread(made.thread_id)
    assert found is not None
    assert found.status == "requires_action"


def test_failed_run_says_why(talk: MakeTalk) -> None:
    """A failed run carries code and message."""
    made = talk([Fail("rate_limit_exceeded", "try again in 20s")])
    _, last = made.follow(made.start())
    assert (last.status, last.error_code) == ("failed", "rate_limit_exceeded")
    assert last.error_message == "try again in 20s"


def test_incomplete_run_yields_what_was_written(talk: MakeTalk) -> None:
    """A run that was cut short yields its message all the same, and the reason."""
    made = talk([Incomplete("max_completion_tokens", "half a")])
    messages, last = made.follow(made.start())
    assert [message.content for message in messages] == ["half a"]
    assert (last.status, last.error_code) == ("incomplete", "max_completion_tokens")


def test_feed_ends_where_outputs_are_wanted(talk: MakeTalk) -> None:
    """A feed ends with the calls that the run waits for."""
    made = talk([CallTools(("add", {"a": 1}), ("sub", {"b": 2}))])
    _, last = made.follow(made.start())
    assert last.status == "requires_action"
    assert [(call.name, call.arguments) for call in last.tool_calls] == [
        ("add", '{"a": 1}'),
        ("sub", '{"b": 2}'),
    ]


def test_outputs_let_the_run_go_on(talk: MakeTalk) -> None:
    """All outputs go out at once, and the run goes on to its reply, under the same id."""
    made = talk([CallTools(("add", {}), ("sub", {})), Reply("done")])
    _, waiting = made.follow(made.start())
    outputs = [ToolOutput(tool_call_id=call.id, output="1") for call in waiting.tool_calls]
    feed = made.service.submit_tool_outputs(made.request, waiting.id, outputs)
    messages, last = made.follow(feed)
    assert [message.content for message in messages] == ["done"]
    assert (last.id, last.status) == (waiting.id, "completed")


def test_run_may_ask_for_tools_more_than_once(talk: MakeTalk) -> None:
    """After one round of tools a run may ask for another."""
    made = talk([CallTools(("add", {})), CallTools(("sub", {})), Reply("done")])
    _, first = made.follow(made.start())
    answer = [ToolOutput(tool_call_id=first.tool_calls[0].id, output="1")]
    _, second = made.follow(made.service.submit_tool_outputs(made.request, first.id, answer))
    assert [call.name for call in second.tool_calls] == ["sub"]


def test_wrong_outputs_are_refused(talk: MakeTalk) -> None:
    """Outputs of only some of the calls are refused, and the run still waits for all."""
    made = talk([CallTools(("add", {}), ("sub", {}))])
    _, waiting = made.follow(made.start())
    some = [ToolOutput(tool_call_id=waiting.tool_calls[0].id, output="1")]
    feed = made.service.submit_tool_outputs(made.request, waiting.id, some)
    with pytest.raises(RequestRejectedError):
        next(feed)
    _, still = made.follow(made.service.resume_run(made.request, waiting.id))
    assert still.tool_calls == waiting.tool_calls


def test_outputs_of_other_calls_show_what_the_run_waits_for(talk: MakeTalk) -> None:
    """Outputs of calls that are no longer waited for show those that are."""
    made = talk([CallTools(("add", {}))])
    _, waiting = made.follow(made.start())
    others = [ToolOutput(tool_call_id="call_other", output="1")]
    _, still = made.follow(made.service.submit_tool_outputs(made.request, waiting.id, others))
    assert still.tool_calls == waiting.tool_calls


def test_late_outputs_show_how_the_run_ended(talk: MakeTalk) -> None:
    """Outputs for a run that was cancelled meanwhile are no error: the run shows its end."""
    made = talk([CallTools(("add", {}))])
    _, waiting = made.follow(made.start())
    made.service.cancel_run(made.thread_id, waiting.id)
    answer = [ToolOutput(tool_call_id=waiting.tool_calls[0].id, output="1")]
    _, last = made.follow(made.service.submit_tool_outputs(made.request, waiting.id, answer))
    assert last.status == "cancelled"


def test_live_run_is_found_on_opening(talk: MakeTalk) -> None:
    """A thread with a live run shows it when it is opened."""
    made = talk([CallTools(("add", {}))])
    _, waiting = made.follow(made.start())
    found = made.service.open_thread(made.thread_id)
    assert found is not None
    assert (found.id, found.status) == (waiting.id, "requires_action")


def test_resumed_run_is_followed_to_its_reply(talk: MakeTalk) -> None:
    """A run is followed from where it is, its messages included."""
    made = talk([CallTools(("add", {})), Reply("done")])
    _, waiting = made.follow(made.start())
    answer = [ToolOutput(tool_call_id=waiting.tool_calls[0].id, output="1")]
    answering = made.service.submit_tool_outputs(made.request, waiting.id, answer)
    made.first(answering)
    answering.close()
    assert list(answering) == []
    unposted = attrs.evolve(made.request, posted=None, assistant_id=None)
    messages, last = made.follow(made.service.resume_run(unposted, waiting.id))
    assert [message.content for message in messages] == ["done"]
    assert last.status == "completed"


def test_message_during_a_run_is_refused_as_busy(talk: MakeTalk) -> None:
    """While a run is live the thread takes no message, and the refusal names the run."""
    made = talk([CallTools(("add", {}))])
    _, waiting = made.follow(made.start())
    with pytest.raises(ServiceBusyError) as refused:
        made.service.post_message(made.request, HELLO)
    assert refused.value.run_id == waiting.id


def test_second_run_is_refused_as_busy(talk: MakeTalk) -> None:
    """While a run is live the thread takes no second one."""
    made = talk([CallTools(("add", {}))])
    made.follow(made.start())
    with pytest.raises(ServiceBusyError):
        next(made.start())


def test_waiting_run_is_cancelled(talk: MakeTalk) -> None:
    """A run that waits for outputs can be cancelled, and is told so."""
    made = talk([CallTools(("add", {}))])
    _, waiting = made.follow(made.start())
    made.service.cancel_run(made.thread_id, waiting.id)
    _, last = made.follow(made.service.resume_run(made.request, waiting.id))
    assert last.status == "cancelled"


def test_working_run_is_cancelled(talk: MakeTalk) -> None:
    """A run at work can be cancelled, and its feed ends with that."""
    made = talk([Hold()])
    feed = made.start()
    run_id = made.first(feed).id
    made.service.cancel_run(made.thread_id, run_id)
    _, last = made.follow(feed)
    assert last.status == "cancelled"


def test_cancelling_what_is_over_is_quiet(talk: MakeTalk) -> None:
    """A run that ended before the cancel came is no error."""
    made = talk([Reply("hi")])
    _, last = made.follow(made.start())
    made.service.cancel_run(made.thread_id, last.id)


def test_closed_feed_ends(talk: MakeTalk) -> None:
    """A closed feed yields no more, and closing it twice is fine."""
    made = talk([Hold()])
    feed = made.start()
    made.first(feed)
    feed.close()
    feed.close()
    assert list(feed) == []


def test_thread_is_free_after_its_run(talk: MakeTalk) -> None:
    """When a run is over the thread takes messages again."""
    made = talk([Reply("hi")])
    made.follow(made.start())
    assert made.post()
    assert made.service.open_thread(made.thread_id) is None


def test_usual_options_are_accepted(talk: MakeTalk) -> None:
    """The options that all wires have pass the check."""
    talk([]).service.check_options(RunOptions(model="m", temperature=0.5, max_output_tokens=9))


def test_service_is_equal_to_itself_only(make_service: MakeService) -> None:
    """Services at different places are different, also as keys."""
    one, other = make_service([]), make_service([])
    assert one == one
    assert one != other
    assert one != "service"
    assert len({one, other}) == 2


def test_closed_service_can_be_used_again(talk: MakeTalk) -> None:
    """Closing releases connections and no more."""
    made = talk([Reply("hi")])
    made.service.close()
    messages, _ = made.follow(made.start())
    assert len(messages) == 1
