"""Monkey-patched by gevent or eventlet (first argument) before or after (second) the import of givenotice."""

from __future__ import annotations

import importlib
import sys


def patch() -> None:
    if sys.argv[1] == "gevent":
        importlib.import_module("gevent.monkey").patch_all()
    else:
        importlib.import_module("eventlet").monkey_patch()


def main() -> None:
    if sys.argv[2] == "before":
        patch()
    import ledger  # and so givenotice

    if sys.argv[2] == "after":
        patch()
    spawn = importlib.import_module(sys.argv[1]).spawn
    jobs = [spawn(ledger.push_unique, f"green-{i}") for i in range(50)]
    for job in jobs:
        job.join() if sys.argv[1] == "gevent" else job.wait()
    ledger.push_unique("end")


main()
