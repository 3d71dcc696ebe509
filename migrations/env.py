"""How Alembic reaches the database: on the connection it is handed, one transaction for each migration."""

from alembic import context
from sqlalchemy import text

from health_services.database.base import Base

connection = context.config.attributes["connection"]
# A table that waits for a lock makes everybody behind it wait: give up instead, and try again later.
connection.execute(text("SET lock_timeout = '5s'"))
connection.commit()
context.configure(connection=connection, target_metadata=Base.metadata, transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
