"""Patched by what other libraries do to Python's own (first argument) before or after (second) the import.

python patched.py LIBRARY before|after    # of those below; $LEDGER tells what must arrive
"""

from __future__ import annotations

import importlib
import os
import socket
import sys
from collections.abc import Callable
from typing import Any

PUSHES = 50
seen: list[Any] = []  # what the patches were asked for


def gevent() -> None:
    importlib.import_module("gevent.monkey").patch_all()


def eventlet() -> None:
    importlib.import_module("eventlet").monkey_patch()


def truststore() -> None:
    """As pip-system-certs does it in every program."""
    importlib.import_module("truststore").inject_into_ssl()


def opentelemetry() -> None:
    module = importlib.import_module("opentelemetry.instrumentation.urllib")
    module.URLLibInstrumentor().instrument(request_hook=lambda _span, request: seen.append(request))


def getaddrinfo() -> None:
    """A table of hosts."""
    real: Callable[..., Any] = socket.getaddrinfo

    def lookup(host: object, *rest: object, **options: object) -> Any:
        assert isinstance(host, str)
        seen.append(host)
        return real("127.0.0.1" if host == "host.example" else host, *rest, **options)

    socket.getaddrinfo = lookup


def socks() -> None:
    """All connections lead through the SOCKS proxy at $SOCKS."""
    module = importlib.import_module("socks")
    module.set_default_proxy(module.SOCKS5, "127.0.0.1", int(os.environ["SOCKS"]))
    socket.socket = module.socksocket  # type: ignore[misc]


def push_all(library: str) -> None:
    import ledger

    if library in ("gevent", "eventlet"):
        spawn = importlib.import_module(library).spawn
        jobs = [spawn(ledger.push_unique, f"green-{number}") for number in range(PUSHES)]
        for job in jobs:
            job.join() if library == "gevent" else job.wait()
    else:
        for number in range(PUSHES):
            ledger.push_unique(f"plain-{number}")
    ledger.push_unique("end")


def main() -> None:
    library, when = sys.argv[1:]
    if when == "before":
        globals()[library]()
    givenotice = importlib.import_module("givenotice")
    if when == "after":
        globals()[library]()
    push_all(library)
    if library in ("opentelemetry", "getaddrinfo"):
        assert givenotice.flush(20)
        assert len(seen) > PUSHES


main()
