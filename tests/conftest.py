"""What all tests share: under CI, hypothesis tries the same examples each time, so that a run says the same twice."""

import os

from hypothesis import settings

settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
