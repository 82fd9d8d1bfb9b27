"""A WSGI application that waits for delivery at the end of each request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ledger

import givenotice


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    ledger.push(environ["PATH_INFO"][1:])
    givenotice.flush()
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
