"""Django's commands.

One process, without anything else: ``python examples/django_chat/manage.py demo``, after ``pip
install -r examples/django_chat/requirements.txt``. It needs no key and no network, and its page is
http://127.0.0.1:8000. Many processes: see ``compose.yaml`` and ``gunicorn.conf.py``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from django.core.management import execute_from_command_line


def main(arguments: list[str]) -> None:
    """Run a command; ``demo`` makes the database and serves."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "django_chat.settings")
    if arguments[1:2] == ["demo"]:
        execute_from_command_line([arguments[0], "migrate"])
        arguments = [arguments[0], "runserver", "--noreload", *arguments[2:]]
    execute_from_command_line(arguments)


if __name__ == "__main__":
    main(sys.argv)
