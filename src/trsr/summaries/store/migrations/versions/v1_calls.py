"""Calls: the tables of trsr 0.1.0, which made them without Alembic."""

import sqlalchemy as sa
from alembic import op

revision = "1"
down_revision = None

# "C" is the order of code points, as in SQLite, whatever the language of the database
TEXT = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
LONG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the table of calls, unless trsr 0.1.0 did."""
    op.create_table(
        "calls",
        sa.Column("key", TEXT, primary_key=True),
        sa.Column("text", TEXT, nullable=False),
        sa.Column("tokens_in", sa.Integer, nullable=False),
        sa.Column("tokens_out", sa.Integer, nullable=False),
        sa.Column("model", TEXT, nullable=False),
        sa.Column("created", LONG, nullable=False),
        if_not_exists=True,
    )
