"""The first schema. Written out, not taken from tables.py: that file moves on and this one must not."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_BIG_KEY = sa.BigInteger().with_variant(sa.Integer(), "sqlite")  # SQLite's rowid is an INTEGER by name


def upgrade() -> None:
    journal = op.create_table(
        "journal",
        sa.Column("id", sa.Integer(), primary_key=True, autoincrement=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("event_seq", sa.BigInteger(), nullable=False),
        sa.Column("credentials", sa.BigInteger(), nullable=False),
    )
    op.bulk_insert(journal, [{"id": 1, "epoch": 0, "event_seq": 0, "credentials": 0}])
    _create_credentials()
    op.create_table(
        "records",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("body", sa.Text(), nullable=False),
    )
    _create_events_and_notices()
    op.create_table(
        "facts",
        sa.Column("key", sa.String(), primary_key=True),
        sa.Column("value", sa.Text(), nullable=False),
    )


def _create_credentials() -> None:
    op.create_table(
        "credentials",
        sa.Column("name", sa.String(), primary_key=True),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("issuer", sa.String(), nullable=False),
        sa.Column("due_at", sa.BigInteger()),
        sa.Column("deadline", sa.BigInteger(), nullable=False),
        sa.Column("inspected_at", sa.BigInteger()),
        sa.Column("open", sa.SmallInteger(), nullable=False),
        sa.Column("halted", sa.SmallInteger(), nullable=False),
        sa.Column("owed", sa.Integer(), nullable=False),
        sa.Column("ready", sa.SmallInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    _create_partial("credentials_due", "credentials", ["ready", "due_at"], "due_at IS NOT NULL")
    _create_partial("credentials_ready", "credentials", ["issuer", "deadline", "due_at"], "ready = 1")
    _create_partial("credentials_deadline", "credentials", ["deadline"], "deadline < 4611686018427387904")
    _create_partial("credentials_inspected", "credentials", ["inspected_at"], "inspected_at IS NOT NULL")
    _create_partial("credentials_open", "credentials", ["open"], "open = 1")
    _create_partial("credentials_halted", "credentials", ["halted"], "halted = 1")
    _create_partial("credentials_owed", "credentials", ["owed"], "owed > 0")


def _create_events_and_notices() -> None:
    op.create_table(
        "events",
        sa.Column("seq", _BIG_KEY, primary_key=True, autoincrement=False),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("time", sa.BigInteger(), nullable=False),
        sa.Column("credential", sa.String(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("events_credential", "events", ["credential", "seq"])
    op.create_table(
        "notices",
        sa.Column("position", _BIG_KEY, primary_key=True),
        sa.Column("id", sa.String(), nullable=False, unique=True),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("try_at", sa.BigInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("done", sa.SmallInteger(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
    )
    op.create_index("notices_at", "notices", ["at"])
    _create_partial("notices_try", "notices", ["try_at"], "done = 0")


def _create_partial(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
