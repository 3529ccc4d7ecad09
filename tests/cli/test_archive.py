"""``gpt-agent threads``, ``show``, ``export`` and ``import``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from gpt_agent_sync.cli.commands import gpt_agent
from gpt_agent_sync.server.app import make_engine
from gpt_agent_sync.server.hosting import EmbeddedServer
from tests.support.responses_client import ResponsesClient, message
from tests.support.wire_client import Json


class Shop:
    """A database, the commands on it, and a server of it when one is needed.

    Args:
        path: The database.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def run(self, *arguments: str, text: str | None = None) -> Result:
        """Run a command on the database."""
        command = [*arguments, "--database", str(self.path)]
        return CliRunner().invoke(gpt_agent, command, input=text, catch_exceptions=False)

    def lines(self, *arguments: str) -> list[Any]:
        """Return the JSON lines that a command writes."""
        done = self.run(*arguments)
        assert done.exit_code == 0, done.output
        return [json.loads(line) for line in done.output.splitlines()]

    def imported(self, text: str) -> str:
        """Import a file, and return what is said of it."""
        done = self.run("import", "-", text=text)
        assert done.exit_code == 0, done.output
        return done.output


class Served:
    """A server of a shop's database, while the block runs.

    Args:
        shop: The shop.
    """

    def __init__(self, shop: Shop) -> None:
        self._shop = shop

    def __enter__(self) -> ResponsesClient:
        self._server = EmbeddedServer(make_engine(str(self._shop.path)))
        self._client = ResponsesClient(self._server.base_url)
        return self._client

    def __exit__(self, *_: object) -> None:
        self._client.close()
        self._server.stop()


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    """Return a shop whose database is empty."""
    return Shop(tmp_path / "a.db")


@pytest.fixture
def filled(shop: Shop) -> tuple[Shop, str, str]:
    """Return a shop with a thread of a run and a conversation, and their ids."""
    with Served(shop) as wire:
        thread_id = wire.thread("hi")
        assistant_id = wire.assistant(model="demo")
        wire.settled(thread_id, wire.start(thread_id, assistant_id=assistant_id))
        conversation_id = wire.conversation(message("hello \x1b[31m\nthere"))
    return shop, thread_id, conversation_id


def test_threads_are_listed(filled: tuple[Shop, str, str]) -> None:
    """A line each has id, time, count and beginning, and nothing that moves the terminal."""
    shop, thread_id, conversation_id = filled
    first, second = shop.run("threads").output.splitlines()
    assert (first.split()[0], first.split()[3:]) == (thread_id, ["2", "hi"])
    assert second.startswith(conversation_id)
    assert "\x1b" not in second
    assert "there" in second


def test_long_beginnings_are_cut(shop: Shop) -> None:
    """What is listed of a message is bounded."""
    with Served(shop) as wire:
        wire.thread("x" * 500)
    assert len(shop.run("threads").output) < 150


def test_thread_is_shown(filled: tuple[Shop, str, str]) -> None:
    """A thread is shown message by message."""
    shop, thread_id, _ = filled
    shown = shop.run("show", thread_id).output
    assert shown.index("user") < shown.index("hi") < shown.index("assistant")
    assert "This is the offline demo model. You said: hi" in shown


def test_conversation_is_shown(filled: tuple[Shop, str, str]) -> None:
    """A conversation is shown item by item, its controls made harmless."""
    shop, _, conversation_id = filled
    shown = shop.run("show", conversation_id).output
    assert "there" in shown
    assert "\x1b" not in shown


@pytest.mark.parametrize("command", ["show", "export"])
def test_unknown_thread(shop: Shop, command: str) -> None:
    """A thread that is not there is an error that names it."""
    done = shop.run(command, "thread_x")
    assert (done.exit_code, "no thread or conversation 'thread_x'" in done.output) == (1, True)


@pytest.mark.parametrize("arguments", [[], ["thread_x", "--all"]])
def test_export_of_nothing_in_particular(shop: Shop, arguments: list[str]) -> None:
    """What to export has to be said once."""
    assert shop.run("export", *arguments).exit_code == 2


def test_exported_thread(filled: tuple[Shop, str, str]) -> None:
    """A line is the thread as the wire shows it, with its messages, oldest first."""
    shop, thread_id, _ = filled
    (line,) = shop.lines("export", thread_id)
    with Served(shop) as wire:
        thread = wire.get(f"/threads/{thread_id}")
        messages = wire.get(f"/threads/{thread_id}/messages", order="asc")["data"]
    assert line == {**thread, "messages": messages}


def test_everything_is_exported(filled: tuple[Shop, str, str]) -> None:
    """All threads and conversations are written."""
    shop, thread_id, conversation_id = filled
    assert [line["id"] for line in shop.lines("export", "--all")] == [thread_id, conversation_id]


def test_export_is_imported_as_it_was(filled: tuple[Shop, str, str], tmp_path: Path) -> None:
    """What is exported and imported elsewhere is exported there as it was."""
    shop, _, _ = filled
    exported = shop.run("export", "--all").output
    other = Shop(tmp_path / "b.db")
    assert other.imported(exported) == "2 threads made, 3 messages added, 0 there already\n"
    assert other.run("export", "--all").output == exported


def test_import_twice(filled: tuple[Shop, str, str]) -> None:
    """An import that is run again adds nothing."""
    shop, _, _ = filled
    exported = shop.run("export", "--all").output
    assert shop.imported(exported) == "0 threads made, 0 messages added, 3 there already\n"
    assert shop.run("export", "--all").output == exported


def test_imported_thread_goes_on(shop: Shop, tmp_path: Path) -> None:
    """A program's stored thread id works at the server that has imported it."""
    shop.imported(json.dumps({"id": "thread_old", "messages": listed("one", "two")}))
    with Served(shop) as wire:
        assistant_id = wire.assistant(model="demo")
        wire.post("/threads/thread_old/messages", {"role": "user", "content": "three"})
        wire.settled("thread_old", wire.start("thread_old", assistant_id=assistant_id))
        assert wire.texts("thread_old")[:3] == ["one", "two", "three"]


def listed(*texts: str) -> Json:
    """Return messages as the API lists them: the newest first."""
    data = [
        {
            "id": f"msg_{number}",
            "object": "thread.message",
            "created_at": 1_700_000_000 + number // 2,
            "thread_id": "thread_old",
            "role": "user",
            "content": [{"type": "text", "text": {"value": text, "annotations": []}}],
        }
        for number, text in enumerate(texts)
    ]
    return {"object": "list", "data": data[::-1], "has_more": False}


@pytest.mark.parametrize(
    "make",
    [
        lambda found: json.dumps({"id": "thread_old", "messages": found}),
        lambda found: json.dumps({"thread": {"id": "thread_old"}, "messages": found["data"]}),
        lambda found: json.dumps({"thread_id": "thread_old", "messages": found["data"][::-1]}),
        lambda found: json.dumps(found),
        lambda found: json.dumps(found, indent=2),
        lambda found: json.dumps(found["data"]),
        lambda found: "\n\n".join(json.dumps(each) for each in found["data"]),
    ],
    ids=["thread", "nested", "ascending", "list", "indented", "array", "lines"],
)
def test_forms_of_exported_messages(shop: Shop, make: Any) -> None:
    """Messages are read as the API listed them, in whatever a script has wrapped them."""
    shop.imported(make(listed("one", "two", "three", "four")))
    (line,) = shop.lines("export", "thread_old")
    texts = [each["content"][0]["text"]["value"] for each in line["messages"]]
    assert texts == ["one", "two", "three", "four"]
    assert [each["created_at"] for each in line["messages"]] == [
        *[1_700_000_000] * 2,
        *[1_700_000_001] * 2,
    ]


def test_messages_that_came_later(shop: Shop) -> None:
    """A second export of a thread that has grown adds what is new."""
    shop.imported(json.dumps(listed("one", "two")))
    assert shop.imported(json.dumps(listed("one", "two", "three"))).startswith("0 threads made, 1 ")
    assert len(shop.lines("export", "thread_old")[0]["messages"]) == 3


@pytest.mark.parametrize(
    "text, why",
    [
        ("{", "line 1 is no JSON"),
        ('{"id": "thread_a"}\n{"id": ', "line 2 is no JSON"),
        ("5", "is no object"),
        ('{"messages": []}', "a thread without an id"),
        (json.dumps({"id": "t" * 65}), "a thread without an id"),
        ('{"id": "thread_a", "messages": 5}', "messages of thread_a are no list"),
        ('{"id": "thread_a", "messages": [{}]}', "one has no id"),
        ('{"id": "thread_a", "messages": [{"id": "m"}]}', "m has no role"),
        (
            '{"id": "thread_a", "messages": [{"id": "m", "role": "user", "content": "hi"}]}',
            "m has a content that is no list of parts",
        ),
        ('{"object": "thread.message", "id": "m"}', "a message without its thread_id"),
        ('{"id": "conv_a", "items": [{"id": "m"}]}', "m has no type"),
        ('{"id": "conv_a", "items": [{"id": "m", "type": "function_call"}]}', "m has no call_id"),
        ('{"id": "conv_a", "items": [{"id": "m", "type": "message"}]}', "m has no role"),
        ('{"id": "thread_a", "created_at": "yesterday"}', "created_at of thread_a is no Unix time"),
        (
            '{"id": "t", "messages": [{"id": "m", "role": "user", "content": [{"type": "text"}]}]}',
            "m has a part that is none of the wire",
        ),
    ],
)
def test_files_that_are_no_archive(shop: Shop, text: str, why: str) -> None:
    """A file that is broken anywhere adds nothing, and the error says where."""
    done = shop.run("import", "-", text=text)
    assert (done.exit_code, why in done.output) == (1, True), done.output
    assert shop.run("threads").output == ""


def test_database_that_cannot_be_opened(tmp_path: Path) -> None:
    """A file that is no database is an error, and no traceback."""
    (tmp_path / "a.db").write_text("no database" * 100)
    done = Shop(tmp_path / "a.db").run("threads")
    assert (done.exit_code, "cannot open the database" in done.output) == (1, True)
