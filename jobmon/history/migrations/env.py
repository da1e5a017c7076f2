"""What Alembic runs for each call of it: the steps, on the connection that it was given."""

from __future__ import annotations

from alembic import context

_given = context.config.attributes

if context.is_offline_mode():
    context.configure(
        url=_given["url"],
        version_table=_given["version_table"],
        literal_binds=True,
        transactional_ddl=_given["url"].get_backend_name() != "mysql",
    )
else:
    # It is in a transaction, which whoever gave it ends.
    context.configure(connection=_given["connection"], version_table=_given["version_table"])

with context.begin_transaction():
    context.run_migrations()
