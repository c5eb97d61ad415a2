"""Alarms: rules over the readings of each channel, and the thresholds some of them go by. Pure."""
