"""Accounts: what administrators see and change of them, and everybody of his own."""
