"""Measure givenotice beside its peers: python3 tests/bench [--quick]

Its environments, with the peers' newest releases, are made under ~/.cache. It prints Markdown; `--write`
keeps it in figures.md, with a plot, and in README.md. `--quick` takes 3 minutes, all of it half an hour.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import platform
import shutil
import subprocess
import sys
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic, strftime
from typing import Any
from urllib.request import urlopen

import report
from report import LIMIT

HOME = Path(__file__).resolve().parent
FILE = HOME.parent.parent / "givenotice.py"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "givenotice-bench"
TOOLS = ("matplotlib", "trustme", "uvloop")

PLAIN = (
    "givenotice",
    "urllib_inline",
    "thread_each",
    "pool_of_8",
    "requests_futures",
    "mixpanel",
    "matomo",
)
BATCHING = (
    "givenotice_matomo",
    "givenotice_token",
    "posthog",
    "segment",
    "segment_shutdown",
    "sentry",
    "snowplow",
)
QUEUES = (
    "nothing",
    "simple_queue",
    "python_function",
    "givenotice",
    "posthog",
    "segment",
    "sentry",
    "snowplow",
    "requests_futures",
)
MODULES = {
    "bare": "sys",
    "threading": "threading",
    "urllib": "urllib.request",
    "givenotice": "givenotice",
    "posthog": "posthog",
    "segment": "segment.analytics",
    "sentry": "sentry_sdk",
    "snowplow": "snowplow_tracker",
    "requests_futures": "requests_futures.sessions",
    "mixpanel": "mixpanel",
    "matomo": "matomo",
    "statsd": "statsd",
}
# What a module costs before it is used: modules, and pages of memory.
INVENTORY = """
import sys, os, {}
pages = int(open("/proc/self/statm").read().split()[1])
print(dict(modules=len(sys.modules), pages=pages))
"""


@dataclass(frozen=True)
class Cell:
    """One thing that is measured, for some systems."""

    measure: str
    port: str = "-"
    count: int = 1
    threads: int = 1
    systems: tuple[str, ...] = ()
    repeat: int = 1  # in each round
    quick: tuple[str, ...] = ()  # the systems of the quick mode

    @property
    def key(self) -> str:
        return f"{self.measure} {self.port} {self.count} {self.threads}"


def cells() -> list[Cell]:
    own = ("python_function", "givenotice")
    modules, brief = tuple(MODULES), ("bare", "threading", "urllib", "givenotice", "posthog", "segment")
    found = [
        Cell("import", systems=modules, repeat=8, quick=brief),
        Cell("inventory", systems=modules, quick=brief),
        Cell(
            "shell", "0", systems=("bare", "urlopen", "givenotice"), repeat=8, quick=("urlopen", "givenotice")
        ),
        Cell("push", "0", 5000, 1, (*QUEUES, "statsd"), 3, ("nothing", *own, "posthog", "segment")),
        Cell("paced", "0", 500, 1, QUEUES, 1, own),
        Cell("push", "20", 200, 1, ("urllib_inline", "mixpanel", "matomo")),
        Cell("push", "0", 5000, 8, QUEUES, 1, own),
        Cell("fair", "hole", 1000, 1, ("givenotice", "pool_of_8"), 1, ("givenotice",)),
        Cell("burst", "matomo", 1000, 1, ("givenotice_matomo",), 1, ("givenotice_matomo",)),
    ]
    for port in ("0", "refuse", "hole"):
        found.append(Cell("ratio", port, 9000, 1, ("givenotice",), 5, ("givenotice",)))
    for port in ("refuse", "hole"):
        found.append(Cell("push", port, 5000, 1, (*own, "posthog", "segment", "snowplow"), 3, own))
        found.append(Cell("push", port, 5000, 8, own))
    for count in (1, 100, 1000, 10_000):
        for latency in ("0", "20", "100"):
            quick = (count, latency) in ((1, "100"), (1000, "100"), (10_000, "20"))
            few: tuple[str, ...] = BATCHING[:4] if quick else ()
            found.append(Cell("burst", latency, count, 1, BATCHING, 1, few))
            few = (
                {1: ("givenotice", "urllib_inline", "posthog"), 1000: ("givenotice",)}.get(count, ())
                if quick
                else ()
            )
            found.append(Cell("burst", latency, count, 2, PLAIN, 1, few))
    sick = (
        "nothing",
        "givenotice",
        "givenotice_matomo",
        *PLAIN[2:5],
        "posthog",
        "segment",
        "sentry",
        "snowplow",
    )
    for port in ("hole", "drip", "refuse"):
        for count in (1, 1000):
            found.append(Cell("burst", port, count, 1, sick, 1, ("givenotice",)))
    found.append(
        Cell("memory", "hole", 9000, 1, ("simple_queue", "givenotice", "posthog", "segment"), 1, own)
    )
    for port in ("0", "tls"):
        few = ("givenotice", "urllib_inline")
        found.append(Cell("sustained", port, 2000, 1, (*few, "pool_of_8", "requests_futures"), 2, few))
    return found


class Bench:
    def __init__(self, python: Path, ports: dict[str, int], folder: Path, **settings: str) -> None:
        self.python, self.ports = str(python), ports
        self.environment = {
            name: value for name, value in os.environ.items() if not name.startswith(("GIVENOTICE", "PYTHON"))
        }
        authority = str(folder / "authority.pem")
        self.environment.update(SSL_CERT_FILE=authority, REQUESTS_CA_BUNDLE=authority, **settings)
        self.results: dict[str, dict[str, list[Any]]] = defaultdict(lambda: defaultdict(list))

    def take(self, cell: Cell, systems: tuple[str, ...]) -> None:
        """Each of the systems in turn, as often as the cell is repeated."""
        for turn in range(cell.repeat):
            for number in range(len(systems)):
                system = systems[(number + turn) % len(systems)]  # nobody is always behind the same one
                found = self.results[cell.key][system]
                if not self.hopeless(cell, system):
                    found.append(self.measure(cell, system))

    def hopeless(self, cell: Cell, system: str) -> bool:
        """Whether it went beyond the limit before, or will: it was slow with a tenth of the events."""
        fewer = self.results[replace(cell, count=cell.count // 10).key]
        slow = [one["all"] > LIMIT / 4 for one in fewer.get(system, []) if one and "all" in one]
        ended = [one["exit"] >= LIMIT for one in self.results[cell.key][system] if one and "exit" in one]
        return any(slow + ended)

    def measure(self, cell: Cell, system: str) -> Any:
        if cell.measure == "import":
            return self.run("-c", f"import {MODULES[system]}")
        if cell.measure == "inventory":
            return self.run("-c", INVENTORY.format(MODULES[system]))["out"]
        if cell.measure == "shell":
            return self.run(*self.command(system))
        scheme = "https" if cell.port == "tls" else "http"
        base = f"{scheme}://127.0.0.1:{self.ports[cell.port]}"
        self.counts()
        program = str(HOME / "program.py")
        healthy = f"http://127.0.0.1:{self.ports['0']}"
        ran = self.run(program, cell.measure, system, base, str(cell.count), str(cell.threads), healthy)
        if cell.measure == "fair":
            counts = self.counts()
            return {
                "arrived": counts["last"] - ran["out"]["begin"] if counts["events"] == 2 else float("inf")
            }
        if cell.measure != "burst":
            return ran["out"]
        out = ran["out"] or {"last": ran["end"] - LIMIT, "begin": ran["end"] - LIMIT}
        exit = LIMIT if ran["status"] < 0 else ran["end"] - out["last"]
        pushing = out["last"] - out["begin"]
        return {"pushing": pushing, "exit": exit, "all": pushing + exit, "cpu": ran["cpu"], **self.counts()}

    def command(self, system: str) -> list[str]:
        uri = f"http://127.0.0.1:{self.ports['0']}/ping"
        return {
            "bare": ["-c", ""],
            "urlopen": ["-c", f"from urllib.request import urlopen; urlopen('{uri}')"],
            "givenotice": ["-m", "givenotice", uri],
        }[system]

    def run(self, *arguments: str) -> dict[str, Any]:
        """Run the Python of the subjects; how long it took, the processor's time, and what it printed."""
        begin = monotonic()
        process = subprocess.Popen(
            [self.python, *arguments],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        killer = threading.Timer(LIMIT, process.kill)
        killer.start()
        _, status, used = os.wait4(process.pid, 0)
        end = monotonic()
        killer.cancel()
        process.returncode = status = os.WEXITSTATUS(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
        assert process.stdout
        with process.stdout as stdout:
            out = stdout.read().strip().decode()
        return {
            "seconds": end - begin,
            "end": end,
            "cpu": used.ru_utime + used.ru_stime,
            "status": status,
            "out": ast.literal_eval(out) if out else None,
        }

    def counts(self) -> dict[str, Any]:
        with urlopen(f"http://127.0.0.1:{self.ports['control']}/") as answer:
            counts: dict[str, Any] = json.load(answer)
        return counts


def environments(renew: bool) -> tuple[Path, Path]:
    """The interpreters for the server and the plot, and for the subjects; the latter has no pip in it."""
    folder = CACHE / platform.python_implementation() / platform.python_version()
    tools, subjects = folder / "tools", folder / "subjects"
    if renew or not (folder / "made").exists():
        shutil.rmtree(folder, ignore_errors=True)
        call(sys.executable, "-m", "venv", str(tools))
        call(str(tools / "bin/pip"), "install", "-q", "-U", "pip", *TOOLS)
        call(sys.executable, "-m", "venv", "--without-pip", str(subjects))
        target = ("--python", str(subjects / "bin/python"), "install", "-q", "-U", "-r")
        call(str(tools / "bin/pip"), *target, str(HOME / "requirements.txt"))
        (folder / "made").touch()
    [packages] = (subjects / "lib").glob("*/site-packages")
    shutil.copy(FILE, packages)
    call(str(subjects / "bin/python"), "-m", "compileall", "-q", str(packages / FILE.name))  # as pip does
    return tools / "bin/python", subjects / "bin/python"


def call(*command: str) -> None:
    subprocess.run(command, check=True, stdout=sys.stderr)


def machine(tools: Path, subjects: Path) -> dict[str, Any]:
    listing = [str(tools.parent / "pip"), "--python", str(subjects), "list", "--format=json"]
    packages = json.loads(subprocess.run(listing, check=True, capture_output=True).stdout)
    wanted = (HOME / "requirements.txt").read_text().split()
    cpu = [
        line.partition(": ")[2]
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if "model name" in line
    ]
    return {
        "date": strftime("%Y-%m-%d"),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "system": f"{platform.system()} {platform.release()}",
        "cpu": f"{len(cpu)} cores of {cpu[0]}",
        "peers": {package["name"]: package["version"] for package in packages if package["name"] in wanted},
    }


@contextmanager
def serving(python: Path, folder: Path) -> Iterator[dict[str, int]]:
    """The ports of a server that runs meanwhile."""
    command = [str(python), str(HOME / "server.py"), str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin and server.stdout
        try:
            yield json.loads(server.stdout.readline())
        finally:
            server.stdin.close()


def measure(options: argparse.Namespace, tools: Path, subjects: Path) -> dict[str, Any]:
    folder = tools.parent.parent
    with serving(tools, folder) as ports:
        load = [str(tools), str(HOME / "load.py"), str(ports["0"]), str(ports["tls"])]
        ceiling = json.loads(subprocess.run(load, check=True, capture_output=True).stdout)
        bench = Bench(subjects, ports, folder)
        for number in range(options.rounds or (1 if options.quick else 3)):
            for cell in cells():
                systems = cell.quick if options.quick else cell.systems
                systems = tuple(one for one in systems if not options.systems or one in options.systems)
                if systems and (not options.only or cell.key.startswith(tuple(options.only))):
                    print(f"round {number + 1}: {cell.key}", file=sys.stderr)
                    bench.take(cell, systems)
    return {"machine": {**machine(tools, subjects), "ceiling": ceiling}, "cells": bench.results}


def into_readme(text: str) -> None:
    """The figures that users see first."""
    readme = HOME.parent.parent / "README.md"
    before, begin, rest = readme.read_text().partition("<!-- figures -->\n")
    _, end, after = rest.partition("<!-- /figures -->\n")
    readme.write_text(before + begin + text + end + after)


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench", description="Measure givenotice beside its peers.")
    add = parser.add_argument
    add("--quick", action="store_true", help="the figures to reach, in 3 minutes")
    add("--rounds", type=int, help="how often each figure is taken (default 3; 1 if quick)")
    add("--only", nargs="*", metavar="CELL", help="cells whose names begin so, such as 'push 0'")
    add("--systems", nargs="*", metavar="SYSTEM", help="only these systems")
    add("--renew", action="store_true", help="make the environments again, with newest peers")
    add("--write", action="store_true", help="figures.md, figures.svg and the figures in README.md")
    options = parser.parse_args()
    tools, subjects = environments(options.renew)
    results = measure(options, tools, subjects)
    kept = tools.parent.parent / "results.json"
    kept.write_text(json.dumps(results))
    print(report.markdown(results))
    if options.write:
        (HOME / "figures.md").write_text(report.markdown(results))
        into_readme(report.readme(results))
        call(str(tools), str(HOME / "plot.py"), str(kept), str(HOME / "figures.svg"))
