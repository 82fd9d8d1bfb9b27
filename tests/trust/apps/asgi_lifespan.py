"""An ASGI application for uvicorn, whose processes end by SIGTERM, without atexit: so flush before."""

from __future__ import annotations

from typing import Any

import asgi

import givenotice


async def application(scope: dict[str, Any], receive: asgi.Receive, send: asgi.Send) -> None:
    if scope["type"] != "lifespan":
        return await asgi.application(scope, receive, send)
    while True:
        event = (await receive())["type"]
        if event == "lifespan.shutdown":
            givenotice.flush()
        await send({"type": event + ".complete"})
        if event == "lifespan.shutdown":
            return None
