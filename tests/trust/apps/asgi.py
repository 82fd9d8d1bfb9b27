"""An ASGI application, which pushes as it is imported and at each request."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import ledger

ledger.push_unique("import")
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


async def application(scope: dict[str, Any], _receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    ledger.push(scope["path"][1:])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
