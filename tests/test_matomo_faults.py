"""Matomo, sick: whatever becomes of a request, nothing is stored twice, and the counts add up."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from matomo import NUMBERS, ORDINARY, SECURE, Matomo, error, success
from programs import run
from pytest_httpserver import HTTPServer
from servers import Heard, answering, gated, listening, reset, until
from werkzeug import Request, Response

import givenotice

Ending = Callable[[socket.socket, int], bool]


class Sick:
    """A Matomo that stores all it reads, and then answers a bulk request as *ending* does."""

    def __init__(self, ending: Ending) -> None:
        self.ending = ending
        self.number = next(NUMBERS)
        self.base = ""
        self.stored: list[str] = []
        self.requests = 0
        self.gate = threading.Event()  # no answer before it
        self.came = threading.Event()

    def handle(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            while self.attend(connection, lines):
                pass

    def attend(self, connection: socket.socket, lines: Any) -> bool:
        _, _, rest = lines.readline().decode().partition(" ")
        if not rest:
            return False
        headers = dict(line.decode().lower().split(": ", 1) for line in iter(lines.readline, b"\r\n"))
        body = lines.read(int(headers.get("content-length", 0)))
        items = json.loads(body)["requests"] if body else [rest.partition(" ")[0].partition("?")[2]]
        self.requests += 1
        self.stored += [item.rpartition("=")[2] for item in items]
        self.came.set()
        self.gate.wait(30)
        if body:
            return self.ending(connection, len(items))
        connection.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
        return True

    def uri(self, name: object) -> str:
        return f"{self.base}/{self.number}/matomo.php?idsite=1&rec=1&send_image=0&e_n={name}"


@contextmanager
def sick(ending: Ending) -> Iterator[Sick]:
    matomo = Sick(ending)
    with listening(matomo.handle) as matomo.base:
        try:
            yield matomo
        finally:
            matomo.gate.set()


def cut(_: socket.socket, __: int) -> bool:
    return False


def cut_in_the_answer(connection: socket.socket, _: int) -> bool:
    connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n{"status"')
    return False


def broken(connection: socket.socket, _: int) -> bool:
    reset(connection)
    return False


def too_late(_: socket.socket, __: int) -> bool:
    threading.Event().wait(1)  # the request has half a second
    return False


def saying(answer: bytes) -> Ending:
    def ending(connection: socket.socket, _: int) -> bool:
        connection.sendall(answer)
        return False

    return ending


def told(tracked: int, invalid: int) -> Ending:
    body = success(tracked, invalid).data
    return saying(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))


ERROR = b'HTTP/1.1 500 Internal Server Error\r\nContent-Length: %d\r\n\r\n{"status":"error","tracked":2'
ENDINGS: dict[str, tuple[Ending, int]] = {
    "cut": (cut, 0),
    "cut in the head": (saying(b"HTTP/1.1 200 O"), 0),
    "cut in the body": (cut_in_the_answer, 0),
    "cut in an error": (saying(ERROR % 100), 0),
    "an error that ends too soon": (saying(ERROR % 29), 0),
    "cut in a chunk": (saying(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n99\r\n{"), 0),
    "no HTTP": (saying(b"\0\1\2\r\n\r\n"), 0),
    "reset": (broken, 0),
    "too late": (too_late, 0),
    "some invalid": (told(3, 1), 3),
    "all invalid": (told(0, 5), 0),
}


@pytest.mark.parametrize(("ending", "sent"), ENDINGS.values(), ids=ENDINGS)
def test_what_may_be_stored_is_not_sent_again(
    monkeypatch: pytest.MonkeyPatch, ending: Ending, sent: int
) -> None:
    monkeypatch.setattr(givenotice, "TIMEOUT", 0.5 if ending is too_late else 10)
    with sick(ending) as matomo:
        for again in range(2):  # bulk is asked again: it was not refused
            matomo.gate.clear()
            matomo.came.clear()
            before = givenotice.stats()
            givenotice.push(matomo.uri(f"first{again}"))
            assert matomo.came.wait(20)
            for number in range(5):
                givenotice.push(matomo.uri(f"{again}{number}"))
            matomo.gate.set()
            assert givenotice.flush(30)
            after = givenotice.stats()
            assert (after.sent - before.sent, after.failed - before.failed) == (1 + sent, 5 - sent)
            assert matomo.requests == 2 * (again + 1)
    assert max(Counter(matomo.stored).values()) == 1
    assert len(matomo.stored) == 12


# --- Redirects of what carries a token ------------------------------------------------------------


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secured(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1", "localhost").configure_cert(context)
    return context


def redirecting(to: str, status: int) -> Callable[[socket.socket, Heard], None]:
    """Redirect each request to the origin *to*."""

    def answer(connection: socket.socket, heard: Heard) -> None:
        head = f"HTTP/1.1 {status} Moved\r\nLocation: {to}{heard.target}\r\nContent-Length: 0\r\n\r\n"
        connection.sendall(head.encode())

    return answer


PUSH = """
import givenotice, sys
givenotice.push(sys.argv[1])
print(givenotice.flush(20), givenotice.stats().sent)
"""


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("way", ["to https", "to http", "to another host"])
def test_a_token_is_redirected_to_the_same_host_by_post_and_never_in_the_clear(
    authority: trustme.CA, secured: ssl.SSLContext, tmp_path: Path, way: str, status: int
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    ends = (
        [None, secured] if way == "to https" else [secured, None] if way == "to http" else [secured, secured]
    )
    with answering(context=ends[1]) as end:
        target = end.base.replace("127.0.0.1", "localhost") if "another" in way else end.base
        with answering(redirecting(target, status), ends[0]) as begin:
            uri = begin.base + "/matomo.php?idsite=1&rec=1&token_auth=secret"
            ended = run(PUSH, uri, SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    follows = way == "to https" and status != 303
    assert (ended.out, ended.err) == (f"True {int(follows)}\n", "")
    assert [(heard.method, heard.target) for heard in begin.heard] == [("POST", "/matomo.php")]
    assert [(heard.method, heard.target) for heard in end.heard] == [("POST", "/matomo.php")] * follows


MANY = """
import givenotice, sys
for number in range(int(sys.argv[3])):
    givenotice.push(f"{sys.argv[1]}?idsite=1&rec=1&send_image=0&e_n={number}{sys.argv[2]}")
print(givenotice.flush(50), givenotice.stats().sent)
"""


@pytest.fixture
def secure_matomo(authority: trustme.CA, secured: ssl.SSLContext, tmp_path: Path) -> Iterator[Matomo]:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with HTTPServer(host="127.0.0.1", threaded=True, ssl_context=secured) as server:
        matomo = Matomo(server)
        matomo.gate.set()
        yield matomo


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@pytest.mark.parametrize("more", ["", f"&cip=192.0.2.7&token_auth={SECURE[0]}"], ids=["no token", "a token"])
def test_an_http_endpoint_that_redirects_to_https_keeps_its_bulk(
    secure_matomo: Matomo, tmp_path: Path, status: int, more: str
) -> None:
    scheme, _, rest = secure_matomo.endpoint.partition("://")
    host, _, path = rest.partition("/")
    with answering(redirecting(f"{scheme}://{host}", status)) as begin:
        ended = run(MANY, f"{begin.base}/{path}", more, "300", SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    assert (ended.out, ended.err) == ("True 300\n", "")
    assert secure_matomo.stored == [str(number) for number in range(300)]
    assert len(begin.heard) == len(secure_matomo.log) <= 8
    assert not any(SECURE[0] in text for text in begin.targets + secure_matomo.log)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("more", ["", f"&cip=192.0.2.7&token_auth={SECURE[0]}"], ids=["no token", "a token"])
def test_what_was_posted_over_tls_is_never_posted_in_the_clear(
    server: HTTPServer, authority: trustme.CA, secured: ssl.SSLContext, tmp_path: Path, status: int, more: str
) -> None:
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    matomo = Matomo(server)
    matomo.gate.set()
    host, _, path = matomo.endpoint.partition("://")[2].partition("/")
    with answering(redirecting(f"http://{host}", status), secured) as begin:
        ended = run(MANY, f"{begin.base}/{path}", more, "60", SSL_CERT_FILE=str(tmp_path / "ca.pem"))
    assert (ended.out.split()[0], ended.err) == ("True", "")
    assert not any(line.startswith("POST") for line in matomo.log)
    assert not any(SECURE[0] in text for text in begin.targets + matomo.log)
    assert len(matomo.stored) == len(set(matomo.stored))
    if more:
        assert matomo.log == []


# --- Beside others, and at the end ----------------------------------------------------------------


def test_a_slow_endpoint_delays_neither_another_nor_a_plain_notice() -> None:
    with gated() as (slow, gate), answering() as quick:
        for number in range(3):
            givenotice.push(f"{slow.base}/matomo.php?idsite=1&rec=1&n={number}")
        givenotice.push(f"{quick.base}/matomo.php?idsite=1&rec=1")
        givenotice.push(f"{quick.base}/plain")
        assert until(lambda: len(quick.heard) == 2)
        assert until(lambda: len(slow.heard) == 1)
        assert not givenotice.flush(0)  # what waits behind the slow one is waited for
        gate.set()
        assert givenotice.flush(30)
    assert slow.most == 1


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        yield server


@pytest.fixture
def matomo(server: HTTPServer) -> Iterator[Matomo]:
    matomo = Matomo(server)
    matomo.gate.set()
    yield matomo


@pytest.mark.parametrize("count", [1000, 10_000])
def test_a_process_that_ends_has_sent_all_once_and_in_order(matomo: Matomo, count: int) -> None:
    ended = run(
        """
        import givenotice, sys
        for number in range(int(sys.argv[2])):
            givenotice.push(f"{sys.argv[1]}?idsite=1&rec=1&send_image=0&e_n={number}")
        """,
        matomo.endpoint,
        str(count),
        GIVENOTICE_EXIT_TIMEOUT="40",
    )
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert matomo.stored == [str(number) for number in range(count)]
    # One alone, perhaps, until the others were pushed; a hundred; then as many as a bulk request takes.
    assert len(matomo.log) <= count / 500 + 6
    assert matomo.most == 1


def test_a_child_sends_nothing_of_what_waits_in_its_parent(matomo: Matomo) -> None:
    ended = run(
        """
        import givenotice, os, sys
        for number in range(100):
            givenotice.push(f"{sys.argv[1]}?idsite=1&rec=1&send_image=0&e_n={number}")
        pid = os.fork()
        if not pid:
            givenotice.push(f"{sys.argv[1]}?idsite=1&rec=1&send_image=0&e_n=child")
        else:
            os.waitpid(pid, 0)
        """,
        matomo.endpoint,
        options=("-W", "ignore:This process:DeprecationWarning"),
        GIVENOTICE_EXIT_TIMEOUT="40",
    )
    assert (ended.status, ended.err) == (0, "")
    assert Counter(matomo.stored) == Counter(["child", *map(str, range(100))])


# --- Any order, any fault -------------------------------------------------------------------------

KINDS = {
    "event": "",
    "poison": "&e_v=1e400",
    "unknown site": "&idsite=9",
    "ordinary token": f"&cip=192.0.2.7&token_auth={ORDINARY[0]}",
    "secure token": f"&cip=192.0.2.7&token_auth={SECURE[0]}",
    "other token": f"&cip=192.0.2.7&token%5Fauth={SECURE[1]}",
    "no token": "&cip=192.0.2.7",
    "a wrong token": "&token_auth=wrong",
    "a wrong token, needed": "&cip=192.0.2.7&token_auth=wrong",
    "a short visitor": "&cid=abc",
    "no category": "&e_c=&e_a=x",
    "an old time": "&cdt=1000000000",
    "long": "&x=" + "y" * 8_000,
    "malformed": "\n&x=1",
    "plain": "",
}
FAULTS: dict[str, Callable[[list[str]], Response | None]] = {
    "none": lambda _: None,
    "400": lambda _: Response(status=400),
    "403": lambda _: Response(status=403),
    "429": lambda _: Response(status=429),
    "500": lambda _: Response(status=500),
    "502": lambda _: Response(status=502),
    "html": lambda _: Response("<html>", mimetype="text/html"),
    "nothing": lambda _: success(0, 0),
    "deadlock": lambda items: error(len(items) // 2),
}


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["event", "event", "event", *KINDS])), max_size=30),
    st.lists(st.sampled_from([*FAULTS]), max_size=3),
    st.booleans(),
)
def test_nothing_is_stored_twice_and_the_counts_add_up(
    monkeypatch: pytest.MonkeyPatch,
    server: HTTPServer,
    pushes: list[tuple[int, str]],
    faults: list[str],
    transaction: bool,
) -> None:
    monkeypatch.setattr(givenotice, "BULK_PAUSE", 0.01)
    left = list(faults)

    def fault(items: list[str]) -> Response | None:
        return FAULTS[left.pop() if left else "none"](items)

    server.clear()
    plain: list[str] = []

    def keep(request: Request) -> Response:
        plain.append(request.query_string.decode())
        return Response(status=204)

    server.expect_request("/plain").respond_with_handler(keep)
    endpoints = [Matomo(server, fault) for _ in range(2)]
    for endpoint in endpoints:
        endpoint.transaction = transaction
        endpoint.gate.set()
    before = givenotice.stats()
    for number, (which, kind) in enumerate(pushes):
        uri = endpoints[which].uri(number, KINDS[kind])
        givenotice.push(server.url_for(f"/plain?{number}") if kind == "plain" else uri)
    assert givenotice.flush(60)
    counts = [after - was for after, was in zip(givenotice.stats(), before)]
    pushed, sent, failed, dropped, pending = counts
    assert (pushed, pending) == (len(pushes), 0)
    assert sent + failed + dropped == pushed
    assert dropped == sum(kind == "malformed" for _, kind in pushes)
    for which, matomo in enumerate(endpoints):
        order = [number for number, (where, kind) in enumerate(pushes) if where == which and kind != "plain"]
        stored = [int(name) for name in matomo.stored]
        assert stored == sorted(set(stored))
        assert set(stored) <= set(order)
        assert not any(token in "".join(matomo.log) for token in ORDINARY + SECURE)
        assert matomo.most <= 1
    assert sorted(map(int, plain)) == [number for number, (_, kind) in enumerate(pushes) if kind == "plain"]
    arrived = sum(len(matomo.stored) for matomo in endpoints) + len(plain)
    assert sent == arrived if transaction else sent <= arrived
