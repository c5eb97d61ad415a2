"""Readings, windows, aggregates and their codecs. Pure: no I/O, no clock, no environment."""
