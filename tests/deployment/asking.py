"""A WSGI application whose workers ask on one thread, over a backplane: ``?text=`` to its reply."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

import gpt_agent_sync as gpt

PATIENCE = 60.0


def make_service() -> Any:
    """Return the service that the environment names."""
    if os.environ["SERVICE"] == "AssistantsService":
        return gpt.AssistantsService(os.environ["BASE_URL"], "key")
    service = gpt.ResponsesService(os.environ["BASE_URL"], "key")
    service.register_assistant("any", model="any")
    return service


SERVICE = make_service()
gpt.configure(backplane=os.environ["REDIS"])


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Ask, when it is this request's turn."""
    (text,) = parse_qs(environ["QUERY_STRING"])["text"]
    agent = gpt.connect(os.environ["THREAD"], os.environ["ASSISTANT"], service=SERVICE)
    reply = agent.ask(text, when_busy="wait", timeout=PATIENCE)
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps({"pid": os.getpid(), "reply": reply}).encode()]
