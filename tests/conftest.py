"""Settings shared by all tests."""

import os

from hypothesis import HealthCheck, settings

# Timings never decide a test: no deadline, and no complaint about slow generation on a busy machine.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
# The same examples in each run, for a gate that fails only for what was changed.
settings.register_profile("repeatable", settings.get_profile("default"), derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
