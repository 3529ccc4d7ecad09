"""Celery's broker and results, as files in the folder that ``QUEUE`` names: no server to run."""

from __future__ import annotations

import os
from pathlib import Path

import celery

FOLDER = Path(os.environ["QUEUE"])

queue = celery.Celery("tests", broker="filesystem://", backend=FOLDER.as_uri())
queue.conf.broker_transport_options = {
    "data_folder_in": str(FOLDER),
    "data_folder_out": str(FOLDER),
    "polling_interval": 0.1,
    "control_folder": str(FOLDER / "control"),
}
