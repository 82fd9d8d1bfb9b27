"""Pushes from everywhere until the interpreter is gone, and ends soon, with status 3, whatever is under way.

python storm.py NAME SECONDS [URI ...]    # $LEDGER gets when main ended, and how much was pushed by then

$MANY notices are pushed at the beginning, by default 1, to each URI.
"""

from __future__ import annotations

import atexit
import os
import signal
import sys
import threading
import time
from collections.abc import Callable

# The last of all callbacks: a signal that came later would end the process by itself.
atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)

import givenotice  # noqa: E402

name, seconds, *uris = sys.argv[1:]


def push_all(*_: object, push: Callable[..., bool] = givenotice.push, uris: list[str] = uris) -> None:
    """Also when the names of this module are gone."""
    for uri in uris:
        push(uri, more="1")


def push_for_ever() -> None:
    while True:
        push_all()
        pause.wait(0.002)


class Last:
    def __del__(self, push: Callable[[], None] = push_all) -> None:
        push()


pause = threading.Event()
threading.Thread(target=push_for_ever, daemon=True).start()
signal.signal(signal.SIGALRM, push_all)
signal.setitimer(signal.ITIMER_REAL, 0.003, 0.003)
atexit.register(push_all)
sys.modules["last"] = last = Last()  # type: ignore[assignment]  # lives until the modules are taken down
for uri in uris:
    givenotice.push(uri, name=name)
for _ in range(int(os.environ.get("MANY", "1")) - 1):
    push_all()
time.sleep(float(seconds))
pushed = givenotice.stats().pushed
with open(os.environ["LEDGER"], "a") as ledger:
    ledger.write(f"{name} {time.monotonic()} {pushed}\n")
sys.exit(3)
