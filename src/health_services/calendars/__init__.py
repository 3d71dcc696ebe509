"""Appointments as iCalendar (RFC 5545): single files, personal feeds, invitations."""
