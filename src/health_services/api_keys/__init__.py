"""API keys: how machines call in somebody's name."""
