"""Pushes, each of them on record: the file $LEDGER tells what must arrive."""

from __future__ import annotations

import os
import uuid

import givenotice


def push(name: str) -> None:
    """Push a notice of this *name*, which is written down if it was taken."""
    if givenotice.push(n=name):
        note(name)


def note(*names: str) -> None:
    with open(os.environ["LEDGER"], "a") as lines:
        lines.write("".join(f"{name}\n" for name in names))


def push_unique(kind: str) -> None:
    push(f"{kind}-{os.getpid()}-{uuid.uuid4().hex[:8]}")
