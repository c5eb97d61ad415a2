"""Readings per CPU-second of the router."""
