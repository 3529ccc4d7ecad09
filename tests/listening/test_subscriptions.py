"""Subscriptions with ``on()``, and the delivery of events to them."""

from __future__ import annotations

import functools
import gc
import logging
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync.events import AgentStopped, Event, RunCompleted, RunEvent
from gpt_agent_sync.listening.subscriptions import Subscription, deliver
from gpt_agent_sync.testing import EventRecorder
from tests.support.senders import COMPLETED, STOPPED, Sender, clear_signals, receivers
from tests.test_events import EXAMPLES


@pytest.fixture(autouse=True)
def clean_signals() -> Iterator[None]:
    """Have no receivers before and after each test."""
    clear_signals()
    yield
    clear_signals()


def numbered(order: list[int], number: int) -> Callable[[Event], None]:
    """Return a callback that notes its number."""
    return lambda event: order.append(number)


def test_order_over_base_classes() -> None:
    """The order holds between subscriptions to an event and to its base classes."""
    order: list[int] = []
    for number, event_type in enumerate((Event, RunCompleted, RunEvent)):
        gpt.on(event_type, numbered(order, number))
    deliver(Sender(), COMPLETED)
    assert order == [0, 1, 2]


def test_order_after_closing() -> None:
    """Closing one subscription leaves the others in their order."""
    order: list[int] = []
    subscriptions = [gpt.on(RunCompleted, numbered(order, number)) for number in range(5)]
    subscriptions[2].close()
    deliver(Sender(), COMPLETED)
    assert order == [0, 1, 3, 4]


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: str(type(event).__name__))
def test_subscription_to_all_events(event: Event) -> None:
    """A subscription to ``Event`` receives each event once."""
    recorder = EventRecorder()
    gpt.on(Event, recorder)
    deliver(Sender(), event)
    assert recorder.events == [event]


@pytest.mark.parametrize("base", [gpt.RunEvent, gpt.ToolEvent])
def test_subscription_to_a_base_class(base: type[Event]) -> None:
    """A subscription to a base class receives the events below it, and no others."""
    recorder = EventRecorder()
    gpt.on(base, recorder)
    for event in EXAMPLES:
        deliver(Sender(), event)
    assert recorder.events == [event for event in EXAMPLES if isinstance(event, base)]


def test_subscription_to_one_event() -> None:
    """A subscription to one event does not hear others."""
    recorder = EventRecorder()
    gpt.on(RunCompleted, recorder)
    deliver(Sender(), STOPPED)
    assert not recorder.events


def test_subscription_to_one_thread() -> None:
    """With a thread id only events of that conversation are heard."""
    recorder = EventRecorder()
    gpt.on(RunCompleted, recorder, thread_id="t")
    deliver(Sender(), attrs.evolve(COMPLETED, thread_id="other"))
    deliver(Sender(), COMPLETED)
    assert [event.thread_id for event in recorder.events] == ["t"]


def test_subscription_is_strong() -> None:
    """A callback that nobody else holds stays subscribed."""
    order: list[int] = []
    gpt.on(RunCompleted, numbered(order, 1))
    gc.collect()
    deliver(Sender(), COMPLETED)
    assert order == [1]


def test_one_callback_twice() -> None:
    """A callback that is subscribed twice is called twice, and closed one by one."""
    recorder = EventRecorder()
    gpt.on(RunCompleted, recorder)
    gpt.on(RunCompleted, recorder).close()
    deliver(Sender(), COMPLETED)
    assert len(recorder.events) == 1


def test_close() -> None:
    """A closed subscription receives nothing more."""
    recorder = EventRecorder()
    gpt.on(Event, recorder).close()
    deliver(Sender(), COMPLETED)
    assert not recorder.events


def test_close_is_idempotent() -> None:
    """Closing again does nothing, and leaves other subscriptions alone."""
    recorder = EventRecorder()
    subscription = gpt.on(RunCompleted, recorder)
    subscription.close()
    gpt.on(RunCompleted, recorder)
    subscription.close()
    deliver(Sender(), COMPLETED)
    assert len(recorder.events) == 1


def test_detach_is_called_once() -> None:
    """The callback of a subscription is called once when it is closed."""
    received: list[Subscription] = []
    subscription = Subscription(Event, print, received.append)
    subscription.close()
    subscription.close()
    assert received == [subscription]


def test_context_manager() -> None:
    """A subscription as a context manager is closed at the end."""
    recorder = EventRecorder()
    with gpt.on(RunCompleted, recorder):
        deliver(Sender(), COMPLETED)
    deliver(Sender(), COMPLETED)
    assert len(recorder.events) == 1


def test_context_manager_gives_the_subscription() -> None:
    """The context manager gives the subscription itself."""
    with gpt.on(RunCompleted, print) as subscription:
        assert isinstance(subscription, Subscription)


def test_nothing_is_left_behind() -> None:
    """A closed subscription leaves neither receivers nor references to its callback."""
    callback = EventRecorder()
    reference = weakref.ref(callback)
    subscription = gpt.on(Event, callback)
    subscription.close()
    del callback, subscription
    gc.collect()
    assert (receivers(), reference()) == (0, None)


@pytest.mark.parametrize(
    "close, state", [(Subscription.__enter__, "open"), (Subscription.close, "closed")]
)
def test_repr(close: Callable[[Subscription], object], state: str) -> None:
    """The representation tells event, callback and state."""
    subscription = gpt.on(RunCompleted, print)
    close(subscription)
    words = f"<Subscription RunCompleted -> <built-in function print> ({state})>"
    assert repr(subscription) == words


def test_decorator() -> None:
    """As a decorator ``on`` gives the function back, and it is subscribed."""
    received: list[Event] = []

    def callback(event: RunCompleted) -> None:
        received.append(event)

    assert gpt.on(RunCompleted)(callback) is callback
    deliver(Sender(), COMPLETED)
    assert received == [COMPLETED]


def test_decorator_for_one_thread() -> None:
    """The decorator takes a thread id too."""
    received: list[str] = []

    @gpt.on(RunCompleted, thread_id="t")
    def callback(event: RunCompleted) -> None:
        received.append(event.thread_id)

    deliver(Sender(), attrs.evolve(COMPLETED, thread_id="other"))
    deliver(Sender(), COMPLETED)
    assert received == ["t"]


@pytest.mark.parametrize("event_type", [None, "RunCompleted", COMPLETED, int, object, Exception])
@pytest.mark.parametrize("callback", [print, None])
def test_wrong_event_type(event_type: Any, callback: Any) -> None:
    """Anything but an event class is refused, by call and as a decorator before it decorates."""
    with pytest.raises(TypeError, match=r"^event_type must be an event class such as"):
        gpt.on(event_type, callback)


@pytest.mark.parametrize("callback", ["print", 7, [print]])
def test_callback_that_cannot_be_called(callback: Any) -> None:
    """A callback that cannot be called is refused."""
    with pytest.raises(TypeError, match=r"^callback must be callable with one event"):
        gpt.on(RunCompleted, callback)


async def asynchronous(event: Event) -> None:
    """Be asynchronous."""


class Asynchronous:
    """Have asynchronous methods."""

    async def __call__(self, event: Event) -> None:
        """Be asynchronous."""

    async def method(self, event: Event) -> None:
        """Be asynchronous."""


ASYNCHRONOUS = [
    asynchronous,
    functools.partial(asynchronous),
    Asynchronous().method,
    Asynchronous(),
]


@pytest.mark.parametrize("callback", ASYNCHRONOUS)
def test_asynchronous_callback(callback: Any) -> None:
    """An asynchronous callback is refused."""
    with pytest.raises(TypeError, match=r"is asynchronous, and there is no event loop here"):
        gpt.on(RunCompleted, callback)


def test_asynchronous_decorated_callback() -> None:
    """An asynchronous callback is refused by the decorator."""
    with pytest.raises(TypeError, match=r"is asynchronous"):
        gpt.on(RunCompleted)(asynchronous)


def test_refused_callbacks_are_not_subscribed() -> None:
    """A refused callback leaves nothing in the signals."""
    with pytest.raises(TypeError):
        gpt.on(RunCompleted, asynchronous)
    assert receivers() == 0


@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_callback_that_raises(caplog: pytest.LogCaptureFixture, error: type[BaseException]) -> None:
    """A callback that raises is logged with its traceback, event and thread."""

    def fail(event: Event) -> None:
        raise error("oops")

    gpt.on(RunCompleted, fail)
    deliver(Sender(), COMPLETED)
    (record,) = caplog.records
    assert (record.name, record.levelno) == (
        "gpt_agent_sync.listening.subscriptions",
        logging.ERROR,
    )
    assert record.getMessage() == "a callback raised on RunCompleted of thread t"
    assert record.exc_info is not None
    assert record.exc_info[0] is error


def test_callbacks_after_one_that_raises() -> None:
    """The callbacks after one that raises are still called."""
    recorder = EventRecorder()

    def fail(event: Event) -> None:
        raise ValueError("oops")

    gpt.on(RunCompleted, fail)
    gpt.on(RunCompleted, recorder)
    deliver(Sender(), COMPLETED)
    assert recorder.events == [COMPLETED]


def test_callback_that_closes_itself() -> None:
    """A callback may close its own subscription, and the others are still called."""
    recorder = EventRecorder()
    subscriptions: list[Subscription] = []

    def once(event: Event) -> None:
        recorder(event)
        subscriptions[0].close()

    subscriptions.append(gpt.on(RunCompleted, once))
    gpt.on(RunCompleted, recorder)
    for _ in range(2):
        deliver(Sender(), COMPLETED)
    assert len(recorder.events) == 3


def test_callback_that_closes_a_later_one() -> None:
    """A subscription that an earlier callback closes is not called any more."""
    recorder = EventRecorder()
    later: list[Subscription] = []
    gpt.on(RunCompleted, lambda event: later[0].close())
    later.append(gpt.on(RunCompleted, recorder))
    deliver(Sender(), COMPLETED)
    assert not recorder.events


def test_callback_that_subscribes() -> None:
    """A callback may subscribe another one, which receives the next event."""
    recorder = EventRecorder()
    gpt.on(RunCompleted, lambda event: gpt.on(AgentStopped, recorder))
    deliver(Sender(), COMPLETED)
    deliver(Sender(), STOPPED)
    assert recorder.events == [STOPPED]


def run_at_once(*works: Callable[[], None]) -> None:
    """Run each on its own thread, all begun together, and raise what one of them raised."""
    barrier = threading.Barrier(len(works))
    errors: list[BaseException] = []

    def run(work: Callable[[], None]) -> None:
        try:
            barrier.wait(10)
            work()
        except BaseException as exc:
            errors.append(exc)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for worker in threads:
        worker.start()
    for worker in threads:
        worker.join(30)
    assert not any(worker.is_alive() for worker in threads)
    if errors:
        raise errors[0]


def test_many_threads_subscribe_and_close() -> None:
    """Threads may subscribe, close and deliver at once, and nothing is left behind."""

    def churn() -> None:
        agent = Sender()
        for _ in range(60):
            with gpt.on(Event, lambda event: None):
                deliver(agent, COMPLETED)

    run_at_once(*[churn] * 8)
    assert receivers() == 0


def test_many_threads_subscribe() -> None:
    """Of subscriptions made by many threads at once, none is lost."""
    recorder = EventRecorder()

    def subscribe() -> None:
        for _ in range(50):
            gpt.on(RunCompleted, recorder)

    run_at_once(*[subscribe] * 8)
    deliver(Sender(), COMPLETED)
    assert len(recorder.events) == 400


def test_delivery_while_others_subscribe() -> None:
    """A receiver that stays connected receives every event while others come and go."""
    recorder = EventRecorder()
    gpt.on(RunCompleted, recorder)

    def send() -> None:
        agent = Sender()
        for _ in range(200):
            deliver(agent, COMPLETED)

    def churn() -> None:
        for _ in range(200):
            gpt.on(RunCompleted, lambda event: None).close()

    run_at_once(send, send, churn, churn)
    assert len(recorder.events) == 400


def test_closing_from_many_threads() -> None:
    """Many threads may close one subscription at once."""
    subscription = gpt.on(Event, print)
    run_at_once(*[subscription.close] * 8)
    assert receivers() == 0


def test_no_lock_is_held_while_receivers_run() -> None:
    """Another thread can subscribe to an event while a callback of it runs."""
    done = threading.Event()

    in_time: list[bool] = []

    def subscribe() -> None:
        gpt.on(RunCompleted, print)
        done.set()

    def callback(event: Event) -> None:
        threading.Thread(target=subscribe).start()
        in_time.append(done.wait(10))

    gpt.on(RunCompleted, callback)
    deliver(Sender(), COMPLETED)
    assert in_time == [True]


def test_order_of_receivers() -> None:
    """Callbacks are called in the order in which they were subscribed."""
    order: list[int] = []
    for number in range(20):
        gpt.on(RunCompleted, numbered(order, number))
    deliver(Sender(), COMPLETED)
    assert order == list(range(20))


def test_order_over_senders() -> None:
    """Receivers of the signal come before the agent's own, each in their order."""
    order: list[int] = []
    own = [
        Subscription(RunCompleted, numbered(order, number), lambda gone: None)
        for number in (0, 2, 4)
    ]
    for number in (1, 3, 5):
        gpt.on(RunCompleted, numbered(order, number))
    deliver(Sender(), COMPLETED, own)
    assert order == [1, 3, 5, 0, 2, 4]
