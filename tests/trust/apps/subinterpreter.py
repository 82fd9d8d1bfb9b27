"""Pushes in the main interpreter and in a subinterpreter, which ends before it."""

from __future__ import annotations

import importlib
import sys

import ledger

NAMES = ["_xxsubinterpreters", "_interpreters"]


def main() -> None:
    interpreters = importlib.import_module(NAMES[sys.version_info >= (3, 13)])
    ledger.push_unique("main")
    # With a lock of its own, 3.12.1 crashes 1 program in 40 that has a thread in each, without givenotice.
    inner = interpreters.create(isolated=False) if sys.version_info[:2] == (3, 12) else interpreters.create()
    code = f"import sys; sys.path[:] = {sys.path!r}; import ledger; ledger.push_unique('sub')"
    failure = interpreters.run_string(inner, code)
    assert failure is None, failure
    interpreters.destroy(inner)
    ledger.push_unique("main")


main()
