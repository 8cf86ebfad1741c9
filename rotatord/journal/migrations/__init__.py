"""The versions of the SQL schema, oldest first. A test compares this list with the migration scripts.

It stands here so that an up-to-date journal opens without importing Alembic.
"""

# Each with the oldest version whose rotatord can work with it: one that only adds what may be missing serves those before it,
# so that going back by one version of rotatord needs no older journal.
SERVES = {"0001": "0001", "0002": "0002", "0003": "0002"}
REVISIONS = tuple(SERVES)
HEAD = REVISIONS[-1]

FACT = "schema_serves"  # in the journal, since older versions cannot know of later ones
SERVED = f"SELECT value FROM facts WHERE key = '{FACT}'"  # noqa: S608 - nobody's text but ours
SERVE = (
    f"INSERT INTO facts (key, value) VALUES ('{FACT}', '{SERVES[HEAD]}') "  # noqa: S608
    "ON CONFLICT (key) DO UPDATE SET value = excluded.value"
)


def usable(revision: str, serves: str | None) -> str | None:
    """The version that a journal is to be treated as: its own where it is known, ours where a later one serves it, or None."""
    if revision in REVISIONS:
        return revision
    return HEAD if serves in REVISIONS else None
