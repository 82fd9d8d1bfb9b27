"""Pushes in the main interpreter and in a subinterpreter, which ends before it."""

from __future__ import annotations

import importlib
import sys

import ledger

NAMES = ["_xxsubinterpreters", "_interpreters"]


def main() -> None:
    interpreters = importlib.import_module(NAMES[sys.version_info >= (3, 13)])
    ledger.push_unique("main")
    inner = interpreters.create()
    code = f"import sys; sys.path[:] = {sys.path!r}; import ledger; ledger.push_unique('sub')"
    failure = interpreters.run_string(inner, code)
    assert failure is None, failure
    interpreters.destroy(inner)
    ledger.push_unique("main")


main()
