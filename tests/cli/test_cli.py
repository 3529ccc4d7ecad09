"""``gpt-agent`` as people and programs use it."""

from __future__ import annotations

import json
import os
import queue
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import gpt_agent_sync as gpt
from gpt_agent_sync.cli.commands import gpt_agent
from gpt_agent_sync.records import Posted, RunRequest, UserMessage
from gpt_agent_sync.testing import Fail, Hold, Reply, ScriptedService
from gpt_agent_sync.testing.script import ScriptStep
from tests.support.scripted_model import ScriptedServer

PATIENCE = 20.0

MakeServer = Callable[..., ScriptedServer]


def _chat(*arguments: str, typed: str | None = None) -> Result:
    """Run ``gpt-agent chat`` in this process."""
    return CliRunner().invoke(gpt_agent, ["chat", *arguments], input=typed)


def _events(result: Result) -> list[gpt.Event]:
    return [gpt.Event.from_dict(json.loads(line)) for line in result.stdout.splitlines()]


def _environment(data: Path, **more: str) -> dict[str, str]:
    """Return this process's environment, which is clean in tests, with a data directory."""
    return {**os.environ, "XDG_DATA_HOME": str(data), "PYTHONUNBUFFERED": "1", **more}


def _run(data: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a process of its own."""
    return subprocess.run(
        [sys.executable, *arguments],
        env=_environment(data, **more),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=2 * PATIENCE,
        check=False,
    )


@pytest.fixture
def default(local: gpt.LocalService) -> gpt.LocalService:
    """Have the embedded service in memory be the one that is used."""
    gpt.configure(service=local)
    return local


# one message


@pytest.fixture
def sum_result(default: gpt.LocalService) -> Result:
    """Return what asking for a sum comes to."""
    return _chat("-m", "What is 2 + 3?")


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("gpt-agent over LocalService(", id="service"),
        pytest.param("model demo\n", id="model"),
        pytest.param("thread thread_", id="thread"),
        pytest.param("you > What is 2 + 3?\n", id="message"),
        pytest.param('tool calculate(expression="2 + 3")\n', id="tool call"),
        pytest.param("-> 5\n", id="tool output"),
        pytest.param("assistant > The demo model asked for help: calculate gave 5.\n", id="reply"),
    ],
)
def test_one_message_shows(sum_result: Result, text: str) -> None:
    """All there is to know of a run is shown."""
    assert text in sum_result.stdout


def test_one_message_shows_the_tokens(sum_result: Result) -> None:
    """The tokens that the run used come last."""
    assert re.search(r"session: [1-9]\d* tokens in, [1-9]\d* out\n$", sum_result.stdout)


def test_one_message_exits_with_success(sum_result: Result) -> None:
    """A run that completes is exit code 0."""
    assert sum_result.exit_code == 0


def test_markup_in_a_message_is_shown_as_it_is(default: gpt.LocalService) -> None:
    """What looks like markup of the terminal library is only text."""
    assert "You said: [bold]x[/]\n" in _chat("-m", "[bold]x[/]").stdout


def test_blank_message_is_an_error(default: gpt.LocalService) -> None:
    """A blank message is wrong use, with exit code 2."""
    assert _chat("-m", " ").exit_code == 2


def test_json_gives_one_event_a_line(default: gpt.LocalService) -> None:
    """With --json each line is an event, and there is nothing else."""
    events = _events(_chat("--json", "-m", "What is 2 + 3?"))
    told = [type(event) for event in events]
    assert gpt.AssistantMessageDelta in told
    assert [kind for kind in told if kind is not gpt.AssistantMessageDelta] == [
        gpt.UserMessageAdded,
        gpt.RunStarted,
        gpt.ToolCallRequested,
        gpt.ToolCallOutputRecorded,
        gpt.RunCompleted,
        gpt.AssistantMessageAdded,
        gpt.AgentStopped,
    ]


# an existing thread or assistant


def test_thread_goes_on(default: gpt.LocalService) -> None:
    """With --thread the message is added to that thread."""
    thread_id = gpt.create_thread(messages=[{"role": "user", "content": "before"}])
    event = _events(_chat("--json", "--thread", thread_id, "-m", "after"))[0]
    assert isinstance(event, gpt.UserMessageAdded)
    assert (event.thread_id, event.content) == (thread_id, "after")


def test_assistant_is_used(default: gpt.LocalService) -> None:
    """With --assistant that assistant runs."""
    assistant_id = gpt.create_assistant(model="demo")
    result = _chat("--json", "--assistant", assistant_id, "-m", "hello")
    assert [
        event.assistant_id for event in _events(result) if isinstance(event, gpt.RunStarted)
    ] == [assistant_id]


def test_unknown_thread_is_an_error(default: gpt.LocalService) -> None:
    """A thread that is not there is reported in a line."""
    assert "Error: invalid thread id 'thread_x'" in _chat("--thread", "thread_x", "-m", "x").stderr


def test_unknown_thread_exits_with_failure(default: gpt.LocalService) -> None:
    """A thread that is not there is exit code 1."""
    assert _chat("--thread", "thread_x", "-m", "x").exit_code == 1


# tools


@pytest.fixture
def make_module(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Callable[[str], str]:
    """Return a maker of modules in the current directory; it gives the module's name."""
    name = f"module_of_{request.node.originalname}"
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, name, raising=False)

    def make(source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return make


GREET = '''
def greet(name: str) -> str:
    """Greet a person."""
    return f"Good day, {name}"
'''


def test_tools_of_a_toolbox(default: gpt.LocalService, make_module: Callable[[str], str]) -> None:
    """--tools MODULE:TOOLBOX offers the tools of that toolbox."""
    name = make_module(f"import gpt_agent_sync as gpt\nbox = gpt.Toolbox()\n\n@box.tool{GREET}")
    assert "-> Good day, Ada\n" in _chat("--tools", f"{name}:box", "-m", 'greet "Ada"').stdout


def test_tools_of_a_module(default: gpt.LocalService, make_module: Callable[[str], str]) -> None:
    """--tools MODULE offers what the module registers in the shared toolbox."""
    name = make_module(f"import gpt_agent_sync as gpt\n\n@gpt.tool{GREET}")
    assert "-> Good day, Ada\n" in _chat("--tools", name, "-m", 'greet "Ada"').stdout


def test_tools_replace_the_examples(
    default: gpt.LocalService, make_module: Callable[[str], str]
) -> None:
    """With --tools the tools that the command brings are not offered."""
    name = make_module("import gpt_agent_sync as gpt\nbox = gpt.Toolbox()\n")
    assert "tool calculate" not in _chat("--tools", f"{name}:box", "-m", "What is 2 + 3?").stdout


@pytest.mark.parametrize(
    "path, reason",
    [
        ("no_such_module:box", "No module named 'no_such_module'"),
        ("json:no_such_name", "no_such_name"),
        ("json:dumps", "is no Toolbox"),
    ],
)
def test_bad_tools_are_reported(default: gpt.LocalService, path: str, reason: str) -> None:
    """Tools that cannot be had are refused with the reason."""
    assert reason in _chat("--tools", path, "-m", "x").stderr


def test_bad_tools_are_an_error_of_usage(default: gpt.LocalService) -> None:
    """Tools that cannot be had are exit code 2."""
    assert _chat("--tools", "no_such_module:box", "-m", "x").exit_code == 2


# services


def test_base_url_chooses_the_assistants_service(make_server: MakeServer) -> None:
    """--base-url is enough to name a server."""
    base_url = make_server([Reply("from afar")]).base_url
    result = _chat("--base-url", base_url, "--model", "any", "-m", "hello")
    assert "assistant > from afar\n" in result.stdout


def test_responses_service_is_chosen_by_name(make_server: MakeServer) -> None:
    """--service responses speaks that wire to the server of --base-url."""
    server = make_server([Reply("from afar")])
    result = _chat(
        *("--service", "responses", "--base-url", server.base_url, "--model", "any", "-m", "hello")
    )
    assert "gpt-agent over ResponsesService(" in result.stdout
    assert "assistant > from afar\n" in result.stdout


def test_key_in_the_environment_chooses_the_responses_service(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With OPENAI_API_KEY set and nothing said the Responses wire is spoken."""
    monkeypatch.setenv("OPENAI_API_KEY", "key")
    monkeypatch.setenv("OPENAI_BASE_URL", make_server([Reply("from afar")]).base_url)
    result = _chat("--model", "any", "-m", "hello")
    assert "gpt-agent over ResponsesService(" in result.stdout


def test_responses_service_needs_a_key() -> None:
    """--service responses without a key says so before any request."""
    result = _chat("--service", "responses", "--model", "any", "-m", "hello")
    assert "Error: ResponsesService needs api_key (or OPENAI_API_KEY)" in result.stderr


def test_assistants_service_needs_a_base_url() -> None:
    """--service assistants without a base URL is reported."""
    result = _chat("--service", "assistants", "--model", "any", "-m", "hello")
    assert "Error: AssistantsService needs base_url" in result.stderr


def test_missing_base_url_exits_with_failure() -> None:
    """--service assistants without a base URL is exit code 1."""
    assert _chat("--service", "assistants", "--model", "any", "-m", "hello").exit_code == 1


def test_base_url_comes_from_the_environment(
    make_server: MakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--service assistants reads the base URL where other clients do."""
    monkeypatch.setenv("OPENAI_BASE_URL", make_server([Reply("from afar")]).base_url)
    result = _chat("--service", "assistants", "--model", "any", "-m", "hello")
    assert "assistant > from afar\n" in result.stdout


def test_local_service_has_no_base_url() -> None:
    """--service local with a base URL is an error of usage."""
    assert _chat("--service", "local", "--base-url", "http://127.0.0.1/v1").exit_code == 2


def test_model_must_be_named_elsewhere(make_server: MakeServer) -> None:
    """A server's models are not known, so that one must be named."""
    result = _chat("--base-url", make_server().base_url, "-m", "hello")
    assert "name a --model" in result.stderr


def test_assistant_needs_no_model(make_server: MakeServer) -> None:
    """An assistant has its model already."""
    base_url = make_server([Reply("hello to you")]).base_url
    service = gpt.AssistantsService(base_url)
    assistant_id = gpt.create_assistant(model="any", service=service)
    service.close()
    result = _chat("--base-url", base_url, "--assistant", assistant_id, "-m", "hello")
    assert "assistant > hello to you\n" in result.stdout


def test_unreachable_server_is_reported_in_a_line(nowhere: str, tmp_path: Path) -> None:
    """A server that cannot be reached is an error message, not a traceback."""
    command = ("-m", "gpt_agent_sync", "chat", "--base-url", nowhere, "--model", "any", "-m", "x")
    done = _run(tmp_path, *command, GPT_AGENT_HTTP_RETRIES="0")
    assert re.fullmatch(rf"Error: POST {nowhere}/assistants failed: .*refused\n", done.stderr)


def test_unreachable_server_exits_with_failure(nowhere: str) -> None:
    """A server that cannot be reached is exit code 1."""
    gpt.configure(http_retries=0)
    assert _chat("--base-url", nowhere, "--model", "any", "-m", "x").exit_code == 1


# failing runs


def test_failed_run_shows_the_reason(make_server: MakeServer) -> None:
    """A run that fails is reported with code and message."""
    base_url = make_server([Fail("server_error", "The model fell over.")]).base_url
    result = _chat("--base-url", base_url, "--model", "any", "-m", "hello")
    assert "run failed server_error: The model fell over.\n" in result.stdout


def test_failed_run_exits_with_failure(make_server: MakeServer) -> None:
    """A run that fails is exit code 1."""
    base_url = make_server([Fail()]).base_url
    assert _chat("--base-url", base_url, "--model", "any", "-m", "hello").exit_code == 1


# sessions


def test_session_answers_each_line(default: gpt.LocalService) -> None:
    """Each line of input is a message."""
    result = _chat(typed="one\ntwo\n")
    assert re.findall(r"You said: (.*)", result.stdout) == ["one", "two"]


def test_session_ends_with_the_input(default: gpt.LocalService) -> None:
    """The end of input is exit code 0."""
    assert _chat(typed="one\n").exit_code == 0


def test_session_skips_blank_lines(default: gpt.LocalService) -> None:
    """A blank line is no message."""
    events = _events(_chat("--json", typed="\none\n  \n"))
    assert [event.content for event in events if isinstance(event, gpt.UserMessageAdded)] == ["one"]


def test_session_goes_on_after_a_failed_run(make_server: MakeServer) -> None:
    """After a run that failed the next line is a message like any other."""
    base_url = make_server([Fail(), Reply("better")]).base_url
    result = _chat("--base-url", base_url, "--model", "any", typed="one\ntwo\n")
    assert "assistant > better\n" in result.stdout


class _HiccupService(ScriptedService):
    """Refuse the first message."""

    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        if not self.requests["hiccup"]:
            self.requests["hiccup"] += 1
            raise gpt.ServiceUnavailableError("the line was busy")
        return super().post_message(request, message)


def test_session_shows_an_error() -> None:
    """A message that cannot be added is reported."""
    gpt.configure(service=_HiccupService())
    assert "the line was busy\n" in _chat("--model", "any", typed="one\n").stdout


def test_session_goes_on_after_an_error() -> None:
    """After a message that could not be added the next one is like any other."""
    gpt.configure(service=_HiccupService([Reply("better")]))
    assert "assistant > better\n" in _chat("--model", "any", typed="one\ntwo\n").stdout


# Ctrl-C


_SESSION = """
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
from gpt_agent_sync.cli import main
main()
"""


class _Terminal:
    """A session in a process of its own; every wait is bounded."""

    def __init__(self, data: Path, *arguments: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", _SESSION, "chat", *arguments],
            env=_environment(data),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._output: queue.Queue[str] = queue.Queue()
        self._shown = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        while piece := os.read(self._process.stdout.fileno(), 4096):
            self._output.put(piece.decode())

    def type(self, text: str) -> None:
        """Type a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{text}\n".encode())
        self._process.stdin.flush()

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self._process.send_signal(signal.SIGINT)

    def sees(self, text: str) -> bool:
        """Wait for a text that was not seen before, and forget what came before it."""
        while text not in self._shown:
            try:
                self._shown += self._output.get(timeout=PATIENCE)
            except queue.Empty:
                raise AssertionError(f"{text!r} does not come after {self._shown!r}") from None
        self._shown = self._shown.partition(text)[2]
        return True

    def wait(self) -> int:
        """Wait for the end and give the exit code."""
        return self._process.wait(PATIENCE)

    def close(self) -> None:
        """End the process, whatever it does."""
        self._process.kill()
        self._process.wait()
        self._reader.join(PATIENCE)
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture
def open_terminal(tmp_path: Path) -> Iterator[Callable[..., _Terminal]]:
    """Return a maker of sessions in processes of their own; they are ended."""
    terminals: list[_Terminal] = []

    def make(*arguments: str) -> _Terminal:
        terminals.append(_Terminal(tmp_path, *arguments))
        return terminals[-1]

    yield make
    for terminal in terminals:
        terminal.close()


class _FirstHeld:
    """Hold the first run, and tell when it is there; answer the others."""

    def __init__(self) -> None:
        self.reached = threading.Event()

    def __call__(self, text: str, outputs: Mapping[str, str]) -> ScriptStep:
        if self.reached.is_set():
            return Reply(f"you said {text}")
        self.reached.set()
        return Hold()


@pytest.fixture
def held(make_server: MakeServer, open_terminal: Callable[..., _Terminal]) -> _Terminal:
    """Return a session whose run is being held."""
    script = _FirstHeld()
    base_url = make_server(script).base_url
    terminal = open_terminal("--service", "assistants", "--base-url", base_url, "--model", "any")
    terminal.type("one")
    assert script.reached.wait(PATIENCE)
    return terminal


def test_interrupt_cancels_the_run(held: _Terminal) -> None:
    """Ctrl-C during a run cancels it."""
    held.interrupt()
    assert held.sees("run cancelled")


def test_interrupt_keeps_the_session(held: _Terminal) -> None:
    """After Ctrl-C during a run the next line is answered."""
    held.interrupt()
    held.type("two")
    assert held.sees("you said two")


def test_interrupt_of_one_message_exits_with_failure(
    make_server: MakeServer, open_terminal: Callable[..., _Terminal]
) -> None:
    """Ctrl-C during the run of --message is exit code 1."""
    script = _FirstHeld()
    terminal = open_terminal(
        "--base-url", make_server(script).base_url, "--model", "any", "-m", "x"
    )
    assert script.reached.wait(PATIENCE)
    terminal.interrupt()
    assert terminal.wait() == 1


def test_interrupt_at_the_prompt_ends_the_session(
    open_terminal: Callable[..., _Terminal],
) -> None:
    """Ctrl-C at the prompt is exit code 0."""
    terminal = open_terminal("--service", "local")
    assert terminal.sees("you > ")
    terminal.interrupt()
    assert terminal.wait() == 0


# the program


def test_program_is_a_module(tmp_path: Path) -> None:
    """``python -m gpt_agent_sync`` is the command."""
    done = _run(tmp_path, "-m", "gpt_agent_sync", "--version")
    assert done.stdout == f"gpt-agent, version {gpt.__version__}\n"


def test_program_ends_quietly(tmp_path: Path) -> None:
    """A conversation leaves nothing on standard error, with all warnings on."""
    command = ("-X", "dev", "-W", "error", "-m", "gpt_agent_sync", "chat", "-m", "hello")
    assert _run(tmp_path, *command).stderr == ""


def test_program_logs_when_asked(tmp_path: Path) -> None:
    """With -v the life cycle is logged."""
    done = _run(tmp_path, "-m", "gpt_agent_sync", "chat", "-v", "-m", "hello")
    assert "using the local service, because nothing else is configured" in done.stderr


def test_local_conversation_goes_on_in_another_process(tmp_path: Path) -> None:
    """A thread of the embedded service outlives the process that made it."""
    command = ("-m", "gpt_agent_sync", "chat", "--json", "-m", "hello")
    first = json.loads(_run(tmp_path, *command).stdout.splitlines()[0])
    again = _run(tmp_path, *command, "--thread", first["thread_id"])
    assert again.returncode == 0


WITHOUT = """
import sys

missing = sys.argv.pop(1)


class Without:
    def __init__(self, finder):
        self.finder = finder

    def find_spec(self, name, path=None, target=None):
        return None if name == missing else self.finder.find_spec(name, path, target)


sys.meta_path[:] = map(Without, sys.meta_path)
from gpt_agent_sync.cli import main

main()
"""


@pytest.mark.parametrize(
    "missing, told",
    [
        ("click", "gpt-agent needs click: pip install 'gpt_agent_sync[cli]'"),
        ("rich", "gpt-agent needs rich: pip install 'gpt_agent_sync[cli]'"),
        ("flask", "Error: LocalService needs flask: pip install 'gpt_agent_sync[server]'"),
    ],
)
def test_missing_extra_says_what_to_install(tmp_path: Path, missing: str, told: str) -> None:
    """Without a library of an extra the command says how to get it."""
    assert _run(tmp_path, "-c", WITHOUT, missing, "chat", "-m", "x").stderr == f"{told}\n"
