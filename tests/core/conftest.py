"""How properties are checked: without a deadline, for a machine that is busy proves nothing about the code."""

from hypothesis import HealthCheck, settings

settings.register_profile("mizan", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("mizan")
