"""Logging what foreign code raises, whatever it is like."""

from __future__ import annotations

import logging
import sys
import traceback

from gpt_agent_sync.errors import describe_error
from gpt_agent_sync.texts import on_one_line


def get_logger(name: str) -> logging.Logger:
    """Return the logger of a module, whose messages are one line each, whatever is in them.

    Ids, names and words of services, models and files would else forge lines of the log.
    """
    logger = logging.getLogger(name)
    if _keep_on_one_line not in logger.filters:
        logger.addFilter(_keep_on_one_line)
    return logger


def _keep_on_one_line(record: logging.LogRecord) -> bool:
    try:
        message = record.getMessage()
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            shown = "".join(traceback.format_exception(*record.exc_info)).splitlines()
            # Indented, the words of what was raised are not taken for lines of the log.
            record.exc_text = "\n".join(f"  {on_one_line(line)}" for line in shown)
    except Exception:
        return True  # what cannot be printed the handlers complain of, and nothing else comes of it
    line = on_one_line(message)
    if line != message:
        record.msg, record.args = line, ()
    return True


def log_exception(logger: logging.Logger, level: int, message: str, *arguments: object) -> None:
    """Log the exception that is being handled, with its traceback where that can be shown.

    Logging would print a complaint of its own on standard error where it cannot, or raise.
    """
    error = sys.exc_info()[1]
    try:
        traceback.format_exc()
    except BaseException:
        shown = "an exception" if error is None else describe_error(error)
        logger.log(level, message + " (%s; its traceback cannot be shown)", *arguments, shown)
    else:
        logger.log(level, message, *arguments, exc_info=True)
