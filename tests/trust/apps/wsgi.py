"""A WSGI application, which pushes as it is imported and at each request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import ledger

ledger.push_unique("import")


def application(environ: dict[str, Any], start_response: Callable[..., object]) -> Iterable[bytes]:
    ledger.push(environ["PATH_INFO"][1:])
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]
