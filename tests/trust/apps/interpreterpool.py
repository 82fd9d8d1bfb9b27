"""Pushes in an InterpreterPoolExecutor, whose interpreters end at its end."""

from __future__ import annotations

import importlib

import ledger

with importlib.import_module("concurrent.futures").InterpreterPoolExecutor(4) as pool:
    list(pool.map(ledger.push_unique, ["pool"] * 40))
ledger.push_unique("main")
