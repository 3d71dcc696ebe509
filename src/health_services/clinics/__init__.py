"""The places where patients are seen, and their staff."""
