"""Reading the audit, sealing it into a chain, and proving that nobody has changed it."""
