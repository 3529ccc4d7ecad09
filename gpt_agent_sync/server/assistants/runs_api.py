"""The routes of runs."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

from flask import Blueprint, Response, request

from gpt_agent_sync.server.assistants import bodies, lifecycle, run_steps
from gpt_agent_sync.server.assistants.assistants_api import require_assistant
from gpt_agent_sync.server.assistants.errors import not_found, run_active
from gpt_agent_sync.server.assistants.run_events import run_event, step_event
from gpt_agent_sync.server.assistants.run_work import (
    RunWork,
    end_calls_step,
    end_if_expired,
    live_run,
)
from gpt_agent_sync.server.assistants.threads_api import (
    insert_thread,
    new_message,
    new_thread,
    require_thread,
)
from gpt_agent_sync.server.bodies import MetadataFields, read_body, read_query
from gpt_agent_sync.server.engine import Engine
from gpt_agent_sync.server.listing import list_page, require, shown, with_poll_hint
from gpt_agent_sync.server.storage.collection import Connection, Object, new_id
from gpt_agent_sync.server.streams import Stream, StreamEvent, stream_response
from gpt_agent_sync.server.strict_json import respond
from gpt_agent_sync.server.work import Ending


def register(blueprint: Blueprint, engine: Engine) -> None:
    """Add the routes to ``blueprint``."""
    _register_creation(blueprint, engine)
    _register_runs(blueprint, engine)
    _register_steps(blueprint, engine)
    _register_actions(blueprint, engine)


def _register_creation(blueprint: Blueprint, engine: Engine) -> None:
    storage = engine.storage

    @blueprint.post("/threads/runs")
    def create_thread_and_run() -> Response:
        fields = read_body(request.get_data(), bodies.ThreadAndRunFields)
        engine.admit()
        bodies.check_resources(fields.tool_resources)
        thread, messages = new_thread(engine, fields.thread or bodies.ThreadFields())
        added = _additional(engine, thread["id"], fields)
        with storage.write() as connection:
            insert_thread(engine, connection, thread, [*messages, *added])
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
        engine.admit()
        added = _additional(engine, thread_id, fields)
        with storage.write() as connection:
            require_thread(engine, connection, thread_id, lock=True)
            # The thread is locked, so that of two runs started at once one finds the other.
            live = live_run(engine, connection, thread_id)
            if live is not None:
                raise run_active(thread_id, live["id"])
            storage.messages.insert_all(connection, added, thread_id)
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
        return _run_response(engine, run)

    @blueprint.post("/threads/<thread_id>/runs/<run_id>")
    def update_run(thread_id: str, run_id: str) -> Response:
        fields = read_body(request.get_data(), MetadataFields)
        with storage.write() as connection:
            run = _require_run(engine, connection, thread_id, run_id, lock=True)
            run = end_if_expired(engine, connection, run)
            if fields.metadata is not None:
                run = {**run, "metadata": fields.metadata}
                storage.runs.update(connection, run)
        return _run_response(engine, run)


def _register_steps(blueprint: Blueprint, engine: Engine) -> None:
    storage = engine.storage

    @blueprint.get("/threads/<thread_id>/runs/<run_id>/steps")
    def list_steps(thread_id: str, run_id: str) -> Response:
        query = read_query(request.args)
        with storage.read() as connection:
            _require_run(engine, connection, thread_id, run_id)
            not_there = partial(not_found, "run step")
            return list_page(storage.steps, connection, query, not_there, thread_id, run_id=run_id)

    @blueprint.get("/threads/<thread_id>/runs/<run_id>/steps/<step_id>")
    def get_step(thread_id: str, run_id: str, step_id: str) -> Response:
        with storage.read() as connection:
            _require_run(engine, connection, thread_id, run_id)
            step = storage.steps.get(connection, step_id, thread_id)
            # One of another run is none of this.
            found = step if step is not None and step["run_id"] == run_id else None
            return respond(require(found, not_found("run step", step_id)))


def _register_actions(blueprint: Blueprint, engine: Engine) -> None:
    storage = engine.storage

    @blueprint.post("/threads/<thread_id>/runs/<run_id>/submit_tool_outputs")
    def submit_tool_outputs(thread_id: str, run_id: str) -> Response:
        fields = read_body(request.get_data(), bodies.OutputsFields)
        outputs = {output.tool_call_id: output.output for output in fields.tool_outputs}
        engine.admit()
        events: list[StreamEvent] = []
        with storage.write() as connection:
            run = _require_run(engine, connection, thread_id, run_id, lock=True)
            run = end_if_expired(engine, connection, run)
            expired = run["status"] == "expired"
            if not expired:
                got = [output.tool_call_id for output in fields.tool_outputs]
                run = engine.own(lifecycle.answered(run, outputs, got, engine.clock()))
                storage.runs.update(connection, run)
                events = _complete_calls_step(engine, connection, run)
        # Raised outside of the transaction, which it would undo, and with it that the run expired.
        if expired:
            lifecycle.answered(run, outputs, outputs, engine.clock())
        return _start(engine, run, fields.stream, *events)

    @blueprint.post("/threads/<thread_id>/runs/<run_id>/cancel")
    def cancel_run(thread_id: str, run_id: str) -> Response:
        with storage.write() as connection:
            run = _require_run(engine, connection, thread_id, run_id, lock=True)
            run = lifecycle.cancelling(end_if_expired(engine, connection, run), engine.clock())
            storage.runs.update(connection, run)
            if run["status"] == "cancelled":
                end_calls_step(engine, connection, run)
        # The answer shows the run cancelling, as the real wire's does. It is cancelled right after,
        # although the model still answers: there is nothing to wait for. Where another process has
        # it, that one does the same when it sees the status.
        engine.interrupt(run_id, Ending.CANCELLED)
        return _run_response(engine, run)


def _start(engine: Engine, run: Object, streamed: bool | None, *events: StreamEvent) -> Response:
    """Start the work of a queued run, and return its stream if it is to be streamed, else it."""
    stream = Stream(keep=False) if streamed else None
    if stream is not None:
        stream.publish(*events, run_event(run))
    engine.start(RunWork(engine, run, stream))
    return _run_response(engine, run) if stream is None else stream_response(stream)


def _complete_calls_step(engine: Engine, connection: Connection, run: Object) -> list[StreamEvent]:
    """Complete the step of the calls that were answered, and return the events of that."""
    answered = run[lifecycle.ROUNDS][-1]
    # A run of a database that an older version made has none.
    step_id = answered.get("step")
    step = engine.storage.steps.get(connection, step_id) if step_id else None
    if step is None:
        return []
    now = int(engine.clock())
    step = run_steps.answered(step, answered["calls"], answered["outputs"], now)
    engine.storage.steps.update(connection, step)
    return [step_event(step)]


def _require_run(
    engine: Engine, connection: Connection, thread_id: str, run_id: str, *, lock: bool = False
) -> Object:
    require_thread(engine, connection, thread_id)
    run = engine.storage.runs.get(connection, run_id, thread_id, lock=lock)
    return require(run, not_found("run", run_id))


def _run_response(engine: Engine, run: Object) -> Response:
    age = engine.clock() - float(run.get(lifecycle.QUEUED_AT) or run["created_at"])
    return with_poll_hint(run, age if lifecycle.is_live(run) else None)


def _additional(engine: Engine, thread_id: str, fields: bodies.RunFields) -> list[Object]:
    """Return the messages that a run adds to its thread, its fields checked.

    Raises:
        WireError: If one is not of the wire, or asks for what this server does not have.
    """
    bodies.check_run(fields)
    return [new_message(engine, thread_id, each) for each in fields.additional_messages or ()]


def _insert_run(
    engine: Engine, connection: Connection, thread_id: str, fields: bodies.RunFields
) -> Object:
    """Insert a new queued run, and return it.

    Raises:
        WireError: If its assistant or model is not there.
    """
    assistant = require_assistant(engine, connection, fields.assistant_id)
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
        lifecycle.QUEUED_AT: engine.clock(),
        # Counted over all rounds; clients see it in "usage" when the run is final.
        "_usage": dict(run_steps.NO_USAGE),
    }
    run = engine.own(run)
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
