"""Programs in processes of their own, as users run them: what they print, how they end, how long it took."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from time import monotonic

import givenotice

HOME = Path(givenotice.__file__).parent  # where the tested file is: in the tree, or installed
TREE = Path(__file__).parents[1]


@dataclass
class Ended:
    status: int
    out: str
    err: str
    seconds: float


def run(source: str, *arguments: str, options: tuple[str, ...] = (), **settings: str) -> Ended:
    """Run *source* as a script: *arguments* are its sys.argv[1:], *settings* its environment variables."""
    return execute([sys.executable, *options, "-c", dedent(source), *arguments], **settings)


def script(source: str, *arguments: str, **settings: str) -> Ended:
    """The same; it ends well, and writes nothing to stderr."""
    ended = run(source, *arguments, options=(), **settings)
    assert (ended.status, ended.err) == (0, "")
    return ended


def execute(command: list[str], **settings: str) -> Ended:
    """Run *command* to its end, with givenotice and the servers of the tests in reach of its Pythons."""
    path = os.pathsep.join(filter(None, [str(HOME), str(TREE / "tests"), os.environ.get("PYTHONPATH")]))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIVENOTICE_")}
    begin = monotonic()
    environment = {**kept, "PYTHONPATH": path, **settings}
    done = subprocess.run(command, env=environment, capture_output=True, timeout=60)
    seconds = monotonic() - begin
    out, err = (text.decode("utf-8", "replace").replace("\r\n", "\n") for text in (done.stdout, done.stderr))
    return Ended(done.returncode, out, err, seconds)


def commands(folder: Path) -> str:
    """A PATH on which `python3` and `givenotice` are those under test, in *folder*."""
    folder.mkdir(exist_ok=True)
    for name, arguments in {"python3": "", "givenotice": "-m givenotice"}.items():
        command = folder / name
        command.write_text(f'#!/bin/sh\nexec "{sys.executable}" {arguments} "$@"\n')
        command.chmod(0o755)
    return os.pathsep.join([str(folder), os.environ["PATH"]])
