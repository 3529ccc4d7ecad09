"""Making work go: each piece is taken up by a thread and answered by a model."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import sqlalchemy as sa

from gpt_agent_sync.server.errors import unknown_model
from gpt_agent_sync.server.models.base import (
    CallPiece,
    Finish,
    Model,
    ModelError,
    ModelRequest,
    TextPiece,
)
from gpt_agent_sync.server.storage import Storage, StorageClosedError
from gpt_agent_sync.server.streams import Stream, Streams, Told

logger = logging.getLogger(__name__)

RUN_SECONDS = 600
"""How long a run may take, tool calls included (the Assistants wire's ``expires_at``)."""


class Work(ABC):
    """Be one thing that a model is to answer: a run of the one wire, a response of the other.

    Args:
        work_id: Its id.
        stream: What is told of it, if anybody wants to know.

    Attributes:
        kind: What it is, in the wire's word.
        id: Its id.
    """

    kind: str

    def __init__(self, work_id: str, stream: Stream | None = None) -> None:
        self.id = work_id
        self._stream = stream

    def __str__(self) -> str:
        """Name the work, for the log."""
        return f"{self.kind} {self.id}"

    def tell(self, *events: Told, last: bool = False) -> None:
        """Tell those who want to know; nothing is told after the last."""
        if self._stream is not None:
            self._stream.tell(*events, last=last)

    @abstractmethod
    def begin(self) -> bool:
        """Mark the work as going on, and give whether it still waits to be done."""

    @abstractmethod
    def request(self) -> ModelRequest:
        """Give what the model is asked."""

    @abstractmethod
    def hear(self, piece: TextPiece | CallPiece) -> None:
        """Take in the next piece of what the model says."""

    @abstractmethod
    def finish(self, end: Finish | ModelError) -> None:
        """Keep what the model said, unless nobody wants it any more.

        Args:
            end: How its answer ended: whole, cut short, or not at all.
        """


class Engine:
    """Work, with models, on what is kept in a storage.

    Args:
        storage: Where everything is kept.
        models: Who answers; the first that serves a name does.
        default_model: What the name ``"default"`` stands for.
        run_seconds: How long a run, or a response, may take.
        clock: Gives Unix time.
    """

    def __init__(
        self,
        storage: Storage,
        models: Sequence[Model],
        *,
        default_model: str = "demo",
        run_seconds: float = RUN_SECONDS,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.storage = storage
        self.clock = clock
        self.run_seconds = run_seconds
        self.streams = Streams()
        self._models = list(models)
        self._default_model = default_model

    def model_named(self, name: str) -> str:
        """Give the name of a model that is served.

        Raises:
            WireError: If nobody serves it.
        """
        resolved = self._default_model if name == "default" else name
        if not any(model.serves(resolved) for model in self._models):
            raise unknown_model(name)
        return resolved

    def take_up(self, work: Work) -> None:
        """Have a thread do the work."""
        threading.Thread(
            target=self.do, args=(work,), name=f"gpt-agent-server-{work.id}", daemon=True
        ).start()

    def do(self, work: Work) -> None:
        """Do the work on the calling thread."""
        try:
            if work.begin():
                work.finish(self._answer(work))
        except StorageClosedError:
            logger.debug("%s is left as it is: the server has stopped", work)
        except sa.exc.SQLAlchemyError:
            logger.exception("%s could not be kept", work)
        finally:
            work.tell(last=True)

    def close(self) -> None:
        """Close the storage, and end all streams; what models still say is dropped."""
        self.streams.close()
        self.storage.close()

    def _answer(self, work: Work) -> Finish | ModelError:
        end: Finish | ModelError = Finish()
        try:
            request = work.request()
            model = next(model for model in self._models if model.serves(request.model))
            for piece in model.reply(request):
                if isinstance(piece, Finish):
                    end = piece
                else:
                    work.hear(piece)
        except ModelError as exc:
            end = exc
        except StorageClosedError:
            raise
        except Exception:
            logger.exception("the model broke on %s", work)
            end = ModelError("server_error", "Sorry, something went wrong.")
        return end
