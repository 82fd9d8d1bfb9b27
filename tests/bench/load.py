"""What the server of the benchmark can answer, by raw sockets that hardly do anything: load.py PORT TLSPORT

A batch of requests is sent at once, and all answers are waited for: so it is the server that is measured.
"""

from __future__ import annotations

import json
import socket
import ssl
import sys
from time import monotonic

REQUEST = b"GET /ping?event=bench-000001&%s HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: load\r\n\r\n" % (
    b"x" * 90
)
ANSWER = len(b"HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n")
SECONDS = 1.0


def rate(port: int, tls: bool, batch: int) -> float:
    """Answers a second, with *batch* requests under way on one connection."""
    with socket.create_connection(("127.0.0.1", port)) as plain:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        connection = context.wrap_socket(plain) if tls else plain
        answered = 0
        begin = monotonic()
        while monotonic() - begin < SECONDS:
            connection.sendall(REQUEST * batch)
            left = batch * ANSWER
            while left:
                left -= len(connection.recv(left))
            answered += batch
        return answered / (monotonic() - begin)


def handshakes(port: int) -> float:
    """Connections a second that are made, asked once, and closed."""
    done = 0
    begin = monotonic()
    while monotonic() - begin < SECONDS:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.sendall(REQUEST)
            connection.recv(ANSWER)
        done += 1
    return done / (monotonic() - begin)


if __name__ == "__main__":
    plain, tls = map(int, sys.argv[1:])
    found = {
        "http": rate(plain, False, 50),
        "https": rate(tls, True, 50),
        "one": rate(plain, False, 1),
        "connections": handshakes(plain),
    }
    print(json.dumps(found))
