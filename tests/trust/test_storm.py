"""Processes that end at any moment, beside sick servers: no crash, no word, no delay, the status kept.

The defaults are for CI. The table is of a run with TRUST_STORM=500 and TRUST_REFUSED=200.
"""

from __future__ import annotations

import os
import random
import ssl
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import monotonic
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from matrix import Row, record
from platforms import APPS, with_secrets
from programs import Ended, execute
from servers import Heard, answering, dripping, listening, refusing, reset, silent
from test_interpreters import RARE, USUAL, find

TIMES = int(os.environ.get("TRUST_STORM", "100"))  # processes of each CPython, beside all kinds of servers
REFUSED = int(os.environ.get("TRUST_REFUSED", "40"))  # and beside one whose certificate is refused
BUDGET = 0.3  # seconds for the exit
# PyPy, before it has compiled anything, takes longer to leave TLS than half of that, and is slow altogether.
PYPY_TIMES, PYPY_BUDGET, PYPY_NOISE = 0.4, 1.5, 4.0
NOISE = 1.5  # seconds that one of several processes may be kept from running, on a machine of two cores
BUSY = 10.0  # seconds of the same where others take the cores for themselves
MOMENT = 0.25  # seconds at most until main ends: by then the requests are under way
NOBODY = "http://nobody.invalid/"
HUNG = Ended(-9, "", "It hung.", 60)


class Storm(NamedTuple):
    """How some processes ended."""

    wrong: Counter[tuple[int, str, str]]  # status and words, where they are not as they should be
    exits: list[float]  # seconds from the end of main
    pushed: int

    def check(self, version: str, times: int, what: str, most: float, arrived: Counter[str]) -> None:
        """All is well: no exit took more than *most* seconds, nothing arrived twice. The table gets a row."""
        late = [seconds for seconds in self.exits if seconds > most]
        twice = {name: count for name, count in arrived.items() if count > 1}
        where = version if version == "PyPy" else f"Python {version}"
        bad = sum(self.wrong.values()) + len(late)
        record(Row(where, what, times, self.pushed, None, len(twice), bad))
        assert not self.wrong
        assert not late
        assert not twice
        assert len(self.exits) == times


def storm(
    version: str, times: int, several: int, budget: float, folder: Path, choose: Callable[[int], list[str]]
) -> Storm:
    """Run processes, *several* at a time; *choose* says how many each pushes at first, and to which URIs."""
    python, chance = find(version), random.Random(version)
    moments = [chance.uniform(0, MOMENT) for _ in range(times)]
    ledger = folder / "ledger"

    def once(number: int) -> tuple[Ended, float]:
        many, *uris = choose(number)
        command = [python, str(APPS / "storm.py"), f"run-{number}", str(moments[number]), *uris]
        try:
            settings = {"LEDGER": str(ledger), "MANY": many, "GIVENOTICE_EXIT_TIMEOUT": str(budget)}
            return execute(command, **settings), monotonic()
        except subprocess.TimeoutExpired:
            return HUNG, monotonic()

    with ThreadPoolExecutor(several) as threads:
        ends = list(threads.map(once, range(times)))
    wrong = Counter((ended.status, ended.out, ended.err) for ended, _ in ends)
    wrong.pop((3, "", ""), None)
    rows = [line.split() for line in ledger.read_text().splitlines()]
    last = {row[0]: float(row[1]) for row in rows}
    exits = [end - last[f"run-{number}"] for number, (_, end) in enumerate(ends) if f"run-{number}" in last]
    return Storm(wrong, exits, sum(int(row[2]) for row in rows))


# --- Beside servers of all kinds


def name(heard: Heard) -> str:
    return parse_qs(urlsplit(heard.target).query)["name"][0]


def over_tls(base: str) -> str:
    return base.replace("http:", "https:")


@contextmanager
def untrusted() -> Iterator[str]:
    """Its certificate is from an authority that nobody trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    with answering(context=context) as origin:
        yield origin.base


@contextmanager
def sick_servers() -> Iterator[list[list[str]]]:
    """What a process may push to, several servers at a time."""
    with ExitStack() as stack:
        closed, mute, drip, resets, refused = map(
            stack.enter_context, (refusing(), silent(), dripping(), listening(reset), untrusted())
        )
        mute_tls = over_tls(mute)
        yield [
            [closed],
            [mute],
            [drip],
            [resets],
            [mute_tls],
            [refused],
            [NOBODY],
            [over_tls(resets), over_tls(drip)],
            [closed, mute, drip, resets, mute_tls, refused, NOBODY],
            [],  # what a process takes that pushes nothing
        ]


@pytest.mark.parametrize("version", [*USUAL, *RARE, "PyPy"])
def test_an_end_at_any_moment_does_no_harm(version: str, tmp_path: Path) -> None:
    times, budget, noise = TIMES, BUDGET, NOISE
    if version == "PyPy":
        times, budget, noise = int(TIMES * PYPY_TIMES), PYPY_BUDGET, PYPY_NOISE
    with answering() as healthy, sick_servers() as sick:

        def choose(number: int) -> list[str]:
            bases = sick[number % len(sick)]
            return ["1", *map(with_secrets, bases and [*bases, healthy.base])]

        ended = storm(version, times, 4, budget, tmp_path, choose)
        arrived = Counter(name(heard) for heard in healthy.heard if "name=" in heard.target)
    ended.check(
        version,
        times,
        "ends at any moment beside 7 kinds of sick servers",
        budget + 0.15 + noise,
        arrived,
    )
    assert median(ended.exits) < budget + 0.15
    assert arrived


# --- Beside a server whose certificate is refused: handshakes are work for the processor, not waiting


@contextmanager
def busy_cores(number: int) -> Iterator[None]:
    """As many processes take what they can get."""
    burners = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(number)]
    try:
        yield
    finally:
        for burner in burners:
            burner.kill()
            burner.wait()


@pytest.mark.parametrize("version", [*USUAL, *RARE, "PyPy"])
def test_an_end_amid_refused_handshakes_does_no_harm(version: str, tmp_path: Path) -> None:
    times, budget = (int(REFUSED * PYPY_TIMES), PYPY_BUDGET) if version == "PyPy" else (REFUSED, BUDGET)
    with untrusted() as base, busy_cores(2):

        def choose(number: int) -> list[str]:
            return [("1", "10", "1000")[number % 3], with_secrets(base)]

        ended = storm(version, times, 6, budget, tmp_path, choose)
    what = "ends amid refused handshakes, six processes at a time on two busy cores"
    ended.check(version, times, what, budget + 0.15 + BUSY, Counter())
