"""The people who are seen, and what only few may read of them."""
