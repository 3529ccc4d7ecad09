"""Threads and conversations as JSON lines: written for people to keep, and read again.

A line is a thread as its wire shows it, with its ``messages``, or a conversation with its
``items``, oldest first. What was exported of other Assistants servers is read too: pages of
messages as they were listed.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from gpt_agent_sync.server.listing import shown
from gpt_agent_sync.server.storage.collection import Collection, Connection, Object
from gpt_agent_sync.server.storage.database import Storage

PAGE = 100


class ArchiveError(ValueError):
    """A file has something in it that is no thread; it says where, and what."""


@attrs.frozen
class Imported:
    """What an import has done.

    Attributes:
        threads: Threads and conversations that were made.
        messages: Messages and items that were added.
        known: Messages and items that were there already.
    """

    threads: int = 0
    messages: int = 0
    known: int = 0

    def __add__(self, other: Imported) -> Imported:
        return Imported(
            self.threads + other.threads,
            self.messages + other.messages,
            self.known + other.known,
        )


@attrs.frozen
class _Kind:
    parents: Collection
    children: Collection
    field: str


def _kinds(storage: Storage) -> dict[str, _Kind]:
    return {
        "thread": _Kind(storage.threads, storage.messages, "messages"),
        "conversation": _Kind(storage.conversations, storage.items, "items"),
    }


def summaries(storage: Storage) -> Iterator[tuple[Object, int, str]]:
    """Yield each thread and conversation, with how much is in it and how it begins."""
    for kind in _kinds(storage).values():
        for parent in _all(storage, kind.parents, None):
            with storage.read() as connection:
                count = kind.children.count_of(connection, parent["id"])
                first, _ = kind.children.page(
                    connection,
                    parent_id=parent["id"],
                    order="asc",
                    limit=1,
                    after=None,
                    before=None,
                )
            yield parent, count, text_of(first[0]) if first else ""


def exported(storage: Storage, object_id: str | None = None) -> Iterator[Object]:
    """Yield a thread or conversation by its id, or all of them, as lines of an archive.

    Raises:
        KeyError: If there is none of that id.
    """
    is_there = object_id is None
    for kind in _kinds(storage).values():
        for parent in _all(storage, kind.parents, None, object_id):
            is_there = True
            children = list(_all(storage, kind.children, parent["id"]))
            yield {**shown(parent), kind.field: [shown(child) for child in children]}
    if not is_there:
        raise KeyError(object_id)


def _all(
    storage: Storage, collection: Collection, parent_id: str | None, object_id: str | None = None
) -> Iterator[Object]:
    if object_id is not None:
        with storage.read() as connection:
            found = collection.get(connection, object_id)
        yield from [] if found is None else [found]
        return
    after = 0
    while True:
        # A page a transaction: a writer is not to wait for a reader of everything.
        with storage.read() as connection:
            page = collection.walk(connection, parent_id, after, PAGE)
        yield from (found for _, found in page)
        if len(page) < PAGE:
            return
        after = page[-1][0]


def text_of(child: Object) -> str:
    """Return the text of a message or item, as far as it has one."""
    content = child.get("content")
    texts = []
    for part in content if isinstance(content, list) else []:
        text = part.get("text")
        texts.append(text.get("value", "") if isinstance(text, dict) else text or "")
    if texts:
        return "\n".join(map(str, texts))
    if child.get("type") == "function_call":
        return f"{child.get('name')}({child.get('arguments')})"
    return str(child.get("output") or "")


def read_lines(lines: Iterable[str]) -> Iterator[Object]:
    """Yield the threads of a file: JSON lines, or one JSON text.

    Raises:
        ArchiveError: If something in it is none.
    """
    text = "".join(lines)
    try:
        found: list[tuple[str, Any]] = [("the file", json.loads(text))]
    except ValueError:
        found = []
        for number, line in enumerate(text.splitlines(), 1):
            if not line.strip():
                continue
            try:
                found.append((f"line {number}", json.loads(line)))
            except ValueError as exc:
                raise ArchiveError(f"line {number} is no JSON: {exc}") from None
    loose: dict[str, list[Object]] = {}
    for where, value in found:
        for each in value if isinstance(value, list) else [value]:
            yield from _threads_in(each, where, loose)
    # Messages on their own, as a list of the wire has them: by the threads that they name.
    for thread_id, messages in loose.items():
        page = {"object": "list", "data": messages}
        yield _thread({"id": thread_id, "messages": page}, f"thread {thread_id}")


def _threads_in(value: Any, where: str, loose: dict[str, list[Object]]) -> Iterator[Object]:
    if not isinstance(value, dict):
        raise ArchiveError(f"{where} is no object")
    if value.get("object") == "list":
        for each in value.get("data") or ():
            yield from _threads_in(each, where, loose)
    elif value.get("object") == "thread.message":
        thread_id = value.get("thread_id")
        if not isinstance(thread_id, str):
            raise ArchiveError(f"{where}: a message without its thread_id")
        loose.setdefault(thread_id, []).append(value)
    else:
        yield _thread(value, where)


def _thread(value: Object, where: str) -> Object:
    nested = value.get("thread")
    thread = {**nested, **value} if isinstance(nested, dict) else dict(value)
    thread_id = thread.get("id") or thread.get("thread_id")
    if not isinstance(thread_id, str) or not 0 < len(thread_id) <= 64:
        raise ArchiveError(f"{where}: a thread without an id")
    if thread.get("created_at") is not None and not _is_time(thread["created_at"]):
        raise ArchiveError(f"{where}: created_at of {thread_id} is no Unix time")
    is_conversation = thread.get("object") == "conversation" or "items" in thread
    field = "items" if is_conversation else "messages"
    children = thread.get(field) or []
    is_page = False
    if isinstance(children, dict):
        is_page, children = True, children.get("data")
    if not isinstance(children, list):
        raise ArchiveError(f"{where}: {field} of {thread_id} are no list")
    for child in children:
        _check_child(child, f"{where}: {field} of {thread_id}", is_conversation)
    kept = {name: value for name, value in thread.items() if name not in (field, "thread")}
    return {
        **kept,
        "id": thread_id,
        "object": "conversation" if is_conversation else "thread",
        field: _oldest_first(children, is_page),
    }


def _check_child(child: Any, where: str, is_item: bool) -> None:
    if not isinstance(child, dict) or not isinstance(child.get("id"), str):
        raise ArchiveError(f"{where}: one has no id")
    if not 0 < len(child["id"]) <= 64:
        raise ArchiveError(f"{where}: the id {child['id'][:80]!r} has more than 64 characters")
    created_at = child.get("created_at")
    if created_at is not None and not _is_time(created_at):
        raise ArchiveError(f"{where}: created_at of {child['id']} is no Unix time")
    problem = _item_problem(child) if is_item else _message_problem(child)
    if problem is not None:
        raise ArchiveError(f"{where}: {child['id']} {problem}")


def _is_time(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 2**40


def _message_problem(message: Object) -> str | None:
    """Return what is wrong with a message, as a model could not be shown it."""
    if message.get("role") not in ("user", "assistant"):
        return "has no role"
    content = message.get("content")
    if not isinstance(content, list) or not all(isinstance(part, dict) for part in content):
        return "has a content that is no list of parts"
    for part in content:
        text = part.get("text")
        is_text = isinstance(text, dict) and isinstance(text.get("value"), str)
        if not isinstance(part.get("type"), str) or (part["type"] == "text" and not is_text):
            return "has a part that is none of the wire"
    return None


_TEXTS = {
    "function_call": ("call_id", "name", "arguments"),
    "function_call_output": ("call_id", "output"),
    "message": ("role", "status"),
}
"""The texts that items of conversations have to have."""

_PARTS = {
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "input_image": "image_url",
}


def _item_problem(item: Object) -> str | None:
    """Return what is wrong with an item, as a model could not be shown it."""
    kind = item.get("type")
    if not isinstance(kind, str):
        return "has no type"
    for name in _TEXTS.get(kind, ()):
        if not isinstance(item.get(name), str):
            return f"has no {name}"
    if kind == "message":
        content = item.get("content")
        if not isinstance(content, list):
            return "has a content that is no list of parts"
        for part in content:
            field = _PARTS.get(str(part.get("type"))) if isinstance(part, dict) else None
            if field is None or not isinstance(part.get(field), str):
                return "has a part that is none of the wire"
    return None


def _oldest_first(children: list[Object], is_page: bool) -> list[Object]:
    """Return children oldest first.

    Args:
        children: The children, in the order of a file.
        is_page: Whether they are as the wire lists them: the newest first, unless their times say
            otherwise.
    """
    times = [child.get("created_at") for child in children]
    known = [time for time in times if isinstance(time, (int, float))]
    if len(known) != len(times):
        return children[::-1] if is_page else children
    if times and (known[0] > known[-1] or (is_page and known[0] == known[-1])):
        children = children[::-1]
    # Stable: what has one second in common stays in its order.
    return sorted(children, key=lambda child: child["created_at"])


def import_thread(storage: Storage, thread: Object, now: int) -> Imported:
    """Keep a thread or conversation with its ids and times; what is there already stays.

    Args:
        storage: Where.
        thread: It, as ``read_lines`` gives it.
        now: Unix time, for what has none.
    """
    kind = _kinds(storage)[thread["object"]]
    parent = {
        "id": thread["id"],
        "object": thread["object"],
        "created_at": thread.get("created_at") or now,
        "metadata": thread.get("metadata") or {},
    }
    if thread["object"] == "thread":
        parent["tool_resources"] = thread.get("tool_resources") or {}
    done = Imported()
    with storage.write() as connection:
        if kind.parents.get(connection, parent["id"], lock=True) is None:
            kind.parents.insert(connection, parent)
            done += Imported(threads=1)
        for child in thread[kind.field]:
            done += _import_child(connection, kind, parent, child)
    return done


def _import_child(
    connection: Connection, kind: _Kind, parent: Mapping[str, Any], child: Object
) -> Imported:
    # By its id, wherever it is: ids are unique.
    if kind.children.get(connection, child["id"]) is not None:
        return Imported(known=1)
    if kind.field == "messages":
        fields = {
            "object": "thread.message",
            "created_at": parent["created_at"],
            "status": "completed",
            "incomplete_details": None,
            "completed_at": child.get("created_at"),
            "incomplete_at": None,
            "assistant_id": None,
            "run_id": None,
            "attachments": [],
            "metadata": {},
        }
        missing = {name: value for name, value in fields.items() if name not in child}
        child = {**child, **missing, "thread_id": parent["id"]}
    kind.children.insert(connection, child, parent["id"])
    return Imported(messages=1)
