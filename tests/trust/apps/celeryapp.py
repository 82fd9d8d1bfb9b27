"""Celery tasks that push; its pool ends the children by os._exit, so they flush before."""

from __future__ import annotations

import os

import ledger
from celery import Celery
from celery.signals import worker_process_shutdown

import givenotice

worker_process_shutdown.connect(lambda **_: givenotice.flush(), weak=False)

app = Celery(broker=os.environ["BROKER"])


@app.task
def task(name: str) -> None:
    ledger.push(name)
