"""Runs the migrations from within, on a connection that the caller owns; the only importer of Alembic beside its scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.pool import StaticPool

from rotatord.journal.migrations import SERVE


def upgrade(url: str, connection: Any, *, to: str = "head", begin: str = "BEGIN IMMEDIATE") -> None:
    """Bring the schema up to date in one transaction of ``connection``, which may be closed afterwards. ``begin`` keeps
    everybody else who would do the same waiting: it is given to a SQLite connection in autocommit mode, or is the first
    statement of a transaction of PostgreSQL's."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    engine = create_engine(url, creator=lambda: connection, poolclass=StaticPool)
    with engine.connect() as ours:
        config.attributes["connection"] = ours
        ours.exec_driver_sql(begin)
        try:
            command.upgrade(config, to)
            if to == "head":
                ours.exec_driver_sql(SERVE)
        except BaseException:
            ours.rollback()
            raise
        ours.commit()
