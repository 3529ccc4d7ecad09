"""The server as a Flask application, or as a blueprint for one."""

from __future__ import annotations

import hmac
import time
from collections.abc import Callable, Sequence
from typing import Any

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from gpt_agent_sync.secret import Secret, conceal
from gpt_agent_sync.server.assistants import assistants_api, runs_api, threads_api
from gpt_agent_sync.server.collection import new_id
from gpt_agent_sync.server.engine import RUN_SECONDS, Engine
from gpt_agent_sync.server.errors import WireError
from gpt_agent_sync.server.models.base import Model
from gpt_agent_sync.server.models.demo import DemoModel
from gpt_agent_sync.server.models.upstream import UpstreamModel
from gpt_agent_sync.server.responses import conversations_api, responses_api
from gpt_agent_sync.server.storage import Storage
from gpt_agent_sync.server.strict_json import respond

ROUTES = (assistants_api, threads_api, runs_api, conversations_api, responses_api)


def make_engine(
    location: str,
    *,
    model: str = "demo",
    upstream: str | None = None,
    upstream_api_key: str | Secret | None = None,
    models: Sequence[Model] = (),
    run_seconds: float = RUN_SECONDS,
    clock: Callable[[], float] = time.time,
) -> Engine:
    """Return an engine over a storage of its own.

    Args:
        location: A SQLite file's path, ``":memory:"``, or a database URL.
        model: What the model name ``"default"`` stands for.
        upstream: Base URL of a ``/chat/completions`` for all other model names.
        upstream_api_key: The key for it.
        models: Further models, asked first.
        run_seconds: How many seconds a run may take.
        clock: Returns Unix time.
    """
    # Rebound before anything can fail: error trackers keep the variables of a frame.
    upstream_api_key = conceal(upstream_api_key)
    chosen: list[Model] = [*models, DemoModel()]
    # Last: it serves every name.
    if upstream is not None:
        chosen.append(UpstreamModel(upstream, upstream_api_key))
    return Engine(
        Storage(location), chosen, default_model=model, run_seconds=run_seconds, clock=clock
    )


def create_blueprint(engine: Engine, *, api_key: str | Secret | None = None) -> Blueprint:
    """Return the blueprint with both wires' routes, to be mounted below ``/v1``.

    Args:
        engine: What answers.
        api_key: The bearer key that is asked for; ``None`` asks for none.
    """
    api_key = conceal(api_key)
    key: Secret | None = conceal(api_key)
    blueprint = Blueprint("gpt_agent_server", __name__)
    for routes in ROUTES:
        routes.register(blueprint, engine)

    @blueprint.before_request
    def check_key() -> None:
        if key is not None and not _has_key(key):
            raise WireError(401, "Incorrect API key provided.", code="invalid_api_key")

    @blueprint.after_request
    def name_request(response: Response) -> Response:
        # OpenAI's clients show it in their errors.
        response.headers["x-request-id"] = new_id("req")
        return response

    # On the blueprint, so that refusals are the wire's in an application that mounts it, too.
    blueprint.register_error_handler(WireError, _refusal)
    return blueprint


def _has_key(key: Secret) -> bool:
    """Return whether the request has the key; a frame of its own, which no traceback keeps."""
    given, wanted = request.headers.get("Authorization", ""), f"Bearer {key.reveal()}"
    # Compared in constant time, so that answers do not tell how much of a guess was right.
    return hmac.compare_digest(given.encode(), wanted.encode())


def create_app(engine: Engine, *, api_key: str | Secret | None = None) -> Flask:
    """Return an application with both wires below ``/v1``; arguments as for the blueprint."""
    api_key = conceal(api_key)
    app = Flask("gpt_agent_server", static_folder=None)
    app.register_blueprint(create_blueprint(engine, api_key=api_key), url_prefix="/v1")
    app.register_error_handler(HTTPException, _http_error)
    return app


def _refusal(error: WireError) -> Response:
    answer = respond(error.body())
    answer.status_code = error.status
    return answer


def _http_error(error: HTTPException) -> Response:
    # Routes that do not exist are refused in the wire's form, too: clients read no HTML.
    message = f"Invalid URL ({request.method} {request.path})"
    status: Any = error.code or 500
    text = message if status in (404, 405) else str(error.description)
    kind = "invalid_request_error" if status < 500 else "server_error"
    return _refusal(WireError(status, text, kind=kind))
