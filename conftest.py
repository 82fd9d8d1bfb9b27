"""One profile for all property tests: no deadline, and in a CI the same examples in each run."""

import os

from hypothesis import settings

settings.register_profile("givenotice", deadline=None, derandomize=bool(os.environ.get("CI")))
settings.load_profile("givenotice")
pytest_plugins = ["pytester"]
