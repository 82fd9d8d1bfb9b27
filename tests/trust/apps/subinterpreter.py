"""Pushes in the main interpreter and in a subinterpreter, which ends before it."""

from __future__ import annotations

import importlib
import sys

import ledger

CODE = f"import sys; sys.path[:] = {sys.path!r}; import ledger; ledger.push_unique('sub')"


def in_subinterpreter() -> None:
    if sys.version_info >= (3, 14):
        inner = importlib.import_module("concurrent.interpreters").create()
        inner.exec(CODE)
        inner.close()
        return
    interpreters = importlib.import_module(
        "_interpreters" if sys.version_info >= (3, 13) else "_xxsubinterpreters"
    )
    # With a lock of its own, 3.12.1 crashes 1 program in 40 that has a thread in each, without givenotice.
    inner = interpreters.create(isolated=False) if sys.version_info[:2] == (3, 12) else interpreters.create()
    failure = interpreters.run_string(inner, CODE)
    assert failure is None, failure
    interpreters.destroy(inner)


ledger.push_unique("main")
in_subinterpreter()
ledger.push_unique("main")
