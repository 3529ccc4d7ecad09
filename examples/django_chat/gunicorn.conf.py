"""gunicorn's settings: ``gunicorn --config examples/django_chat/gunicorn.conf.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

chdir = str(Path(__file__).parent.parent)
wsgi_app = "django_chat.wsgi:application"
workers = 4
# Each open page holds a thread of its worker. Workers without threads ("sync") would be held whole.
worker_class = "gthread"
threads = 50


def post_worker_init(worker: Any) -> None:
    """Have open event streams end when the worker is told to stop, which it would wait for."""
    from gpt_agent_sync.contrib.web.stopping import end_event_streams_at_stop

    end_event_streams_at_stop()
