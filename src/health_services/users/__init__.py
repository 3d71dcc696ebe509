"""The people who have, or could have, an account."""
