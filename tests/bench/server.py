"""The other side of the benchmark: a process of its own that answers, counts, or is sick, port by port.

It prints its ports as JSON, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import json
import re
import socket
import ssl
import sys
import zlib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import Any

SEEN: set[bytes] = set()  # events; each carries bench-NNNNNN somewhere in its request
COUNTS = {"requests": 0, "connections": 0, "last": 0.0}  # the last is when an event came, monotonic
EVENT = re.compile(rb"bench-(\d{6})")
LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n"
PROMISE = b"Connection: keep-alive\r\n\r\n"  # to clients that do not close it
DRIP = 0.05  # seconds between two bytes


class Healthy(asyncio.Protocol):
    """Answers each request after *latency* seconds, as Matomo does; any other POST gets a pleasant JSON.

    With a *pace* each event of a request takes as many seconds more.
    """

    def __init__(self, latency: float, pace: float = 0.0) -> None:
        self.latency = latency
        self.pace = pace
        self.buffer = b""

    def connection_made(self, transport: Any) -> None:
        COUNTS["connections"] += 1
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while self.take():
            pass

    def take(self) -> bool:
        """Answer one request of the buffer; False if there is none that is whole."""
        end = self.buffer.find(b"\r\n\r\n") + 4
        if end < 4:
            return False
        if not self.buffer.startswith(b"GET"):
            found = LENGTH.search(self.buffer, 0, end)
            end += int(found[1]) if found else 0
            if len(self.buffer) < end:
                return False
        request, self.buffer = self.buffer[:end], self.buffer[end:]
        self.answer(request)
        return True

    def answer(self, request: bytes) -> None:
        COUNTS["requests"] += 1
        answer = NO_CONTENT + PROMISE if request.startswith(b"GET") else stored(request)
        seconds = self.latency + self.pace * len(EVENT.findall(request))
        if seconds:
            asyncio.get_running_loop().call_later(seconds, self.write, answer, request)
        else:
            self.write(answer, request)

    def write(self, answer: bytes, request: bytes) -> None:
        saw(EVENT.findall(request))
        if not self.transport.is_closing():
            self.transport.write(answer)
        if b"onnection: close\r\n" in request:
            self.transport.close()


def saw(events: list[bytes]) -> None:
    if events:
        SEEN.update(events)
        COUNTS["last"] = monotonic()


def stored(request: bytes) -> bytes:
    """The answer to a POST; the events in it are counted."""
    head, _, body = request.partition(b"\r\n\r\n")
    if b"content-encoding: gzip" in head.lower():
        body = zlib.decompress(body, 31)
    events = EVENT.findall(body)
    saw(events)
    answer: dict[str, Any] = {"status": 1, "success": True, "error": None}
    if b".php" in head.partition(b"\r\n")[0]:
        answer = {"status": "success", "tracked": len(events), "invalid": 0}
    return ok(json.dumps(answer).encode())


def ok(body: bytes, promise: bytes = PROMISE) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n" % len(body)
    return head + promise + body


class Control(Healthy):
    """Tells what the others counted since it was asked last."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def answer(self, request: bytes) -> None:
        counts = json.dumps({**COUNTS, "events": len(SEEN)}).encode()
        self.write(ok(counts, b"\r\n"), b"onnection: close\r\n")
        SEEN.clear()
        COUNTS.update(requests=0, connections=0, last=0.0)


class Hole(asyncio.Protocol):
    """Takes everything and never answers."""


class Drip(asyncio.Protocol):
    """Answers a byte at a time, without end."""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.rest = list(b"HTTP/1.1 200 OK\r\nX-Drip: ")
        self.drip()

    def drip(self) -> None:
        if not self.transport.is_closing():
            self.transport.write(bytes([self.rest.pop(0) if self.rest else 120]))
            asyncio.get_running_loop().call_later(DRIP, self.drip)


def tls(folder: Path) -> ssl.SSLContext:
    """A certificate for 127.0.0.1, and in *folder* the authority that clients must trust for it."""
    trustme: Any = import_module("trustme")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(folder / "authority.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    return context


async def main(folder: Path) -> None:
    loop = asyncio.get_running_loop()

    async def serve(protocol: Callable[[], asyncio.Protocol], context: ssl.SSLContext | None = None) -> int:
        server = await loop.create_server(protocol, "127.0.0.1", 0, backlog=4096, ssl=context)
        port: int = server.sockets[0].getsockname()[1]
        running.append(server)
        return port

    running: list[Any] = []
    ports = {
        "0": await serve(lambda: Healthy(0)),
        "20": await serve(lambda: Healthy(0.02)),
        "100": await serve(lambda: Healthy(0.1)),
        "matomo": await serve(lambda: Healthy(0.02, 0.0015)),  # as a real one that is quiet
        "tls": await serve(lambda: Healthy(0), tls(folder)),
        "hole": await serve(Hole),
        "drip": await serve(Drip),
        "control": await serve(lambda: Control(0)),
    }
    with socket.socket() as refusing:  # bound, and nobody listens
        refusing.bind(("127.0.0.1", 0))
        ports["refuse"] = refusing.getsockname()[1]
        print(json.dumps(ports), flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        loop: asyncio.AbstractEventLoop = import_module("uvloop").new_event_loop()  # three times as fast
        return loop
    except ImportError:
        return asyncio.new_event_loop()


if __name__ == "__main__":
    new_loop().run_until_complete(main(Path(sys.argv[1])))
