"""Profiles in versions, and the users that calls were made for."""

import sqlalchemy as sa
from alembic import op

revision = "2"
down_revision = "1"

# "C" is the order of code points, as in SQLite, whatever the language of the database
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables beside that of calls, which stays as it is."""
    op.create_table(
        "call_users",
        sa.Column("call_key", TEXT, primary_key=True),
        sa.Column("user_id", TEXT, primary_key=True),
    )
    op.create_index("call_users_by_user", "call_users", ["user_id"])
    op.create_table(
        "profiles",
        sa.Column("id", LONG, primary_key=True, autoincrement=False),
        sa.Column("user_id", TEXT, nullable=False),
        sa.Column("method", TEXT, nullable=False),
        sa.Column("events", LONG, nullable=False),
        sa.Column("last_item", TEXT),
        sa.Column("last_time", LONG),
        sa.Column("inputs", TEXT, nullable=False),
        sa.Column("blocks", TEXT),
        sa.Column("steps", TEXT),
        sa.Column("summary", TEXT, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("created", LONG, nullable=False),
        sa.Column("replaced", LONG),
    )
    op.create_index("profiles_by_user", "profiles", ["user_id", "method"])
    op.create_index(
        "profiles_current",
        "profiles",
        ["method", "user_id"],
        unique=True,
        sqlite_where=sa.text("replaced IS NULL"),
        postgresql_where=sa.text("replaced IS NULL"),
    )
    op.create_table(
        "profile_calls",
        sa.Column("profile_id", LONG, primary_key=True, autoincrement=False),
        sa.Column("place", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("call_key", TEXT, nullable=False),
    )
    op.create_index("profile_calls_by_call", "profile_calls", ["call_key"])
