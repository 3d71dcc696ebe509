"""Webhooks: other systems are told of what happens, signed as Standard Webhooks says."""
