"""Inviting people to accounts, and accepting an invitation."""
