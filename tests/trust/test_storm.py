"""Processes that end at any moment, beside sick servers: no crash, no word, no delay, the status kept."""

from __future__ import annotations

import os
import random
import ssl
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from time import monotonic
from urllib.parse import parse_qs, urlsplit

import pytest
import trustme
from matrix import Row, record
from platforms import APPS, with_secrets
from programs import Ended, execute
from servers import Heard, answering, dripping, listening, refusing, reset, silent
from test_interpreters import RARE, USUAL, find

TIMES = int(os.environ.get("TRUST_STORM", "500"))  # processes of each CPython
SEVERAL = 4  # at a time
BUDGET = 0.3  # seconds for the exit
# PyPy, before it has compiled anything, takes longer to leave TLS than half of that, and is slow altogether.
PYPY = {"times": TIMES * 2 // 5, "budget": 1.5, "noise": 4.0}
NOISE = 1.5  # seconds that one of several processes may be kept from running, on a machine of two cores
MOMENT = 0.25  # seconds at most until main ends: by then the requests are under way
NOBODY = "http://nobody.invalid/"


def name(heard: Heard) -> str:
    return parse_qs(urlsplit(heard.target).query)["name"][0]


def over_tls(base: str) -> str:
    return base.replace("http:", "https:")


@contextmanager
def sick_servers() -> Iterator[list[list[str]]]:
    """What a process may push to, several servers at a time."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)  # an authority that nobody trusts
    with ExitStack() as stack:
        closed, mute, drip, resets = map(
            stack.enter_context, (refusing(), silent(), dripping(), listening(reset))
        )
        untrusted = stack.enter_context(answering(context=context)).base
        mute_tls = over_tls(mute)
        yield [
            [closed],
            [mute],
            [drip],
            [resets],
            [mute_tls],
            [untrusted],
            [NOBODY],
            [over_tls(resets), over_tls(drip)],
            [closed, mute, drip, resets, mute_tls, untrusted, NOBODY],
            [],  # what a process takes that pushes nothing
        ]


@pytest.mark.parametrize("version", [*USUAL, *RARE, "PyPy"])
def test_an_end_at_any_moment_does_no_harm(version: str, tmp_path: Path) -> None:
    python = find(version)
    times, budget, noise = PYPY.values() if version == "PyPy" else (TIMES, BUDGET, NOISE)
    ledger = tmp_path / "ledger"
    chance = random.Random(version)
    with answering() as healthy, sick_servers() as sick:

        def once(number: int) -> tuple[Ended, float]:
            bases = sick[number % len(sick)]
            uris = [with_secrets(base) for base in bases and [*bases, healthy.base]]
            command = [python, str(APPS / "storm.py"), f"run-{number}", str(chance.uniform(0, MOMENT)), *uris]
            ended = execute(command, LEDGER=str(ledger), GIVENOTICE_EXIT_TIMEOUT=str(budget))
            return ended, monotonic()

        with ThreadPoolExecutor(SEVERAL) as several:
            ends = list(several.map(once, range(int(times))))
        arrived = Counter(name(heard) for heard in healthy.heard if "name=" in heard.target)
    rows = [line.split() for line in ledger.read_text().splitlines()]
    last = {row[0]: float(row[1]) for row in rows}
    exits = [end - last[f"run-{number}"] for number, (_, end) in enumerate(ends) if f"run-{number}" in last]
    wrong = Counter((ended.status, ended.out, ended.err) for ended, _ in ends)
    good = wrong.pop((3, "", ""), 0)
    late = [seconds for seconds in exits if seconds > budget + 0.15 + noise]
    twice = {name: count for name, count in arrived.items() if count > 1}
    where = version if version == "PyPy" else f"Python {version}"
    what = "ends at any moment beside 7 kinds of sick servers"
    pushed = sum(int(row[2]) for row in rows)
    record(Row(where, what, len(ends), pushed, None, len(twice), len(ends) - good + len(late)))
    assert not wrong
    assert not late
    assert not twice
    assert len(exits) == len(ends)
    assert median(exits) < budget + 0.15
    assert arrived
