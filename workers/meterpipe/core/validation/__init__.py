"""The validation of readings on their way to the windows. Pure: what it knows is told it, and its state is data."""
