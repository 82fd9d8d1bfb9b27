"""Each interpreter within reach, with its checks on: what a program pushes arrives, once, in silence."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from platforms import APPS, Platform, receiving

PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
USUAL = ["3.9", "3.10", "3.11", "3.12", "3.13"]
RARE = ["3.14", "3.13t", "3.14t"]  # not to be had from Debian 12 or the package index; run where they are
CHECKS = ["-X", "dev", "-W", "error"]
FORK = ["-W", "ignore:This process:DeprecationWarning"]  # from 3.12 Python warns of a fork amid the sending
OPTIONS = [
    pytest.param([], {}, "smoke", id="smoke"),
    pytest.param(CHECKS, {}, "smoke, -X dev, -W error", id="dev"),
    pytest.param([], {"PYTHONMALLOC": "debug"}, "smoke, PYTHONMALLOC=debug", id="malloc"),
]


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with receiving(tmp_path) as platform:
        platform.settings["GIVENOTICE_EXIT_TIMEOUT"] = "20"  # what is lost must not depend on a busy machine
        yield platform


def find(version: str) -> str:
    """The newest interpreter of this *version*; that it is missing is a failure where it can be had."""
    if version == "PyPy":
        found, expected = shutil.which("pypy3"), bool(shutil.which("apt-get"))
    else:
        number, free = version.rstrip("t"), "t" if version.endswith("t") else ""
        here = [path for path in PYENV.glob(f"{number}.*") if re.fullmatch(rf"[\d.]+{free}", path.name)]
        newest = max(here, key=lambda path: int(path.name.rstrip("t").split(".")[2]), default=None)
        found = str(newest / "bin" / "python") if newest else shutil.which(f"python{version}")
        expected = version in USUAL and PYENV.is_dir()
    if not found and expected:
        pytest.fail(f"{version} is missing: install it (see .ci/run).")
    if not found:
        pytest.skip(f"{version} is not here.")
    return found


def run(platform: Platform, command: list[str]) -> None:
    with platform.running(command) as process:
        pass
    assert process.returncode == 0, platform.log.read_text()
    assert platform.log.read_text() == ""


@pytest.mark.parametrize("version", [*USUAL, *RARE, "PyPy"])
@pytest.mark.parametrize(("options", "settings", "what"), OPTIONS)
def test_all_ways_to_push_arrive(
    version: str, options: list[str], settings: dict[str, str], what: str, platform: Platform
) -> None:
    python = find(version)
    platform.settings.update(settings)
    times = 3
    for _ in range(times):
        run(platform, [python, *options, *FORK, str(APPS / "smoke.py")])
    kinds = {name.split("-")[0] for name in platform.pushed}
    assert kinds >= {"first", "loop", "handler", "atexit", "end"}
    platform.check(version if version == "PyPy" else f"Python {version}", what, times)


@pytest.mark.parametrize("version", USUAL)
def test_a_subinterpreter_delivers(version: str, platform: Platform) -> None:
    run(platform, [find(version), str(APPS / "subinterpreter.py")])
    assert len(platform.pushed) == 3
    platform.check(f"Python {version}", "a subinterpreter", 1)
