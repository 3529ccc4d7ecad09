"""The assistant: its tools, and the agent of a thread. The web application and tasks share it."""

from __future__ import annotations

import functools
import os
from pathlib import Path

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
        """The assistant's id at the service: one for all processes, made by the first."""
        return self._accounts.fact(f"assistant {self._model}", self._create)

    def _create(self) -> str:
        return gpt.create_assistant(
            model=self._model, name="notes", instructions=INSTRUCTIONS, tools=self.tools
        )

    def connect(self, thread_id: str) -> gpt.Agent:
        """Return the agent of a thread."""
        return gpt.connect(thread_id, self.assistant_id, tools=self.tools)


@functools.cache
def get_accounts() -> Accounts:
    """Return the database that ``CHAT_DATABASE`` names."""
    return Accounts(Path(os.environ.get("CHAT_DATABASE", "flask_chat.db")))


@functools.cache
def get_assistant() -> NotesAssistant:
    """Return the assistant of this process; ``CHAT_MODEL`` names its model."""
    return NotesAssistant(get_accounts(), os.environ.get("CHAT_MODEL", "demo"))
