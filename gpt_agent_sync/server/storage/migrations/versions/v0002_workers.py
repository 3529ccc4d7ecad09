"""Runs and responses have an owner; run steps and events are kept; lists are read by an index."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

OLD_TABLES = ("assistants", "threads", "messages", "runs", "conversations", "items", "responses")

LIST, LIST_OF_RUN = ("parent_id", "seq"), ("parent_id", "run_id", "seq")
LIVE, LIVE_OF_PARENT = ("status", "seq"), ("parent_id", "status")

INDEXES = {
    "messages": (LIST, LIST_OF_RUN),
    "steps": (LIST, LIST_OF_RUN),
    "items": (LIST,),
    "runs": (LIST, LIVE, LIVE_OF_PARENT),
    "responses": (LIST, LIVE, LIVE_OF_PARENT),
}


def upgrade() -> None:
    """Change the tables."""
    for name in OLD_TABLES:
        op.drop_index(f"ix_{name}_parent_id", name)
        op.drop_index(f"ix_{name}_run_id", name)
        if op.get_context().dialect.name == "postgresql":
            op.alter_column(name, "seq", type_=sa.BigInteger)
            op.execute(f"ALTER SEQUENCE {name}_seq_seq AS bigint")
    for name in ("runs", "responses"):
        op.add_column(name, sa.Column("owner", sa.String(64)))
    op.create_table(
        "steps",
        sa.Column(
            "seq",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=True,
        ),
        sa.Column("id", sa.String(64), unique=True, nullable=False),
        sa.Column("parent_id", sa.String(64)),
        sa.Column("run_id", sa.String(64)),
        sa.Column("status", sa.String(32)),
        sa.Column("data", sa.JSON, nullable=False),
    )
    for name, indexes in INDEXES.items():
        for columns in indexes:
            op.create_index("_".join(["ix", name, *columns]), name, list(columns))
    op.create_table(
        "workers",
        sa.Column("id", sa.String(64), primary_key=True),
        sa.Column("beat", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "events",
        sa.Column("work_id", sa.String(64), primary_key=True),
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("data", sa.Text, nullable=False),
        sa.Column("created_at", sa.Float, nullable=False, index=True),
    )
