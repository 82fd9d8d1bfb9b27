"""Servers on loopback that do not do what a client hopes for; each is a context manager that gives a base URI."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[str]:
    """Each accepted connection is given to *handle* in a thread, and closed when that returns."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as server:
        connections: list[socket.socket] = []

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                handle(connection)

        def accept() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    connections.append(connection)
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.getsockname()[1]}"
        finally:
            with suppress(OSError):
                server.shutdown(socket.SHUT_RDWR)
            for connection in connections:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
            thread.join(5)


@contextmanager
def refusing() -> Iterator[str]:
    """Nobody listens at this port; the bound socket keeps others from taking it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}"


@contextmanager
def silent() -> Iterator[str]:
    """Accepts, reads, and never answers."""

    def handle(connection: socket.socket) -> None:
        while connection.recv(65_536):
            pass

    with listening(handle) as base:
        yield base


@contextmanager
def dripping(head: bytes = b"HTTP/1.1 200 OK\r\nX-Drip: ", interval: float = 0.05) -> Iterator[str]:
    """Answers a byte at a time and never ends: *head*, then an endless header."""
    stop = threading.Event()

    def handle(connection: socket.socket) -> None:
        connection.recv(65_536)
        for byte in head:
            connection.sendall(bytes([byte]))
            if stop.wait(interval):
                return
        while not stop.wait(interval):
            connection.sendall(b"x")

    with listening(handle) as base:
        try:
            yield base
        finally:
            stop.set()


@contextmanager
def unaccepting() -> Iterator[str]:
    """A full accept queue: connections are neither accepted nor refused."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as server:
        address = server.getsockname()
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(address)
        try:
            yield f"http://127.0.0.1:{address[1]}"
        finally:
            for filler in fillers:
                filler.close()
