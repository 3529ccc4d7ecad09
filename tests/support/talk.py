"""An agent with a service, an assistant and a recorder, ready to talk."""

from __future__ import annotations

from typing import Any

import gpt_agent_sync as gpt
from gpt_agent_sync.services.base import Service
from gpt_agent_sync.testing import EventRecorder

PATIENCE = 20.0
"""Seconds to wait at most for what must come."""


class Talk:
    """An agent on a new thread, and its events."""

    def __init__(self, service: Service, **options: Any) -> None:
        self.service = service
        self.recorder = EventRecorder()
        self.thread_id = gpt.create_thread(service=service)
        self.assistant_id = gpt.create_assistant(model="any", service=service)
        self.agent = self.connect(**options)

    def connect(self, **options: Any) -> gpt.Agent:
        """Connect to the thread."""
        return gpt.connect(
            self.thread_id,
            self.assistant_id,
            service=self.service,
            on_event=self.recorder,
            **options,
        )

    def say(self, text: str = "hello", **options: Any) -> None:
        """Add a message and wait for the end of its run."""
        self.agent.add_user_message(text, **options)
        self.agent.wait(PATIENCE)

    @property
    def events(self) -> list[gpt.Event]:
        """The events so far, without the text that came in between."""
        told = self.recorder.events
        return [event for event in told if not isinstance(event, gpt.AssistantMessageDelta)]

    @property
    def names(self) -> list[str]:
        """The names of the events so far, without the text that came in between."""
        return [type(event).__name__ for event in self.events]
