"""The embedded server as a WSGI application of its own, for the processes of a deployment.

One process with many threads: ``gunicorn --chdir examples --workers 1 --worker-class gthread
--threads 100 assistants_server:app``. ``SERVER_DATABASE`` names its file.
"""

from __future__ import annotations

import os

from gpt_agent_sync.server.app import create_app, make_engine

app = create_app(make_engine(os.environ.get("SERVER_DATABASE", "server.db")))
