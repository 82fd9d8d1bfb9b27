"""A process that pushes for long, beside a server that is well, slow, stopped, killed, and back."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import cycle
from pathlib import Path

from matrix import Row, record
from platforms import APPS, program
from programs import HOME
from servers import until

import givenotice

COUNT = int(os.environ.get("TRUST_LONG", "600000"))  # pushes; the table is of a run with 2,000,000
SECONDS = COUNT / 15_000
PUSHERS = 8


class Changing:
    """A uvicorn on a port of its own, whose processes come and go."""

    def __init__(self, folder: Path) -> None:
        self.ledger = folder / "received"
        self.ledger.touch()
        self.slow = folder / "slow"
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        self.log = (folder / "server.log").open("wb")
        self.process: subprocess.Popen[bytes] | None = None

    def be_well(self) -> None:
        if self.process is None:
            settings = {"PYTHONPATH": str(APPS), "LEDGER": str(self.ledger), "SLOW": str(self.slow)}
            options = f"changing:application --lifespan off --no-access-log --port {self.port}".split()
            command = [program("uvicorn"), *options]
            self.process = subprocess.Popen(
                command, env={**os.environ, **settings}, stdout=self.log, stderr=self.log
            )
        self.process.send_signal(signal.SIGCONT)
        self.slow.unlink(missing_ok=True)

    def be_slow(self) -> None:
        self.slow.touch()

    def be_silent(self) -> None:
        """The kernel takes connections, and nobody answers."""
        assert self.process
        self.process.send_signal(signal.SIGSTOP)

    def be_dead(self) -> None:
        """In the middle of what it does; connections are reset, and then refused."""
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def states(self) -> Iterator[tuple[Callable[[], None], float]]:
        """What it does next, and for how many seconds."""
        return cycle(
            [
                (self.be_well, 5.0),
                (self.be_slow, 3.0),
                (self.be_well, 2.0),
                (self.be_silent, 3.0),
                (self.be_dead, 2.0),
            ]
        )


@contextmanager
def changing(folder: Path) -> Iterator[Changing]:
    server = Changing(folder)
    try:
        server.be_well()
        assert until(server.listens)
        yield server
    finally:
        server.be_dead()
        server.log.close()


def test_pushes_add_up_beside_a_server_that_changes(tmp_path: Path) -> None:
    with changing(tmp_path) as server:
        plain = f"http://127.0.0.1:{server.port}/ping?"
        matomo = f"http://127.0.0.1:{server.port}/matomo.php?idsite=1&rec=1"
        command = [sys.executable, str(APPS / "long.py"), str(COUNT), str(SECONDS), *[matomo] * 9, plain]
        with subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(HOME), "GIVENOTICE_TIMEOUT": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        ) as pusher:
            for change, seconds in server.states():
                change()
                if until(lambda: pusher.poll() is not None, seconds):
                    break
            out = pusher.communicate()[0].decode()
        received = Counter(server.ledger.read_text().split())
    assert pusher.returncode == 0, out
    assert out.count("\n") == 1, out  # it said nothing of its own
    told = json.loads(out)
    counts = givenotice.Stats(**told["stats"])
    twice = sum(count > 1 for count in received.values())
    what = f"{PUSHERS} threads, a server that is well, slow, silent, killed, and back"
    record(Row("a long run", what, 1, COUNT, None, twice))
    assert not twice
    # The counts are those of the callers, and of the server.
    assert told["flushed"]
    assert (counts.pushed, counts.pending) == (COUNT, 0)
    assert counts.sent + counts.failed == told["taken"]
    assert counts.sent <= len(received) <= counts.sent + counts.failed
    assert min(counts) == 0 < min(counts.sent, counts.failed, counts.dropped)  # it met all of it
    # Bounded while it runs, and nothing is left when it is idle.
    memory, threads, sockets = zip(*told["samples"])
    third = len(memory) // 3
    assert max(threads) <= givenotice.WORKERS + PUSHERS + 1
    assert max(sockets) <= 2 * givenotice.WORKERS + 1  # each sender has a second handle on its own
    assert told["idle"][1:] == [1, 0]
    assert max(memory[2 * third :]) < 1.1 * max(memory[third : 2 * third])
