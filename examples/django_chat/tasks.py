"""Celery: turns are run by workers, and pages of any web process show them.

Run a worker with ``celery --workdir examples --app django_chat.tasks worker --pool threads``. It
needs a backplane, ``GPT_AGENT_BACKPLANE``: what the worker is told goes to the pages over it.
"""

from __future__ import annotations

import contextlib
import os

import django
from celery import Celery

import gpt_agent_sync as gpt

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_chat.settings")
django.setup()

app = Celery("django_chat", broker=os.environ.get("CHAT_BROKER", "redis://127.0.0.1:6379/1"))
# A task that is told twice would ask twice. That it has begun is enough: the turn of a worker that
# dies is taken over by any other process that has the thread's agent.
app.conf.task_acks_late = False
app.conf.broker_connection_retry_on_startup = True


@app.task(name="django_chat.ask", ignore_result=True)  # type: ignore[untyped-decorator]
def ask(thread_id: str, content: str) -> None:
    """Add a user's message when no run is in progress, and wait for the end of its turn."""
    from django_chat.chat import connect

    # How its run ends is told to the page as an event.
    with contextlib.suppress(gpt.RunFailedError):
        connect(thread_id).ask(content, when_busy="wait", timeout=600)
