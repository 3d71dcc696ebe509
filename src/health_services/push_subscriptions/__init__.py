"""Browsers that a person lets us push messages to (Web Push, RFC 8030)."""
