"""What several processes over one database need: leases in it, and one order of names whatever its locale is."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# PostgreSQL would sort them by its locale, which an upgrade of the operating system may change under an index.
_BY_CODE_POINT = {
    "credentials": ("name", "issuer"),
    "records": ("name",),
    "events": ("id", "credential"),
    "notices": ("id",),
    "facts": ("key",),
}


def upgrade() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    name = sa.String(collation="C") if postgresql else sa.String()
    for table, columns in _BY_CODE_POINT.items() if postgresql else ():
        for column in columns:
            op.alter_column(table, column, type_=name)
    op.create_table(
        "leases",
        sa.Column("name", name, primary_key=True),
        sa.Column("owner", name, nullable=False),
        sa.Column("fence", sa.BigInteger(), nullable=False),
        sa.Column("expires_at", sa.BigInteger(), nullable=False),
    )
    held = sa.text("owner <> ''")
    op.create_index("leases_owner", "leases", ["owner"], sqlite_where=held, postgresql_where=held)
    if postgresql:
        op.execute("INSERT INTO leases (name, owner, fence, expires_at) SELECT name, '', 0, 0 FROM credentials")
        # Rewritten all the time: room beside the rows lets PostgreSQL do that without touching the indexes.
        op.execute("ALTER TABLE leases SET (fillfactor = 50)")
        op.execute("ALTER TABLE journal SET (fillfactor = 10)")
