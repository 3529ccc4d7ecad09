"""The application as a task of Celery."""

from __future__ import annotations

from typing import Any

from tests.processes import app
from tests.processes.broker import queue


@queue.task(name="answer")  # type: ignore[untyped-decorator]
def answer(number: int) -> dict[str, Any]:
    """Answer a number."""
    return app.answer(number)
