"""Each interpreter within reach, with its checks on: what a program pushes arrives, once, in silence."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from matrix import Row, record
from platforms import APPS, Platform, receiving
from programs import execute
from test_long import changing

import givenotice

PYENV = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
PYTHONS = [Path(path) for path in os.environ.get("TRUST_PYTHONS", "").split(os.pathsep)]  # .ci/run found them
USUAL = ["3.9", "3.10", "3.11", "3.12", "3.13", "3.14", "3.15"]
RARE = ["3.14t", "3.15t"]  # without the GIL; run where they are: .ci/free-threaded puts them together
STRESS = int(os.environ.get("TRUST_STRESS", "200000"))  # pushes; the table is of a run with 1,000,000
CHECKS = ["-X", "dev", "-W", "error"]
FORK = ["-W", "ignore:This process:DeprecationWarning"]  # from 3.12 Python warns of a fork amid the sending
OPTIONS = {
    "smoke": ([], {}),
    "smoke, -X dev, -W error": (CHECKS, {}),
    "smoke, PYTHONMALLOC=debug": ([], {"PYTHONMALLOC": "debug"}),
}
FREE_THREADED: dict[str, tuple[list[str], dict[str, str]]] = {
    "smoke, -X gil=0": (["-X", "gil=0"], {}),
    "smoke, -X gil=1": (["-X", "gil=1"], {}),
    "smoke, PYTHON_GIL=0": ([], {"PYTHON_GIL": "0"}),
    "smoke, PYTHON_GIL=1": ([], {"PYTHON_GIL": "1"}),
}
LAZY: dict[str, tuple[list[str], dict[str, str]]] = {
    "smoke, -X lazy_imports=all": (["-X", "lazy_imports=all"], {}),
}


def runs() -> Iterator[tuple[str, str, list[str], dict[str, str]]]:
    """Each interpreter, and in which ways it runs the smoke test."""
    for version in [*USUAL, *RARE, "PyPy"]:
        ways = {**OPTIONS, **FREE_THREADED} if version in RARE else OPTIONS
        for what, (options, settings) in {**ways, **(LAZY if "3.15" in version else {})}.items():
            yield version, what, options, settings


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
        found = next((str(path) for path in PYTHONS if path.name == f"python{version}"), None)
        here = [path for path in PYENV.glob(f"{version}.*") if re.fullmatch(r"[\d.]+", path.name)]
        newest = max(here, key=lambda path: int(path.name.split(".")[2]), default=None)
        found = found or (str(newest / "bin" / "python") if newest else shutil.which(f"python{version}"))
        expected = version in USUAL[:5] and PYENV.is_dir()
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


@pytest.mark.parametrize(("version", "what", "options", "settings"), [*runs()])
def test_all_ways_to_push_arrive(
    version: str, what: str, options: list[str], settings: dict[str, str], platform: Platform
) -> None:
    python = find(version)
    platform.settings.update(settings)
    times = 3
    for _ in range(times):
        run(platform, [python, *options, *FORK, str(APPS / "smoke.py")])
    kinds = {name.split("-")[0] for name in platform.pushed}
    assert kinds >= {"first", "loop", "handler", "atexit", "end"}
    platform.check(where(version), what, times)


def where(version: str) -> str:
    """The interpreter in the words of the table."""
    return version if version == "PyPy" else f"Python {version}"


@pytest.mark.parametrize("version", [*USUAL, *RARE])
def test_a_subinterpreter_delivers(version: str, platform: Platform) -> None:
    run(platform, [find(version), str(APPS / "subinterpreter.py")])
    assert len(platform.pushed) == 3
    platform.check(where(version), "a subinterpreter", 1)


@pytest.mark.parametrize("version", [*USUAL[5:], *RARE])
def test_a_pool_of_interpreters_delivers(version: str, platform: Platform) -> None:
    run(platform, [find(version), str(APPS / "interpreterpool.py")])
    assert len(platform.pushed) == 41
    platform.check(where(version), "InterpreterPoolExecutor of 4", 1)


@pytest.mark.parametrize("version", [*USUAL, *RARE, "PyPy"])
def test_what_eight_threads_push_adds_up(version: str, tmp_path: Path) -> None:
    """The queue overflows, and the server counts."""
    python = find(version)
    with changing(tmp_path) as server:
        uris = [f"http://127.0.0.1:{server.port}/{name}?idsite=1&rec=1" for name in ("a", "b")]
        plain = f"http://127.0.0.1:{server.port}/ping?"
        command = [python, str(APPS / "long.py"), str(STRESS), "0", *uris, *uris, plain]
        ended = execute(command, GIVENOTICE_TIMEOUT="60")
        received = Counter(server.ledger.read_text().split())
    assert (ended.status, ended.err) == (0, "")
    told = json.loads(ended.out)
    counts = givenotice.Stats(**told["stats"])
    twice = sum(count > 1 for count in received.values())
    lost = counts.sent - len(received)
    record(Row(where(version), "8 threads push as fast as they can", 1, STRESS, lost, twice))
    assert told["flushed"]
    assert (counts.pushed, counts.failed, counts.pending) == (STRESS, 0, 0)
    assert counts.sent == told["taken"] == sum(received.values())
    assert not twice
    assert told["idle"][1:] == [1, 0]
