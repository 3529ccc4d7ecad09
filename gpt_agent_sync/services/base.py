"""The contract between an agent and the service that runs its assistant."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Mapping, Sequence
from typing import Any

from gpt_agent_sync.errors import InvalidThreadIdError
from gpt_agent_sync.records import (
    AssistantDefinition,
    FeedUpdate,
    Message,
    Order,
    Posted,
    RunOptions,
    RunRequest,
    RunSnapshot,
    ToolOutput,
    UserMessage,
)


class Feed(ABC):
    """The updates of one run: an iterator that another thread can close.

    Nothing is requested before the first ``next()``, and errors of the service come out of
    ``next()``. A feed yields snapshots, deltas of text and the run's finished messages; a
    final snapshot comes after all messages of the run, and ends the feed, as does a snapshot
    that waits for tool outputs.
    """

    def __iter__(self) -> Iterator[FeedUpdate]:
        """Return the feed itself."""
        return self

    @abstractmethod
    def __next__(self) -> FeedUpdate:
        """Block until there is an update, and return it.

        Raises:
            StopIteration: If the run is final, waits for outputs, or the feed was closed.
            ServiceError: If the service failed.
        """

    @abstractmethod
    def close(self) -> None:
        """End the feed, from any thread, waking a ``next()`` that waits; idempotent."""


class Service(ABC):
    """A service that runs assistants, over one wire, in wire-neutral records.

    A service object is shared by many agents and called from many threads at once. All
    methods may raise ``ServiceError``. Two services are equal when their ``identity`` is, and
    then agents of the same thread are shared between them.
    """

    name: str = "service"
    """The word that chooses the service in settings."""

    @property
    @abstractmethod
    def identity(self) -> Hashable:
        """What makes two services the same: class, address, project, credentials."""

    @property
    def journal_name(self) -> str:
        """The service's name in journals: the same in every process, and no secret.

        By default it is a digest of the identity, which has to look the same everywhere for that.
        """
        # Imported here: most services have a name of their own.
        import hashlib

        digest = hashlib.sha256(repr(self.identity).encode()).hexdigest()
        return f"{self.name}:{digest[:32]}"

    def __eq__(self, other: object) -> bool:
        """Compare by identity."""
        if not isinstance(other, Service):
            return NotImplemented
        return self.identity == other.identity

    def __hash__(self) -> int:
        """Hash by identity."""
        return hash(self.identity)

    @abstractmethod
    def create_thread(
        self, messages: Sequence[Message] = (), metadata: Mapping[str, str] | None = None
    ) -> str:
        """Create a thread that begins with ``messages``, and return its id."""

    @abstractmethod
    def create_assistant(self, definition: AssistantDefinition) -> str:
        """Create, or keep, an assistant and return its id."""

    @abstractmethod
    def open_thread(self, thread_id: str) -> RunSnapshot | None:
        """Check that the thread is there, and return its newest run if that is under way.

        Raises:
            InvalidThreadIdError: If the service has no such thread.
        """

    def newest_run(self, thread_id: str) -> RunSnapshot | None:
        """Return the thread's newest run, one that has ended too, where the service says.

        Raises:
            ServiceError: If the service fails.
        """
        return self.open_thread(thread_id)

    @abstractmethod
    def messages(
        self,
        thread_id: str,
        *,
        after: str | None = None,
        order: Order = "asc",
        limit: int | None = None,
    ) -> Iterator[Message]:
        """Return an iterator over the thread's messages that reads a page when it needs it.

        A message of the assistant that is still to be written, and so has nothing in it yet, is
        left out. Errors of the service come out of ``next()``.

        Args:
            thread_id: The thread.
            after: The id of a message: those after it, in the order asked for. The id that
                ``post_message()`` gave will do.
            order: ``"asc"`` for the oldest first, ``"desc"`` for the newest first.
            limit: How many there are at most; ``None`` for all.

        Raises:
            RequestRejectedError: If there is no message of the id ``after``.
        """

    @abstractmethod
    def check_options(self, options: RunOptions) -> None:
        """Refuse, before any request, options that the wire does not have.

        Raises:
            ConfigurationError: If there is one; it names the option.
        """

    def check_message(  # noqa: B027  (most wires have all that a message can hold)
        self, message: UserMessage, options: RunOptions
    ) -> None:
        """Refuse, before any request, a message with what the wire does not have.

        Raises:
            ConfigurationError: If there is such a thing; it names it.
        """

    @abstractmethod
    def post_message(self, request: RunRequest, message: UserMessage) -> Posted:
        """Hand the user's message to the service, and return once it is there.

        Where that does not start its run, ``request.before_post()`` is called first; what it raises
        comes out.
        """

    @abstractmethod
    def start_run(self, request: RunRequest) -> Feed:
        """Return a feed that starts the run of ``request`` and follows it.

        It answers the message that was posted for it, else what is newest in the thread.
        """

    @abstractmethod
    def resume_run(self, request: RunRequest, run_id: str) -> Feed:
        """Return a feed that polls a run at once and follows it."""

    @abstractmethod
    def submit_tool_outputs(
        self, request: RunRequest, run_id: str, outputs: Sequence[ToolOutput]
    ) -> Feed:
        """Return a feed that sends all outputs in one request and follows the run.

        Its first snapshot shows that the service has the outputs, or how the run ended
        without them.
        """

    @abstractmethod
    def cancel_run(self, thread_id: str, run_id: str) -> None:
        """Ask for the run to be cancelled; quiet when it is final already."""

    def close(self) -> None:  # noqa: B027  (nothing to close is a fine default)
        """Release connections; the service can be used again afterwards."""

    def __repr__(self) -> str:
        """Show the class only: subclasses add what is not secret."""
        return f"{type(self).__name__}()"


def check_thread_id(thread_id: Any, prefixes: Mapping[str, str]) -> None:
    """Refuse an id that is plainly of another wire.

    Args:
        thread_id: The id.
        prefixes: What ids of other wires begin with, and the reason for each that the error names.

    Raises:
        InvalidThreadIdError: If the id begins with one of the prefixes.
    """
    for prefix, reason in prefixes.items():
        if thread_id.startswith(prefix):
            raise InvalidThreadIdError(thread_id, reason)
