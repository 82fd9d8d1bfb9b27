"""Servers on loopback, most of them sick; each is a context manager that gives a base URI."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from time import monotonic, sleep
from typing import BinaryIO, NamedTuple


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


def reset(connection: socket.socket) -> None:
    """End a connection without ceremony."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


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


NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


def until(truth: Callable[[], object], seconds: float = 20.0) -> bool:
    """Wait until *truth* is true; False if it is not within *seconds*."""
    deadline = monotonic() + seconds
    while not truth():
        if monotonic() > deadline:
            return False
        sleep(0.002)
    return True


class Heard(NamedTuple):
    """A request that a server read: names of headers are in lower case, connections have numbers from 1."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int


Answer = Callable[[socket.socket, Heard], object]


def answered(data: bytes = NO_CONTENT, last: bool = False) -> Answer:
    """An answer that is the same for each request; *last*: the server closes the connection after it."""

    def answer(connection: socket.socket, _heard: Heard) -> bool:
        connection.sendall(data)
        return last

    return answer


class Origin:
    """What a server of `answering` heard so far."""

    def __init__(self) -> None:
        self.base = ""
        self.heard: list[Heard] = []
        self.connections = 0
        self.closed = 0
        self.busy = 0  # requests under way now
        self.most = 0  # and at most
        self.lock = threading.Lock()
        self.open: list[socket.socket] = []

    @property
    def targets(self) -> list[str]:
        return [heard.target for heard in self.heard]

    def serve(self, connection: socket.socket, answer: Answer) -> None:
        """Read requests from *connection* and *answer* each, until that is true or the client has gone."""
        with self.lock:
            self.connections += 1
            number = self.connections
            self.open.append(connection)
        try:
            with connection.makefile("rb") as lines:
                while True:
                    heard = read_request(lines, number)
                    if heard is None or self.attend(connection, heard, answer):
                        return
        finally:
            self.closed += 1

    def attend(self, connection: socket.socket, heard: Heard, answer: Answer) -> object:
        with self.lock:
            self.heard.append(heard)
            self.busy += 1
            self.most = max(self.most, self.busy)
        try:
            return answer(connection, heard)
        finally:
            with self.lock:
                self.busy -= 1


def read_request(lines: BinaryIO, number: int) -> Heard | None:
    """The next request of a connection; None at its end."""
    method, _, rest = lines.readline().decode("latin-1").partition(" ")
    headers = {}
    for line in iter(lines.readline, b"\r\n"):
        if not line:
            return None
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.lower()] = value.strip()
    lines.read(int(headers.get("content-length", 0)))
    return Heard(method, rest.rpartition(" ")[0], headers, number)


@contextmanager
def answering(answer: Answer | None = None, context: ssl.SSLContext | None = None) -> Iterator[Origin]:
    """A server that keeps connections alive, over TLS if there is a *context*, and knows what it heard."""
    origin = Origin()

    def handle(connection: socket.socket) -> None:
        if context:
            with suppress(ssl.SSLError), context.wrap_socket(connection, server_side=True) as secured:
                origin.serve(secured, answer or answered())
        else:
            origin.serve(connection, answer or answered())

    with listening(handle) as base:
        origin.base = base.replace("http:", "https:") if context else base
        try:
            yield origin
        finally:
            for connection in origin.open:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


@contextmanager
def gated() -> Iterator[tuple[Origin, threading.Event]]:
    """A server that answers nothing before the event is set."""
    gate = threading.Event()

    def answer(connection: socket.socket, _heard: Heard) -> None:
        gate.wait(30)
        connection.sendall(NO_CONTENT)

    with answering(answer) as origin:
        try:
            yield origin, gate
        finally:
            gate.set()
            until(lambda: not origin.busy, 5)


@contextmanager
def paced() -> Iterator[tuple[Origin, list[str]]]:
    """A server that takes up to 8 milliseconds; the list gets the target of each request, and "answered"."""
    events: list[str] = []
    pause = threading.Event()

    def answer(connection: socket.socket, heard: Heard) -> bool:
        events.append(heard.target)
        pause.wait(heard.connection % 5 * 0.002)
        events.append("answered")
        connection.sendall(NO_CONTENT)
        return True

    with answering(answer) as origin:
        yield origin, events
