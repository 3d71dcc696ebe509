"""The languages in which people are spoken to: their sentences, days, hours and time zones."""
