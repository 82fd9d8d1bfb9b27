"""RQ jobs that push; its worker ends each child by os._exit."""

from __future__ import annotations

import ledger

import givenotice


def job(name: str) -> None:
    ledger.push(name)


def flushed_job(name: str) -> None:
    ledger.push(name)
    givenotice.flush()
