"""Settings shared by all tests."""

import os

from hypothesis import HealthCheck, settings

# Timings never decide a test: no deadline, and no complaint about slow generation on a busy machine.
settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("default"), max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))
