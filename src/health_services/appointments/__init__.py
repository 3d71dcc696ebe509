"""Booking and cancelling: the one door to a place in a slot."""
