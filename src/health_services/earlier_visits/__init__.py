"""Visits that a version without messages booked: their patients are reminded like everybody else."""
