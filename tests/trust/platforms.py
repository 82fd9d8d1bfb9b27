"""Processes that push, the ledger of what they pushed, and the receiver that must have got it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import sleep
from urllib.parse import parse_qs, urlsplit

import pytest
from matrix import Row, record
from programs import HOME
from servers import NO_CONTENT, Answer, Heard, Origin, answering, until

APPS = Path(__file__).parent / "apps"
# What no log may show, from whichever part. The servers' own lines are free of it; Celery warns of root.
COMPLAINT = re.compile(
    r"givenotice|Traceback|Error|Exception|CRITICAL|Fatal|(?<!Security)Warning|SIGKILL|SIGSEGV|TIMEOUT"
)

SECRET = "hushhush"  # no process may write it anywhere


def with_secrets(base: str) -> str:
    """*base* with a password and a token in it."""
    return base.replace("://", f"://user:{SECRET}@") + f"/?token_auth={SECRET}"


class Platform:
    """A receiver, the ledger of what the applications pushed to it, and their processes."""

    def __init__(self, origin: Origin, folder: Path) -> None:
        self.origin = origin
        self.folder = folder
        self.ledger = folder / "ledger"
        self.ledger.touch()
        self.log = folder / "log"
        self.settings = {
            "GIVENOTICE_URI": with_secrets(origin.base),
            "LEDGER": str(self.ledger),
            "HOME": str(folder),
        }

    @property
    def environment(self) -> dict[str, str]:
        path = os.pathsep.join([str(HOME), str(APPS)])
        programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        return {**os.environ, "PYTHONPATH": path, "PATH": programs, **self.settings}

    def call(self, command: list[str]) -> None:
        """Run *command* to its end, with success."""
        subprocess.run(command, env=self.environment, cwd=self.folder, timeout=60, check=True)

    @contextmanager
    def running(self, command: list[str], *sockets: int) -> Iterator[subprocess.Popen[bytes]]:
        """Run *command* beside the block; it must end by itself then, or by the SIGTERM that it got."""
        with (
            self.log.open("ab") as log,
            subprocess.Popen(
                command,
                env=self.environment,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                pass_fds=sockets,
            ) as process,
        ):
            try:
                yield process
                process.wait(30)
            finally:
                kill_group(process.pid)

    @property
    def pushed(self) -> list[str]:
        return self.ledger.read_text().split()

    @property
    def arrived(self) -> list[str]:
        return [parse_qs(urlsplit(target).query)["n"][0] for target in self.origin.targets]

    def check(self, where: str, what: str, times: int) -> None:
        """All that was pushed is here, once; no log complains; and the table gets its row."""
        until(lambda: len(self.arrived) >= len(self.pushed), 3)
        pushed, arrived = Counter(self.pushed), Counter(self.arrived)
        lost = pushed - arrived
        twice = Counter({name: count for name, count in arrived.items() if count > 1})
        record(Row(where, what, times, len(self.pushed), sum(lost.values()), sum(twice.values())))
        log = self.log.read_text()
        assert not lost, log
        assert arrived == pushed
        assert not twice
        assert not COMPLAINT.findall(log), log
        assert SECRET not in log


def kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        pass


def slowly(connection: socket.socket, _heard: Heard) -> None:
    """The receiver takes its time, so that much is under way when a worker ends."""
    sleep(0.2)
    connection.sendall(NO_CONTENT)


@contextmanager
def receiving(folder: Path, answer: Answer | None = None) -> Iterator[Platform]:
    with answering(answer) as origin:
        yield Platform(origin, folder)


def program(name: str) -> str:
    """The path of a program that this environment must have; where Debian's packages are, it is a failure."""
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if not found and shutil.which("apt-get"):
        pytest.fail(f"{name} is missing: install it (see .ci/run).")
    if not found:
        pytest.skip(f"{name} is not here, nor is apt-get.")
    return found
