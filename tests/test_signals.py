"""The blinker signals of events: one for each, ordered receivers, safe from many threads."""

from __future__ import annotations

import gc
import re
import weakref
from collections.abc import Iterator

import pytest

import gpt_agent_sync as gpt
from gpt_agent_sync import signals
from gpt_agent_sync.events import EVENT_TYPES, Event, RunCompleted
from gpt_agent_sync.listening.subscriptions import deliver
from gpt_agent_sync.signals import BY_EVENT, EventSignal, signals_of
from gpt_agent_sync.testing import EventRecorder
from tests.support.senders import COMPLETED, Sender, clear_signals, receivers
from tests.test_events import EXAMPLES


@pytest.fixture(autouse=True)
def clean_signals() -> Iterator[None]:
    """Have no receivers before and after each test."""
    clear_signals()
    yield
    clear_signals()


@pytest.mark.parametrize(
    "name",
    [
        "user_message_added",
        "run_started",
        "run_completed",
        "run_failed",
        "run_cancelled",
        "assistant_message_added",
        "assistant_message_delta",
        "tool_call_requested",
        "tool_call_output_recorded",
        "tool_call_failed",
        "tool_output_submission_failed",
        "rate_limited",
        "rate_limit_retries_exhausted",
        "quota_exceeded",
        "agent_stopped",
    ],
)
def test_signal_of_an_event(name: str) -> None:
    """Each event has the signal of its name in snake case."""
    event_class = EVENT_TYPES[name.title().replace("_", "")]
    assert getattr(signals, name) is BY_EVENT[event_class]


def test_every_event_has_its_own_signal() -> None:
    """There are as many signals as events."""
    assert list(BY_EVENT) == list(EVENT_TYPES.values())
    assert len(set(map(id, BY_EVENT.values()))) == len(EVENT_TYPES)


def test_signals_document_what_they_are_for() -> None:
    """A signal's docstring names its event."""
    assert signals.run_completed.__doc__ == "Sent with each ``RunCompleted``."


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: str(type(event).__name__))
def test_receiver_is_called_as_in_flask(event: Event) -> None:
    """A receiver is called with the agent, and the event by name."""
    agent = Sender()
    received: list[object] = []

    def receiver(sender: object, *, event: Event) -> None:
        received.append((sender, event))

    with BY_EVENT[type(event)].connected_to(receiver):
        deliver(agent, event)
    assert received == [(agent, event)]


def test_receiver_of_one_sender() -> None:
    """A receiver connected for one agent is not called for another."""
    first, second = Sender(), Sender()
    received: list[object] = []

    def receiver(sender: object, *, event: Event) -> None:
        received.append(sender)

    signals.run_completed.connect(receiver, sender=first)
    deliver(first, COMPLETED)
    deliver(second, COMPLETED)
    assert received == [first]


def test_send() -> None:
    """``send`` works as with any blinker signal."""

    def receiver(sender: object, **values: object) -> object:
        return values

    signals.run_completed.connect(receiver)
    assert signals.run_completed.send(None, event=COMPLETED) == [(receiver, {"event": COMPLETED})]


def test_weak_receivers_go() -> None:
    """A receiver that is held weakly is disconnected when nobody else holds it."""

    def receiver(sender: object, **values: object) -> None: ...

    signals.run_completed.connect(receiver)
    del receiver
    gc.collect()
    assert receivers() == 0


def test_disconnect() -> None:
    """A receiver that is disconnected is called no more."""
    recorder: list[object] = []

    def receiver(sender: object, **values: object) -> None:
        recorder.append(sender)

    signals.run_completed.connect(receiver)
    signals.run_completed.disconnect(receiver)
    deliver(Sender(), COMPLETED)
    assert not recorder


def test_muted_signal() -> None:
    """A muted signal tells nobody."""
    recorder = EventRecorder()
    gpt.on(RunCompleted, recorder)
    with signals.run_completed.muted():
        deliver(Sender(), COMPLETED)
    assert not recorder.events


def test_signals_of_an_event() -> None:
    """A concrete event has one signal."""
    assert list(signals_of(RunCompleted)) == [signals.run_completed]


def test_senders_are_not_kept() -> None:
    """A receiver connected to one agent's events does not keep the agent alive."""
    sender = Sender()
    reference = weakref.ref(sender)
    signals.run_completed.connect(print, sender=sender, weak=False)
    del sender
    gc.collect()
    assert reference() is None


def test_signals_after_a_fork() -> None:
    """The locks of the signals are free in a child, even if one was held at the fork."""
    signal = signals.run_completed
    before = signal._lock
    with before:
        signals._after_fork()
    assert signal._lock is not before


def test_signal_is_public_by_its_name() -> None:
    """The module of the signals is reached from the package, as Flask's are."""
    assert isinstance(gpt.signals.run_completed, EventSignal)


def test_names_are_snake_case() -> None:
    """Every signal's name is that of its event, word by word."""
    names = {name for name, value in vars(signals).items() if isinstance(value, EventSignal)}
    words = {re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower() for name in EVENT_TYPES}
    assert names == words
