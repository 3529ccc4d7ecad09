"""What a journal knows of the messages of one conversation that have no run yet."""

from __future__ import annotations

import contextlib
import time
import uuid
from collections.abc import Iterator, Mapping
from typing import Any

import attrs

from gpt_agent_sync.decisions.state import QueuedMessage
from gpt_agent_sync.errors import JournalError
from gpt_agent_sync.journal.base import Entry, Journal, Scope
from gpt_agent_sync.journal.leases import leases_of
from gpt_agent_sync.journal.owners import this_process
from gpt_agent_sync.logs import get_logger
from gpt_agent_sync.records import RunOptions, UserMessage

logger = get_logger(__name__)

MESSAGE = "message"
"""The kind of the entries that are messages."""


@attrs.frozen(kw_only=True)
class EarlierPost:
    """A post that a process began which did not come to its end.

    Attributes:
        after: The newest message that was there before, if known.
        queued: Whether the message is to be posted if it is not there; else its caller, who has
            never got an id, may have done so.
    """

    after: str | None
    queued: bool


@attrs.define
class _Held:
    """A message that is this process's own.

    Attributes:
        data: What the journal holds of it.
        left: Whether an earlier process has left it.
    """

    data: dict[str, Any]
    left: bool = False


class MessageNotes:
    """The notes on the messages of one conversation; none where the journal is not shared.

    A message that is noted is this process's own until its run is there. Safe to share.

    Args:
        journal: Where they are kept.
        service: The service's name in journals.
        thread_id: The conversation.
        look_pause: Seconds between two looks for what other processes may leave.
    """

    def __init__(self, journal: Journal, service: str, thread_id: str, look_pause: float) -> None:
        self._journal = journal
        self._scope = Scope(service=service, thread_id=thread_id)
        self._leases = leases_of(journal)
        self._look_pause = look_pause
        self._held: dict[str, _Held] = {}
        self.look_at: float | None = None
        """When to look again, monotonic seconds; ``None`` while nobody else has messages here."""

    def new_key(self) -> str | None:
        """Return a key for a message, and the token it is sent with; ``None`` if none is kept."""
        # What is in memory ends with the process: there is nobody to go on with it.
        return uuid.uuid4().hex if self._journal.shared else None

    def note(
        self,
        key: str | None,
        message: QueuedMessage,
        *,
        queued: bool,
        begun: bool = False,
        after: str | None = None,
    ) -> None:
        """Note a message before it waits, or before it is posted without its run.

        Args:
            key: Its key.
            message: The message.
            queued: Whether it is to be posted by whoever comes.
            begun: Whether it is about to be posted.
            after: The newest message that is there, if known.

        Raises:
            TypeError: If JSON cannot hold it.
            JournalError: If that cannot be noted.
            RuntimeError: If no thread can be started to renew the leases.
        """
        if key is None:
            return
        data = {**_encode(message), "queued": queued, "begun": begun, "after": after}
        with self._as_json():
            if key not in self._held:
                self._claim(key, data)
            elif not self._update(key, data):
                raise JournalError(repr(self._journal), f"note message {key}", "it is taken over")

    @contextlib.contextmanager
    def _as_json(self) -> Iterator[None]:
        """Say what it is that JSON cannot hold."""
        try:
            yield
        except (TypeError, ValueError) as exc:
            raise TypeError(
                f"a message and its run options have to be JSON for {self._journal!r}: {exc}"
            ) from exc

    def leave(self, message: QueuedMessage) -> str:
        """Note a message for whichever process comes to post it, and return its key.

        Raises:
            TypeError: If JSON cannot hold it.
            JournalError: If that cannot be noted.
        """
        key = uuid.uuid4().hex
        data = {**_encode(message), "queued": True, "begun": False, "after": None}
        with self._as_json():
            self._journal.add(self._scope, MESSAGE, key, data)
        return key

    def waiting(self) -> list[str]:
        """Return the keys of the messages that are noted.

        Raises:
            JournalError: If the journal cannot be read.
        """
        return [entry.key for entry in self._journal.entries(self._scope, MESSAGE)]

    def begin(self, key: str, after: str | None) -> bool:
        """Note that a message is about to be posted; return whether it is still ours to post.

        Raises:
            JournalError: If that cannot be noted.
        """
        held = self._held.get(key)
        if held is None:
            return False
        if held.data["begun"]:
            return True
        if self._update(key, {**held.data, "begun": True, "after": after}):
            return True
        self._let_go(key)
        return False

    def earlier_post(self, key: str) -> EarlierPost | None:
        """Return what an earlier process did of a message's post, if it had begun it."""
        held = self._held.get(key)
        if held is None or not held.left:
            return None
        return EarlierPost(after=held.data["after"], queued=held.data["queued"])

    def take_up(self) -> tuple[QueuedMessage, ...]:
        """Make the messages that nobody is at work on this process's own; oldest first.

        Those after one that another process is at work on stay for a later look.

        Raises:
            JournalError: If the journal cannot be read or written.
            RuntimeError: If no thread can be started to renew the leases.
        """
        self.look_at = None
        if not self._journal.shared:
            return ()
        taken: list[QueuedMessage] = []
        try:
            for entry in self._journal.entries(self._scope, MESSAGE):
                message = None if entry.key in self._held else _decode(entry)
                if message is None:
                    continue
                if not self._take(entry.key):
                    self.look_at = time.monotonic() + self._look_pause
                    break
                if entry.key in self._held:
                    taken.append(message)
        except BaseException:
            for message in taken:
                self.release(message.key)
            raise
        return tuple(taken)

    def forget(self, key: str | None) -> None:
        """Drop the note on a message, if there is one: its run is there, or will never be."""
        if key is None or not self._let_go(key):
            return
        try:
            self._journal.remove(self._scope, MESSAGE, key)
        except JournalError as exc:
            # Whoever takes it up finds the message in its thread.
            logger.warning("message %s stays noted: %s", key, exc)

    def release(self, key: str | None = None) -> None:
        """Leave a message to whoever connects next; ``None`` for all of them."""
        for each in list(self._held) if key is None else [key]:
            if not self._let_go(each):
                continue
            try:
                self._journal.release(self._scope, MESSAGE, each, owner=this_process())
            except JournalError as exc:
                logger.warning("message %s stays taken: %s", each, exc)

    def _take(self, key: str) -> bool:
        """Claim an entry; return whether nobody else is at work on it."""
        if not self._claim(key, {}):
            return False
        held = self._held[key]
        if held.data:
            held.left = held.data["begun"]
        else:  # it was removed since it was listed
            self.forget(key)
        return True

    def _claim(self, key: str, data: Mapping[str, Any]) -> bool:
        leases = self._leases
        leases.hold()  # before the claim, which lasts for as long as somebody renews it
        try:
            claim = self._journal.claim(
                self._scope, MESSAGE, key, owner=this_process(), lease=leases.lease, data=data
            )
        except BaseException:
            leases.drop()
            raise
        if claim.taken:
            self._held[key] = _Held(dict(claim.entry.data))
        else:
            leases.drop()
        return claim.taken

    def _update(self, key: str, data: dict[str, Any]) -> bool:
        if not self._journal.update(self._scope, MESSAGE, key, owner=this_process(), data=data):
            return False
        self._held[key].data = data
        return True

    def _let_go(self, key: str) -> bool:
        """Hold a message no longer; return whether it was held."""
        if self._held.pop(key, None) is None:
            return False
        self._leases.drop()
        return True


def _encode(queued: QueuedMessage) -> dict[str, Any]:
    message = queued.message
    content = message.content
    return {
        "content": content if isinstance(content, str) else list(content),
        "attachments": list(message.attachments),
        "metadata": dict(message.metadata),
        "options": queued.options.given(),
        "assistant_id": queued.assistant_id,
    }


def _decode(entry: Entry) -> QueuedMessage | None:
    data = entry.data
    try:
        content = data["content"]
        return QueuedMessage(
            message=UserMessage(
                content=content if isinstance(content, str) else tuple(content),
                attachments=tuple(data["attachments"]),
                metadata=data["metadata"],
            ),
            options=RunOptions(**data["options"]),
            assistant_id=data["assistant_id"],
            key=entry.key,
        )
    except (KeyError, TypeError, ValueError) as exc:
        logger.warning("message %s is left: another version has noted it: %r", entry.key, exc)
        return None
