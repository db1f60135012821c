"""Run by Alembic, in the transaction and on the connection that `moorage.db.migrate` has made."""

from alembic import context

from moorage.db.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    render_as_batch=True,
    transaction_per_migration=False,
)
with context.begin_transaction():
    context.run_migrations()
