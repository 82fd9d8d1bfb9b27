"""A server that keeps the number of each notice that it read in $LEDGER; slow while $SLOW exists."""

from __future__ import annotations

import asyncio
import json
import os
import re
from typing import Any

ledger = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


async def application(scope: dict[str, Any], receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    body, more = b"", True
    while more:
        event = await receive()
        if event["type"] == "http.disconnect":
            return
        body, more = body + event["body"], event["more_body"]
    numbers = re.findall(rb"number=(\d+)", body or scope["query_string"])
    os.write(ledger, b"".join(number + b"\n" for number in numbers))  # before the answer, as a database would
    if os.path.exists(os.environ["SLOW"]):
        await asyncio.sleep(0.2)
    answer = json.dumps({"status": "success", "tracked": len(numbers), "invalid": 0}).encode()
    headers = [(b"content-length", b"%d" % len(answer))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})
