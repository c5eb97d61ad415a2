"""Readings per CPU-second of the activity worker."""
