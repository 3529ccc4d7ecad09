"""The assistant with its tools, and the hooks of ``GPT_AGENT``."""

from __future__ import annotations

import functools
import os

from django.http import HttpRequest

import gpt_agent_sync as gpt
from django_chat.models import Assistant, Note, Thread
from gpt_agent_sync.contrib.django.database import closing_connections

INSTRUCTIONS = "You keep the user's notes. Use your tools for that, and be brief."

tools = gpt.Toolbox()


@tools.tool
@closing_connections
def add_note(text: str, context: gpt.ToolContext) -> str:
    """Keep a note for the user.

    Args:
        text: The note.
        context: The call.
    """
    thread = Thread.objects.get(pk=context.thread_id)
    Note.objects.create(user_id=thread.user_id, text=text)
    return "kept"


@tools.tool
@closing_connections
def list_notes(context: gpt.ToolContext) -> list[str]:
    """List the notes that were kept for the user."""
    thread = Thread.objects.get(pk=context.thread_id)
    notes = Note.objects.filter(user_id=thread.user_id).order_by("pk")
    return list(notes.values_list("text", flat=True))


@functools.cache
def assistant_id() -> str:
    """Return the assistant's id: the same in all processes.

    OpenAI's Responses keep no assistants: each process has the same one, under the same name. Other
    services keep them, and the first process makes it.
    """
    model = os.environ.get("CHAT_MODEL", "demo")
    definition = {"model": model, "instructions": INSTRUCTIONS, "tools": tools}
    if os.environ.get("GPT_AGENT_SERVICE") == "responses":
        service = gpt.ResponsesService()
        gpt.configure(service=service)
        return service.register_assistant("notes", **definition)
    known = Assistant.objects.filter(model=model).first()
    if known is None:
        made = gpt.create_assistant(name="notes", **definition)
        known, _ = Assistant.objects.get_or_create(model=model, defaults={"assistant_id": made})
    return known.assistant_id


def connect(thread_id: str) -> gpt.Agent:
    """Return the agent of a thread."""
    return gpt.connect(thread_id, assistant_id(), tools=tools)


def may_use(request: HttpRequest, thread_id: str | None) -> bool:
    """Let users see their own threads."""
    if not request.user.is_authenticated:
        return False
    return thread_id is None or Thread.objects.filter(pk=thread_id, user=request.user).exists()


def create_thread(request: HttpRequest) -> str:
    """Create a thread, and note whose it is."""
    thread_id = gpt.create_thread()
    Thread.objects.create(pk=thread_id, user=request.user)
    return thread_id


def queue_message(request: HttpRequest, thread_id: str, content: str) -> None:
    """Have a Celery worker run the turn."""
    from django_chat import tasks

    tasks.ask.delay(thread_id, content)
