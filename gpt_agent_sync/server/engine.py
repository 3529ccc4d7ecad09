"""Making work go: each piece is taken up by a thread and answered by a model."""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import attrs
import sqlalchemy as sa

from gpt_agent_sync.server.models.base import (
    CallPiece,
    Finish,
    Model,
    ModelError,
    ModelRequest,
    TextPiece,
)
from gpt_agent_sync.server.storage import Storage, StorageClosedError
from gpt_agent_sync.server.wire_errors import unknown_model

logger = logging.getLogger(__name__)

RUN_SECONDS = 600
"""How long a run may take, tool calls included (the Assistants wire's ``expires_at``)."""


@attrs.frozen(kw_only=True)
class ModelAnswer:
    """Hold all that a model said.

    Attributes:
        text: Its text.
        calls: The tool calls that it asks for.
        end: How it ended: whole, cut short, or not at all.
    """

    text: str = ""
    calls: tuple[CallPiece, ...] = ()
    end: Finish | ModelError = attrs.field(factory=Finish)

    @property
    def cut_short(self) -> str | None:
        """Why the text ends early; ``None`` when it does not."""
        return self.end.reason if isinstance(self.end, Finish) and self.end.is_early else None


class Work(ABC):
    """Be one thing that a model is to answer: a run of the one wire, a response of the other.

    Attributes:
        kind: What it is, in the wire's word.
        id: Its id.
    """

    kind: str
    id: str

    def __str__(self) -> str:
        """Name the work, for the log."""
        return f"{self.kind} {self.id}"

    @abstractmethod
    def begin(self) -> bool:
        """Mark the work as going on, and tell whether it still waits to be done."""

    @abstractmethod
    def request(self) -> ModelRequest:
        """Give what the model is asked."""

    @abstractmethod
    def finish(self, answer: ModelAnswer) -> None:
        """Keep what the model said, unless nobody wants it any more."""


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

    def close(self) -> None:
        """Close the storage; what models still say is dropped."""
        self.storage.close()

    def _answer(self, work: Work) -> ModelAnswer:
        texts: list[str] = []
        calls: list[CallPiece] = []
        end: Finish | ModelError = Finish()
        try:
            request = work.request()
            model = next(model for model in self._models if model.serves(request.model))
            for piece in model.reply(request):
                if isinstance(piece, TextPiece):
                    texts.append(piece.text)
                elif isinstance(piece, CallPiece):
                    calls.append(piece)
                else:
                    end = piece
        except ModelError as exc:
            end = exc
        except Exception:
            logger.exception("the model broke on %s", work)
            end = ModelError("server_error", "Sorry, something went wrong.")
        return ModelAnswer(text="".join(texts), calls=tuple(calls), end=end)
