"""Libraries that replace parts of Python's own network: notices go through them, as other requests do."""

from __future__ import annotations

import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trustme
from platforms import APPS, Platform, slowly
from servers import answering, listening

LIBRARIES = {
    "gevent": "monkey-patched",
    "eventlet": "monkey-patched",
    "truststore": "inject_into_ssl()",
    "opentelemetry": "urllib instrumented",
    "getaddrinfo": "socket.getaddrinfo replaced",
    "socks": "socket.socket replaced",
}
WHERE = {"opentelemetry": "OpenTelemetry", "getaddrinfo": "a table of hosts", "socks": "PySocks"}


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    """The receiver speaks TLS, and takes its time."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "host.example").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "authority.pem")
    with answering(slowly, context) as origin:
        origin.base = origin.base.replace("127.0.0.1", "localhost")
        platform = Platform(origin, tmp_path)
        platform.settings["SSL_CERT_FILE"] = str(tmp_path / "authority.pem")
        platform.settings["GIVENOTICE_EXIT_TIMEOUT"] = "20"
        yield platform


@contextmanager
def socks_proxy() -> Iterator[tuple[int, list[bytes]]]:
    """The port of a SOCKS5 proxy, and to which addresses it led."""
    asked: list[bytes] = []

    def pump(source: socket.socket, target: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65_536):
                target.sendall(data)
        with suppress(OSError):
            target.shutdown(socket.SHUT_WR)

    def handle(client: socket.socket) -> None:
        with client.makefile("rb", buffering=0) as lines:
            _, methods = lines.read(2)
            lines.read(methods)
            client.sendall(b"\5\0")  # nobody need log in
            assert lines.read(4) == b"\5\1\0\1"  # connect to an IPv4 address
            host, port = lines.read(4), int.from_bytes(lines.read(2), "big")
        asked.append(host)
        with socket.create_connection((socket.inet_ntoa(host), port)) as server:
            client.sendall(b"\5\0\0\1" + bytes(6))
            back = threading.Thread(target=pump, args=(server, client))
            back.start()
            pump(client, server)
            back.join()

    with listening(handle) as base:
        yield urlsplit(base).port or 0, asked


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("library", LIBRARIES)
def test_notices_arrive_through_a_library_that_patches_the_network(
    library: str, when: str, platform: Platform
) -> None:
    if library == "getaddrinfo":
        uri = platform.settings["GIVENOTICE_URI"].replace("localhost", "host.example")
        platform.settings["GIVENOTICE_URI"] = uri
    with socks_proxy() as (port, led_to):
        platform.settings["SOCKS"] = str(port)
        command = [sys.executable, "-W", "ignore", str(APPS / "patched.py"), library, when]
        with platform.running(command) as process:
            pass
        log = platform.log.read_text()
        assert (process.returncode, log) == (0, "")
        assert len(platform.pushed) == 51
        assert len(led_to) == (51 if library == "socks" else 0)
    what = f"{LIBRARIES[library]} {when} the import, over TLS"
    platform.check(WHERE.get(library, library), what, 1)
