"""The versions of the SQL schema, oldest first. A test compares this list with the migration scripts.

It stands here so that an up-to-date journal opens without importing Alembic.
"""

REVISIONS = ("0001", "0002", "0003")
HEAD = REVISIONS[-1]
