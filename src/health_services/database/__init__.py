"""How we reach PostgreSQL, and what guards it."""
