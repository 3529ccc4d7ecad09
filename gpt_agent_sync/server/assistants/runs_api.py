"""The routes of runs."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from gpt_agent_sync.server.assistants import bodies, lifecycle
from gpt_agent_sync.server.assistants.assistants_api import require_assistant
from gpt_agent_sync.server.assistants.errors import not_found, run_active
from gpt_agent_sync.server.assistants.run_events import DONE, run_event
from gpt_agent_sync.server.assistants.run_work import (
    RunWork,
    end_if_expired,
    finish_cancelling,
    live_run,
)
from gpt_agent_sync.server.assistants.threads_api import (
    insert_message,
    insert_thread,
    require_thread,
)
from gpt_agent_sync.server.bodies import MetadataFields, read_body, read_query
from gpt_agent_sync.server.collection import Connection, Object, new_id
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.listing import list_page, require, shown, with_poll_hint
from gpt_agent_sync.server.streams import StreamEvent, stream_response


def register(blueprint: Blueprint, engine: Engine) -> None:
    """Add the routes to ``blueprint``."""
    _register_creation(blueprint, engine)
    _register_runs(blueprint, engine)
    _register_actions(blueprint, engine)


def _register_creation(blueprint: Blueprint, engine: Engine) -> None:
    storage = engine.storage

    @blueprint.post("/threads/runs")
    def create_thread_and_run() -> Response:
        fields = read_body(request.get_data(), bodies.ThreadAndRunFields)
        with storage.write() as connection:
            thread = insert_thread(engine, connection, fields.thread or bodies.ThreadFields())
            run = _insert_run(engine, connection, thread["id"], fields)
        return _start(
            engine,
            run,
            fields.stream,
            StreamEvent("thread.created", thread),
            run_event(run, "created"),
        )

    @blueprint.post("/threads/<thread_id>/runs")
    def create_run(thread_id: str) -> Response:
        fields = read_body(request.get_data(), bodies.RunFields)
        with storage.write() as connection:
            require_thread(engine, connection, thread_id, lock=True)
            # The thread is locked, so that of two runs started at once one finds the other.
            live = live_run(engine, connection, thread_id)
            if live is not None:
                raise run_active(thread_id, live["id"])
            run = _insert_run(engine, connection, thread_id, fields)
        return _start(engine, run, fields.stream, run_event(run, "created"))


def _register_runs(blueprint: Blueprint, engine: Engine) -> None:
    storage = engine.storage

    @blueprint.get("/threads/<thread_id>/runs")
    def list_runs(thread_id: str) -> Response:
        query = read_query(request.args)
        # A list writes, too: a run past its time is ended before it is shown.
        with storage.write() as connection:
            require_thread(engine, connection, thread_id)
            live_run(engine, connection, thread_id)
            return list_page(
                storage.runs, connection, query, partial(not_found, "run"), thread_id, show=shown
            )

    @blueprint.get("/threads/<thread_id>/runs/<run_id>")
    def get_run(thread_id: str, run_id: str) -> Response:
        with storage.read() as connection:
            run = _require_run(engine, connection, thread_id, run_id)
        # Polls are many, and a writer is alone on the database: most of them only read.
        if lifecycle.is_expired(run, engine.clock()):
            with storage.write() as connection:
                run = _require_run(engine, connection, thread_id, run_id, lock=True)
                run = end_if_expired(engine, connection, run)
        return _run_response(run)

    @blueprint.post("/threads/<thread_id>/runs/<run_id>")
    def update_run(thread_id: str, run_id: str) -> Response:
        fields = read_body(request.get_data(), MetadataFields)
        with storage.write() as connection:
            run = _require_run(engine, connection, thread_id, run_id, lock=True)
            run = end_if_expired(engine, connection, run)
            if fields.metadata is not None:
                run = {**run, "metadata": fields.metadata}
                storage.runs.update(connection, run)
        return _run_response(run)


def _register_actions(blueprint: Blueprint, engine: Engine) -> None:
    storage = engine.storage

    @blueprint.post("/threads/<thread_id>/runs/<run_id>/submit_tool_outputs")
    def submit_tool_outputs(thread_id: str, run_id: str) -> Response:
        fields = read_body(request.get_data(), bodies.OutputsFields)
        outputs = {output.tool_call_id: output.output for output in fields.tool_outputs}
        with storage.write() as connection:
            run = _require_run(engine, connection, thread_id, run_id, lock=True)
            run = end_if_expired(engine, connection, run)
            expired = run["status"] == "expired"
            if not expired:
                got = [output.tool_call_id for output in fields.tool_outputs]
                run = lifecycle.answered(run, outputs, got)
                storage.runs.update(connection, run)
        # Raised outside of the transaction, which it would undo, and with it that the run expired.
        if expired:
            lifecycle.answered(run, outputs, outputs)
        return _start(engine, run, fields.stream)

    @blueprint.post("/threads/<thread_id>/runs/<run_id>/cancel")
    def cancel_run(thread_id: str, run_id: str) -> Response:
        with storage.write() as connection:
            run = _require_run(engine, connection, thread_id, run_id, lock=True)
            run = lifecycle.cancelling(end_if_expired(engine, connection, run), engine.clock())
            storage.runs.update(connection, run)
        # The answer shows the run cancelling, as the real wire's does. It is cancelled right after,
        # although the model still answers: there is nothing to wait for.
        events = [run_event(run)]
        if run["status"] == "cancelling":
            cancelled = finish_cancelling(engine, run_id)
            events.extend([] if cancelled is None else [run_event(cancelled)])
        stream = engine.streams.get(run_id)
        if stream is not None:
            stream.publish(*events, DONE, last=True)
        return _run_response(run)


def _start(engine: Engine, run: Object, streamed: bool | None, *events: StreamEvent) -> Response:
    """Start the work of a queued run, and return its stream if it is to be streamed, else it."""
    stream = engine.streams.open(run["id"]) if streamed else None
    if stream is not None:
        stream.publish(*events, run_event(run))
    engine.start(RunWork(engine, run["id"], stream))
    return _run_response(run) if stream is None else stream_response(stream)


def _require_run(
    engine: Engine, connection: Connection, thread_id: str, run_id: str, *, lock: bool = False
) -> Object:
    require_thread(engine, connection, thread_id)
    run = engine.storage.runs.get(connection, run_id, thread_id, lock=lock)
    return require(run, not_found("run", run_id))


def _run_response(run: Object) -> Response:
    return with_poll_hint(run, is_live=lifecycle.is_live(run))


def _insert_run(
    engine: Engine, connection: Connection, thread_id: str, fields: bodies.RunFields
) -> Object:
    """Insert a new queued run, with its additional messages, and return it.

    Raises:
        WireError: If its assistant or model is not there.
    """
    bodies.check_tools(fields.tools)
    assistant = require_assistant(engine, connection, fields.assistant_id)
    for message in fields.additional_messages or ():
        insert_message(engine, connection, thread_id, message)
    now = int(engine.clock())
    run = {
        "id": new_id("run"),
        "object": "thread.run",
        "created_at": now,
        "thread_id": thread_id,
        "status": "queued",
        "required_action": None,
        "last_error": None,
        # In whole seconds, as on the wire; a part of one counts as one.
        "expires_at": now + math.ceil(engine.run_seconds),
        "started_at": None,
        "cancelled_at": None,
        "failed_at": None,
        "completed_at": None,
        "incomplete_details": None,
        "usage": None,
        **_run_options(engine, assistant, fields),
        lifecycle.ROUNDS: [],
        # Counted over all rounds; clients see it in "usage" when the run is final.
        "_usage": {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0},
    }
    engine.storage.runs.insert(connection, run, thread_id)
    return run


def _run_options(engine: Engine, assistant: Object, fields: bodies.RunFields) -> dict[str, Any]:
    """Return the options of a run: its own where it has one, else the assistant's."""
    instructions = assistant["instructions"] if fields.instructions is None else fields.instructions
    if fields.additional_instructions:
        instructions = "\n".join(filter(None, [instructions, fields.additional_instructions]))

    def chosen(name: str) -> Any:
        own = getattr(fields, name)
        return assistant[name] if own is None else own

    return {
        "assistant_id": assistant["id"],
        "model": engine.resolve_model(fields.model or assistant["model"]),
        "instructions": instructions or "",
        "tools": chosen("tools"),
        "metadata": fields.metadata or {},
        "temperature": chosen("temperature"),
        "top_p": chosen("top_p"),
        "response_format": chosen("response_format"),
        "reasoning_effort": chosen("reasoning_effort"),
        "max_prompt_tokens": fields.max_prompt_tokens,
        "max_completion_tokens": fields.max_completion_tokens,
        "truncation_strategy": fields.truncation_strategy
        or {"type": "auto", "last_messages": None},
        "tool_choice": fields.tool_choice or "auto",
        "parallel_tool_calls": fields.parallel_tool_calls,
    }
