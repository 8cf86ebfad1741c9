"""What Alembic runs. The connection and its transaction are the caller's; logging is left as it is."""

from alembic import context

context.configure(connection=context.config.attributes["connection"])
context.run_migrations()
