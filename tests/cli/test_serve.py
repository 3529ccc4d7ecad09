"""``gpt-agent serve``: started, asked, and stopped, as a program."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests
from click.testing import CliRunner

from gpt_agent_sync.cli.commands import gpt_agent
from gpt_agent_sync.server.serving import (
    ServeError,
    ServeOptions,
    create_wsgi_app,
    is_loopback,
    options_from,
    read_models,
)
from tests.support.free_ports import free_port
from tests.support.polling import wait_for
from tests.support.responses_client import ResponsesClient
from tests.support.stub import Answerer, Response, StubServer

PATIENCE = 30.0

EVERYWHERE = "0.0.0.0"  # noqa: S104  # nothing is bound: what is tried is the refusal

MakeStub = Callable[[Answerer], StubServer]

needs_gunicorn = pytest.mark.skipif(
    find_spec("gunicorn") is None, reason="gunicorn is not installed; the extra 'serve' has that"
)


class Program:
    """A ``gpt-agent serve`` in a process of its own.

    Args:
        folder: Where it runs.
        arguments: Its options.
        environ: Further environment.
    """

    def __init__(self, folder: Path, *arguments: str, environ: dict[str, str]) -> None:
        self.port = free_port()
        self._log = folder / "serve.log"
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "gpt_agent_sync", "serve"),
                    *("--port", str(self.port), "--database", str(folder / "a.db")),
                    *arguments,
                ],
                cwd=folder,
                stderr=log,
                stdout=log,
                env={**os.environ, "PYTHONPATH": os.getcwd(), **environ},
            )
        self.url = f"http://127.0.0.1:{self.port}"
        wait_for(lambda: self.process.poll() is not None or "listens on" in self.log, bool)
        self.client = ResponsesClient(f"{self.url}/v1", environ.get("CLIENT_KEY"))
        if self.process.poll() is None:
            wait_for(self._is_ready, bool)

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz").ok
        except requests.ConnectionError:
            return False

    @property
    def log(self) -> str:
        """What it has logged."""
        return self._log.read_text()

    def get(self, path: str, **options: Any) -> requests.Response:
        """Ask for a path."""
        return requests.get(self.url + path, timeout=PATIENCE, **options)

    def stop(self) -> int:
        """Stop it, and return its exit code."""
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(PATIENCE)


Serve = Callable[..., Program]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Yield a starter of programs; they are stopped."""
    programs: list[Program] = []

    def start(*arguments: str, **environ: str) -> Program:
        programs.append(Program(tmp_path, *arguments, environ=environ))
        return programs[-1]

    yield start
    for program in programs:
        program.stop()


def converse(client: ResponsesClient, model: str = "demo") -> list[str]:
    """Have a run on each wire, and return what was said."""
    thread_id = client.thread("hi")
    run_id = client.start(thread_id, assistant_id=client.assistant(model=model))
    client.settled(thread_id, run_id)
    response = client.respond(model=model)
    return [client.texts(thread_id)[-1], response["output"][0]["content"][0]["text"]]


def test_both_wires_are_served(serve: Serve) -> None:
    """A program that is started serves both wires, and ends with 0 when it is told to."""
    program = serve()
    assert converse(program.client) == ["This is the offline demo model. You said: hi"] * 2
    assert program.stop() == 0


def test_what_was_kept_is_there_again(serve: Serve) -> None:
    """What a program has kept is there when it is started again."""
    program = serve()
    thread_id = program.client.thread("hi")
    program.stop()
    assert serve().client.texts(thread_id) == ["hi"]


@needs_gunicorn
def test_workers(serve: Serve) -> None:
    """Several processes serve one port, and share what they keep."""
    program = serve("--workers", "3")
    for _ in range(4):
        assert converse(program.client) == ["This is the offline demo model. You said: hi"] * 2
    assert program.stop() == 0


@needs_gunicorn
def test_worker_that_dies_is_replaced(serve: Serve) -> None:
    """A worker that is killed is started again, and nobody notices for long."""
    program = serve("--workers", "2")
    children = Path(f"/proc/{program.process.pid}/task/{program.process.pid}/children")
    if not children.exists():
        pytest.skip("the system does not list the children of a process")
    before = children.read_text().split()
    os.kill(int(before[0]), signal.SIGKILL)
    wait_for(
        lambda: children.read_text().split(),
        lambda now: len(now) == 2 and before[0] not in now,
    )
    wait_for(program._is_ready, bool)
    assert program.client.thread("hi").startswith("thread_")


@needs_gunicorn
def test_workers_leave_in_good_order_at_ctrl_c(serve: Serve, make_stub: MakeStub) -> None:
    """Ctrl-C ends several processes as SIGTERM does: what is in hand is told its end."""
    asked, go_on = threading.Event(), threading.Event()

    def answer(request: Any) -> Response:
        asked.set()
        go_on.wait(PATIENCE)
        return Response({})

    program = serve("--workers", "2", "--grace", "0", "--upstream", make_stub(answer).base_url)
    thread_id = program.client.thread("hi")
    run_id = program.client.start(thread_id, assistant_id=program.client.assistant(model="m"))
    assert asked.wait(PATIENCE)
    program.process.send_signal(signal.SIGINT)
    assert program.process.wait(PATIENCE) == 0
    go_on.set()
    run = serve().client.run(thread_id, run_id)
    assert (run["status"], run["last_error"]["message"]) == (
        "failed",
        "The server was stopped while it worked on the run.",
    )


def test_upstream(serve: Serve, make_stub: MakeStub) -> None:
    """Models are asked of the upstream under their names there, with the key of the variable."""
    answer = {"choices": [{"message": {"content": "hello"}}]}
    stub = make_stub(lambda request: Response(answer))
    program = serve(
        *("--upstream", stub.base_url, "--upstream-key-env", "THEIRS", "--model", "gpt-4o=llama3"),
        THEIRS="their-key",
    )
    assert converse(program.client, "gpt-4o") == ["hello"] * 2
    assert converse(program.client, "default") == ["hello"] * 2
    asked = [request for request in stub.requests if request.method == "POST"]
    assert {request.body["model"] for request in asked} == {"llama3"}
    assert {request.headers["authorization"] for request in asked} == {"Bearer their-key"}
    assert "their-key" not in program.log


def test_key(serve: Serve) -> None:
    """With a key clients have to send it, and who only looks whether it is alive has not."""
    program = serve("--api-key-env", "CLIENT_KEY", CLIENT_KEY="secret")
    assert converse(program.client) == ["This is the offline demo model. You said: hi"] * 2
    told = [program.get(path).status_code for path in ("/healthz", "/readyz", "/v1/threads")]
    assert told == [200, 200, 401]
    assert program.get("/metrics").status_code == 401
    assert "secret" not in program.log


def test_requests_are_logged(serve: Serve) -> None:
    """Each request is one line of JSON: what was asked without its query, status and time."""
    program = serve()
    program.get("/v1/threads/thread_x%0AINFO?after=secret")
    program.stop()
    (found,) = [
        line["message"]
        for line in map(json.loads, program.log.splitlines()[1:])
        if line["logger"].endswith("access") and "thread_x" in line["message"]["path"]
    ]
    assert (found["method"], found["status"]) == ("GET", 404)
    assert (found["path"], found["request_id"][:4]) == ("/v1/threads/thread_x\nINFO", "req_")
    assert found["total_seconds"] >= found["seconds"] > 0
    assert "secret" not in program.log


@pytest.mark.skipif(find_spec("prometheus_client") is None, reason="no prometheus-client")
def test_metrics(serve: Serve) -> None:
    """Requests, and work that has ended, are counted for Prometheus."""
    program = serve()
    converse(program.client)
    text = program.get("/metrics").text
    assert 'gpt_agent_work_total{kind="run",status="completed"} 1.0' in text
    assert 'gpt_agent_requests_total{method="POST",status="200"}' in text


@needs_gunicorn
@pytest.mark.skipif(find_spec("prometheus_client") is None, reason="no prometheus-client")
def test_metrics_of_several_processes(serve: Serve) -> None:
    """Whichever process is asked tells what all of them have counted."""
    program = serve("--workers", "2")
    for _ in range(6):
        converse(program.client)
    text = program.get("/metrics").text
    assert 'gpt_agent_work_total{kind="run",status="completed"} 6.0' in text


def test_stop_lets_runs_end(serve: Serve, make_stub: MakeStub) -> None:
    """A program that is stopped takes no more, and lets the run in hand come to its end."""
    asked, go_on = threading.Event(), threading.Event()

    def answer(request: Any) -> Response:
        asked.set()
        assert go_on.wait(PATIENCE)
        return Response({"choices": [{"message": {"content": "at last"}}]})

    program = serve("--upstream", make_stub(answer).base_url)
    thread_id = program.client.thread("hi")
    program.client.start(thread_id, assistant_id=program.client.assistant(model="m"))
    assert asked.wait(PATIENCE)
    program.process.send_signal(signal.SIGTERM)
    go_on.set()
    assert program.process.wait(PATIENCE) == 0
    assert serve().client.texts(thread_id) == ["hi", "at last"]


def test_stop_ends_what_takes_too_long(serve: Serve, make_stub: MakeStub) -> None:
    """A run that does not end in time fails with the true event, and its thread is free."""
    asked, go_on = threading.Event(), threading.Event()

    def answer(request: Any) -> Response:
        asked.set()
        go_on.wait(PATIENCE)
        return Response({})

    program = serve("--grace", "0", "--upstream", make_stub(answer).base_url)
    thread_id, assistant_id = program.client.thread("hi"), program.client.assistant(model="m")
    path, body = f"/threads/{thread_id}/runs", {"assistant_id": assistant_id, "stream": True}
    stream = program.client.send("POST", path, json=body, stream=True)
    assert asked.wait(PATIENCE)
    program.process.send_signal(signal.SIGTERM)
    events = stream.text
    stream.close()
    go_on.set()
    assert program.process.wait(PATIENCE) == 0
    assert "event: thread.run.failed" in events
    assert events.endswith("event: done\ndata: [DONE]\n\n")


def test_config_file(serve: Serve, tmp_path: Path) -> None:
    """Options are read from a file, and those on the command line go before them."""
    config = tmp_path / "serve.toml"
    config.write_text(
        'port = 1\nthreads = 5\nallow-host = ["api.example"]\n[model]\n"gpt-4o" = "demo"\n'
    )
    program = serve("--config", str(config), "--allow-host", "127.0.0.1")
    assert (
        converse(program.client, "gpt-4o") == ["This is the offline demo model. You said: hi"] * 2
    )
    refused = program.get("/v1/threads", headers={"Host": "api.example"})
    assert refused.status_code == 403


# Refused before anything is started.


def failure(*arguments: str, **environ: str) -> str:
    """Return what the command says when it refuses."""
    done = CliRunner(env=environ).invoke(gpt_agent, ["serve", *arguments])
    assert done.exit_code in (1, 2), done.output
    assert done.exception is None or isinstance(done.exception, SystemExit)
    return str(done.output)


def test_others_need_a_key(tmp_path: Path) -> None:
    """A server that others can reach is not started without a key."""
    said = failure("--host", EVERYWHERE, "--database", str(tmp_path / "a.db"))
    assert "--api-key-env" in said
    assert not (tmp_path / "a.db").exists()


@pytest.mark.parametrize(
    "arguments, why",
    [
        (["--api-key-env", "NOT_THERE"], "the environment variable NOT_THERE is not set"),
        (["--upstream-key-env", "EMPTY"], "the environment variable EMPTY is not set"),
        (["--model", "gpt-4o"], "a model is written NAME=UPSTREAM_MODEL, not 'gpt-4o'"),
        (["--upstream", "ftp://x"], "--upstream"),
        (["--port", "70000"], "70000"),
        (["--workers", "2", "--port", "0"], "--port"),
        (["--database", "mysql://h/d"], "mysql is no database"),
        (["--config", "not_there.toml"], "not_there.toml"),
    ],
)
def test_options_that_are_no_use(tmp_path: Path, arguments: list[str], why: str) -> None:
    """Options that cannot be used are refused, and what to do is said."""
    database = [] if "--database" in arguments else ["--database", str(tmp_path / "a.db")]
    assert why in failure(*database, *arguments, EMPTY=" ")


@pytest.mark.parametrize(
    "text, why", [("port = ", "cannot be read"), ("colour = 1", "'colour', which is no option")]
)
def test_config_files_that_are_no_use(tmp_path: Path, text: str, why: str) -> None:
    """A file that cannot be read, or has what is no option, is refused."""
    (tmp_path / "a.toml").write_text(text)
    assert why in failure("--config", str(tmp_path / "a.toml"))


def test_port_in_use(serve: Serve, tmp_path: Path) -> None:
    """A port that is taken is an error that names it."""
    program = serve()
    said = failure("--port", str(program.port), "--database", str(tmp_path / "b.db"))
    assert f"cannot listen on 127.0.0.1:{program.port}" in said


@pytest.mark.parametrize(
    "host, is_it",
    [
        ("127.0.0.1", True),
        ("127.9.9.9", True),
        ("::1", True),
        ("LOCALHOST", True),
        (EVERYWHERE, False),
        ("::", False),
        ("example.org", False),
    ],
)
def test_loopback(host: str, is_it: bool) -> None:
    """Loopback are its addresses, and its one name."""
    assert is_loopback(host) is is_it


# A server of one's own.


def test_factory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who brings a server of their own gets the application from the environment."""
    monkeypatch.setenv("GPT_AGENT_DATABASE", str(tmp_path / "a.db"))
    monkeypatch.setenv("GPT_AGENT_API_KEY", "secret")
    client = create_wsgi_app().test_client()
    assert client.get("/v1/models").status_code == 401
    found = client.get("/v1/models", headers={"api-key": "secret"}).get_json()
    assert [model["id"] for model in found["data"]] == ["demo"]


def test_options_of_the_environment() -> None:
    """Each variable is an option; lists have commas."""
    options = options_from(
        {
            "GPT_AGENT_DATABASE": "a.db",
            "GPT_AGENT_UPSTREAM": "http://h/v1",
            "GPT_AGENT_UPSTREAM_KEY": "k",
            "GPT_AGENT_MODELS": "a=b, c = d",
            "GPT_AGENT_HOSTS": "x,y",
        }
    )
    assert (options.database, options.upstream, options.hosts) == (
        "a.db",
        "http://h/v1",
        ("x", "y"),
    )
    assert (options.models, options.first_model) == ({"a": "b", "c": "d"}, "a")
    assert "'k'" not in repr(options)


def test_environment_without_a_database() -> None:
    """The database has to be named."""
    with pytest.raises(ServeError, match="GPT_AGENT_DATABASE"):
        options_from({})


@pytest.mark.parametrize("text", ["a", "=b", "a="])
def test_models_that_are_none(text: str) -> None:
    """A model has two names."""
    with pytest.raises(ServeError, match="NAME=UPSTREAM_MODEL"):
        read_models((text,))


@pytest.mark.parametrize(
    "fields", [{"port": 0, "workers": 2}, {"database": ":memory:", "workers": 2}]
)
def test_workers_need_something_to_share(fields: dict[str, Any]) -> None:
    """Several processes need one port and one database."""
    with pytest.raises(ServeError, match="several workers"):
        ServeOptions(**{"database": "a.db", **fields}).check()
