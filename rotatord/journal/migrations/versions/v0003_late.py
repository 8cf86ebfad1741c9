"""What the watchdog looks for by itself: the moment when a rotation is so late that people are told."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("credentials", sa.Column("late_at", sa.BigInteger()))
    op.execute("UPDATE credentials SET late_at = 0")  # the watchdog looks at each once, and then knows
    late = sa.text("late_at IS NOT NULL")
    op.create_index("credentials_late", "credentials", ["late_at"], sqlite_where=late, postgresql_where=late)
