"""gunicorn loses a SIGTERM that comes while a worker boots: its log tells when each is ready."""

from __future__ import annotations

from typing import Any


def post_worker_init(worker: Any) -> None:
    worker.log.info("Ready.")
