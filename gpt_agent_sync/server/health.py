"""The routes for those who look after a server: ``/healthz``, ``/readyz`` and ``/metrics``."""

from __future__ import annotations

import sqlalchemy as sa
from flask import Flask, Response

from gpt_agent_sync.secret import Secret
from gpt_agent_sync.server.admission import ANY, Admission
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.metrics import metrics
from gpt_agent_sync.server.storage.database import DatabaseError, StorageClosedError
from gpt_agent_sync.server.strict_json import respond


def register_health(app: Flask, engine: Engine, api_key: Secret | None) -> None:
    """Add the routes to ``app``.

    Args:
        app: The application.
        engine: What it is about.
        api_key: The key that ``/metrics`` asks for; the other two are open, and say nothing.
    """
    admission = Admission(api_key, {ANY})
    metrics.begin()

    @app.get("/healthz")
    def is_alive() -> Response:
        return respond({"status": "ok"})

    @app.get("/readyz")
    def is_ready() -> tuple[Response, int]:
        try:
            engine.admit()
            with engine.storage.read() as connection:
                connection.execute(sa.select(1))
        except StorageClosedError:
            return respond({"status": "stopping"}), 503
        except DatabaseError:
            return respond({"status": "the database cannot be reached"}), 503
        return respond({"status": "ok"}), 200

    @app.get("/metrics")
    def get_metrics() -> Response:
        try:
            admission.check()
        except WireError as exc:
            answer = respond(exc.body())
            answer.status_code = exc.status
            return answer
        told = metrics.exposed()
        if told is None:
            answer = respond(
                WireError(
                    501, "Metrics need prometheus-client: install 'gpt_agent_sync[serve]'."
                ).body()
            )
            answer.status_code = 501
            return answer
        text, kind = told
        return Response(text, content_type=kind)
