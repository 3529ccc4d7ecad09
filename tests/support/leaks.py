"""Everywhere that a secret could come to light."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterator
from types import TracebackType

import requests

from gpt_agent_sync.errors import GptAgentError


def shown_by(error: BaseException) -> Iterator[str]:
    """Yield all that an error shows: to people, to pickles, to trackers that keep frames."""
    for each in _chain(error):
        yield f"{each} {each!r} {each.args!r}"
        yield f"{vars(each)!r}"
        if isinstance(each, (GptAgentError, requests.RequestException)):
            yield repr(pickle.dumps(each))
        yield from _variables(each.__traceback__)


def shown_by_logs(records: list[logging.LogRecord]) -> Iterator[str]:
    """Yield all that log records show."""
    for record in records:
        yield f"{record.getMessage()} {record.args!r}"
        if record.exc_info and record.exc_info[1] is not None:
            yield from shown_by(record.exc_info[1])


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and what Python shows before it."""
    each: BaseException | None = error
    while each is not None:
        yield each
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)


def _variables(traceback: TracebackType | None) -> Iterator[str]:
    """Yield the variables of the frames that are not the test's."""
    while traceback is not None:
        frame, traceback = traceback.tb_frame, traceback.tb_next
        name = frame.f_globals.get("__name__", "")
        if not name.startswith("tests."):
            for variable, value in frame.f_locals.items():
                yield f"{name}.{frame.f_code.co_name}: {variable} = {value!r}"
