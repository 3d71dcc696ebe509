"""The ledger of messages: one row for each, sent once, and visible whatever becomes of it."""
