"""What all tests share: a thread each, and hypothesis's examples: under CI the same each time, in haste few."""

import os

from hypothesis import HealthCheck, settings

# Each worker of pytest-xdist has a core. Threads of OpenMP and the like, which wait by spinning, would fight for it.
for library in ("OMP", "OPENBLAS", "MKL"):
    os.environ.setdefault(f"{library}_NUM_THREADS", "1")

os.environ.setdefault("STATEDICT_CACHE", "0")  # no test keeps headers in the folders of who runs it

# No test asserts a time, and hypothesis is not to do so for it.
steady = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("all", steady)
settings.register_profile("ci", steady, derandomize=True)
settings.register_profile("fast", steady, max_examples=10)
settings.load_profile("ci" if os.environ.get("CI") else "all")
