"""Places in time that a doctor offers: never overlapping, never above capacity."""
