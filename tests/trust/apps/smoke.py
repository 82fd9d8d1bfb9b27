"""Pushes in each way that a program has, up to its very end; $LEDGER tells what must arrive."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
from itertools import count

import ledger

import givenotice


class Last:
    def __del__(self) -> None:
        ledger.push_unique("finalizer")


def in_loop() -> None:
    for _ in range(100):
        ledger.push_unique("loop")


def in_threads() -> None:
    threads = [threading.Thread(target=in_loop) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_handlers() -> None:
    """Signals as fast as they come: they interrupt pushes of the main thread, and each other."""
    taken: list[str] = []

    def handle(*_: object) -> None:
        name = f"handler-{os.getpid()}-{next(numbers)}"
        if len(taken) < 200 and givenotice.push(n=name):
            taken.append(name)

    numbers = count()
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.002)
    while len(taken) < 50:
        ledger.push_unique("loop")
    signal.setitimer(signal.ITIMER_REAL, 0)
    ledger.note(*taken)


def in_fork() -> None:
    """A child that is forked amid the sending, and ends as programs do."""
    child = os.fork()
    if not child:
        in_loop()
        raise SystemExit
    assert os.waitpid(child, 0)[1] == 0


def in_multiprocessing(method: str | None) -> None:
    process = multiprocessing.get_context(method).Process(target=in_loop)
    process.start()
    process.join()
    assert process.exitcode == 0


def main() -> None:
    atexit.register(ledger.push_unique, "atexit")
    in_fork()
    in_loop()
    in_handlers()
    in_multiprocessing("fork")
    in_multiprocessing("spawn")
    in_multiprocessing(None)  # the default: from 3.14 it is forkserver
    in_threads()
    last = Last()
    last.itself = last  # type: ignore[attr-defined]  # only the last collection finds it
    ledger.push_unique("end")


if __name__ == "__main__":
    ledger.push_unique("first")
    main()
