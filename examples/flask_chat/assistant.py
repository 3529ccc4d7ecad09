"""The assistant: its tools, and the agent of a thread. The web application and tasks share it."""

from __future__ import annotations

import functools
import os
from pathlib import Path
from typing import Any

import gpt_agent_sync as gpt
from flask_chat.accounts import Accounts

INSTRUCTIONS = "You keep the user's notes. Use your tools for that, and be brief."


class NotesAssistant:
    """An assistant that keeps its users' notes.

    Args:
        accounts: The application's database.
        model: The model's name.
    """

    def __init__(self, accounts: Accounts, model: str) -> None:
        self._accounts = accounts
        self._model = model
        self.tools = gpt.Toolbox([self.add_note, self.list_notes])
        self._registered = register(self._definition())

    def _definition(self) -> dict[str, Any]:
        return {"model": self._model, "instructions": INSTRUCTIONS, "tools": self.tools}

    def _user(self, context: gpt.ToolContext) -> int:
        user_id = self._accounts.owner(context.thread_id)
        if user_id is None:
            raise LookupError("this conversation is nobody's")
        return user_id

    def add_note(self, text: str, context: gpt.ToolContext) -> str:
        """Keep a note for the user.

        Args:
            text: The note.
            context: The call.
        """
        self._accounts.add_note(self._user(context), text)
        return "kept"

    def list_notes(self, context: gpt.ToolContext) -> list[str]:
        """List the notes that were kept for the user."""
        return self._accounts.notes(self._user(context))

    @functools.cached_property
    def assistant_id(self) -> str:
        """The assistant's id: the same in all processes."""
        return self._registered or self._accounts.fact(
            f"assistant {self._model}",
            lambda: gpt.create_assistant(name="notes", **self._definition()),
        )

    def connect(self, thread_id: str) -> gpt.Agent:
        """Return the agent of a thread."""
        return gpt.connect(thread_id, self.assistant_id, tools=self.tools)


def register(definition: dict[str, Any]) -> str | None:
    """Make the assistant known in this process, where that is what the service wants.

    OpenAI's Responses keep no assistants: each process has the same one, under the same name. Other
    services keep them, and the first process makes it.
    """
    if os.environ.get("GPT_AGENT_SERVICE") != "responses":
        return None
    service = gpt.ResponsesService()
    gpt.configure(service=service)
    return service.register_assistant("notes", **definition)


@functools.cache
def get_accounts() -> Accounts:
    """Return the database that ``CHAT_DATABASE`` names."""
    return Accounts(Path(os.environ.get("CHAT_DATABASE", "flask_chat.db")))


@functools.cache
def get_assistant() -> NotesAssistant:
    """Return the assistant of this process; ``CHAT_MODEL`` names its model."""
    return NotesAssistant(get_accounts(), os.environ.get("CHAT_MODEL", "demo"))
