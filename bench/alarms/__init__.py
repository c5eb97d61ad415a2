"""Benchmark of the alarms worker."""
