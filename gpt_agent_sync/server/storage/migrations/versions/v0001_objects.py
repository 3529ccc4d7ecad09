"""The tables as they were before there were migrations: of databases that have no version."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TABLES = ("assistants", "threads", "messages", "runs", "conversations", "items", "responses")


def upgrade() -> None:
    """Make them."""
    for name in TABLES:
        op.create_table(
            name,
            sa.Column("seq", sa.Integer, primary_key=True, autoincrement=True),
            sa.Column("id", sa.String(64), unique=True, nullable=False),
            sa.Column("parent_id", sa.String(64), index=True),
            sa.Column("run_id", sa.String(64), index=True),
            sa.Column("status", sa.String(32)),
            sa.Column("data", sa.JSON, nullable=False),
        )
