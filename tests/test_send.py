"""What servers get, and what becomes of a notice when they, or the way to them, misbehave."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
import trustme
from programs import run, script
from servers import (
    NO_CONTENT,
    Heard,
    Origin,
    answered,
    answering,
    dripping,
    listening,
    refusing,
    reset,
    silent,
    unaccepting,
    until,
)

import givenotice

SENT, FAILED = (1, 0), (0, 1)
SECRET = "s3cr3t"
PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No proxy of the machine is used, and no test leaves work behind for the next one."""
    for name in PROXIES:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    yield
    assert givenotice.flush(30)


def outcome(*uris: str) -> tuple[int, int]:
    """How many of the notices, pushed one after the other, were sent, and failed."""
    before = givenotice.stats()
    for uri in uris:
        assert givenotice.push(uri)
        assert givenotice.flush(30)
    after = givenotice.stats()
    return after.sent - before.sent, after.failed - before.failed


PROGRAM = """
import json, logging, sys, givenotice
lines = []
handler = logging.Handler()
handler.emit = lambda record: lines.append(record.getMessage())
logging.getLogger("givenotice").addHandler(handler)
logging.getLogger("givenotice").setLevel(logging.DEBUG)
for uri in sys.argv[1:]:
    assert givenotice.push(uri)
    assert givenotice.flush(30)
_, sent, failed, dropped, pending = givenotice.stats()
assert (dropped, pending) == (0, 0)
print(json.dumps([sent, failed, lines]))
"""


def outcome_elsewhere(*uris: str, **environment: str) -> tuple[int, int]:
    """The same in a process of its own."""
    sent, failed, _ = json.loads(script(PROGRAM, *uris, **environment).out)
    return sent, failed


def reason(uri: str, **environment: str) -> str:
    """Why a notice failed, by the log of a process of its own."""
    sent, failed, lines = json.loads(script(PROGRAM, uri, **environment).out)
    assert (sent, failed) == FAILED
    assert SECRET not in str(lines)
    line = next(line for line in lines if " not delivered (" in line)
    return str(line.partition(" not delivered (")[2].rpartition(")")[0])


# --- The request -------------------------------------------------------------------------------


def test_a_notice_is_a_plain_get_with_few_headers() -> None:
    with answering() as origin:
        assert outcome(origin.base + "/ping?a=1&b=%20#fragment") == SENT
    (heard,) = origin.heard
    assert (heard.method, heard.target) == ("GET", "/ping?a=1&b=%20")
    assert heard.headers == {
        "host": origin.base.partition("//")[2],
        "accept-encoding": "identity",
        "connection": "close",
        "user-agent": f"givenotice/{givenotice.__version__}",
    }


@pytest.mark.parametrize(
    ("pushed", "arrived"),
    [
        ("", "/"),
        ("/", "/"),
        ("?a=1", "/?a=1"),
        ("#f", "/"),
        ("/a b/\xfc?q=\u20ac x&&r", "/a%20b/%C3%BC?q=%E2%82%AC%20x&r"),
        ("/%7e%2F%?%", "/%7e%2F%25?%25"),
        ('/<>"^`{|}', "/%3C%3E%22%5E%60%7B%7C%7D"),
        ("/" + "x" * 20_000, "/" + "x" * 20_000),
    ],
)
def test_a_uri_arrives_normalised(pushed: str, arrived: str) -> None:
    with answering() as origin:
        assert outcome(origin.base.replace("http:", "HTTP:") + pushed) == SENT
        assert outcome(origin.base + pushed) == SENT
    assert origin.targets == [arrived] * 2


def basic(user: str) -> str:
    return "Basic " + b64encode(user.encode()).decode()


@pytest.mark.parametrize(
    ("userinfo", "expected"),
    [
        ("user:pass", "user:pass"),
        ("user", "user:"),
        ("user:", "user:"),
        (":pass", ":pass"),
        ("us%40er:p%3Aa:ss", "us@er:p:a:ss"),
        ("\xfc:\u20ac", "\xfc:\u20ac"),
        ("u:" + "p" * 200, "u:" + "p" * 200),
    ],
)
def test_userinfo_becomes_authorization(userinfo: str, expected: str) -> None:
    with answering() as origin:
        assert outcome(origin.base.replace("//", f"//{userinfo}@")) == SENT
    (heard,) = origin.heard
    assert heard.headers["authorization"] == basic(expected)
    assert heard.headers["host"] == origin.base.partition("//")[2]


def test_the_resolver_is_asked_as_by_everybody_else_and_without_the_user() -> None:
    with answering() as origin:
        ended = script(
            """
            import socket, sys, givenotice
            asked, lookup = [], socket.getaddrinfo
            def getaddrinfo(*arguments, **options):
                asked.append((arguments, options))
                return lookup(*arguments, **options)
            socket.getaddrinfo = getaddrinfo
            givenotice.push(sys.argv[1].replace("//", "//user:pass@"))
            givenotice.flush(30)
            socket.create_connection(("localhost", int(sys.argv[1].rpartition(":")[2]))).close()
            print(asked[0] == asked[1], asked[0][0][0], len(asked))
            """,
            named(origin),
        )
    assert ended.out == "True localhost 2\n"


# --- The answer --------------------------------------------------------------------------------


def status(line: str, *headers: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {line}", "Content-Length: 0", *headers, "", ""]).encode()


@pytest.mark.parametrize("code", [200, 201, 202, 206, 299])
def test_a_2xx_is_sent(code: int) -> None:
    with answering(answered(status(f"{code} OK"))) as origin:
        assert outcome(origin.base) == SENT


@pytest.mark.parametrize("code", [300, 302, 304, 305, 400, 401, 404, 410, 429, 500, 502, 503, 599])
def test_any_other_status_is_failed_and_not_repeated(code: int) -> None:
    with answering(answered(status(f"{code} No", "Retry-After: 0"))) as origin:
        assert outcome(origin.base) == FAILED
    assert len(origin.heard) == 1


ANSWERS = {
    "no content": NO_CONTENT,
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    "trailer": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nA: b\r\n\r\n",
    "after continue": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n" + NO_CONTENT,
    "after early hints": b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + NO_CONTENT,
    "kept alive": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
    "closed": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello",
    "no length": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "old": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "cut": b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello",
    "cut chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\nhello",
    "broken chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello",
}


@pytest.mark.parametrize("last", [False, True], ids=["open", "closing"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS.keys())
def test_each_notice_takes_a_connection_and_closes_it_whatever_the_form_of_the_answer(
    answer: bytes, last: bool
) -> None:
    with answering(answered(answer, last=last)) as origin:
        assert outcome(origin.base + "/1", origin.base + "/2") == (2, 0)
        assert until(lambda: origin.closed == 2)
    assert [(heard.target, heard.connection) for heard in origin.heard] == [("/1", 1), ("/2", 2)]


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\r\n",
        b"hello\r\n\r\n",
        b"HTTP/1.1\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 999999 OK\r\n\r\n",
        b"HTTP/3.7 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"\x16\x03\x01\x00\x00",
    ],
    ids=range(10),
)
def test_an_answer_that_is_none_is_failed_and_not_asked_for_again(answer: bytes) -> None:
    with answering(answered(answer, last=True)) as origin:
        assert outcome(origin.base) == FAILED
    assert len(origin.heard) == 1


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: /2\r\n\r\n",
    ],
    ids=["length", "no length", "chunked", "redirect"],
)
def test_a_huge_body_is_not_read(head: bytes) -> None:
    written = 0
    done = threading.Event()

    def answer(connection: socket.socket, heard: Heard) -> bool:
        nonlocal written
        if heard.target == "/2":
            connection.sendall(NO_CONTENT)
            return True
        connection.sendall(head)
        chunk = b"2000\r\n" + bytes(8192) + b"\r\n"
        with suppress(OSError):
            while written < 100_000_000:
                connection.sendall(chunk)
                written += len(chunk)
        done.set()
        return True

    with answering(answer) as origin:
        assert outcome(origin.base) == SENT
        assert done.wait(20)
    assert written < 20_000_000  # what the buffers of the kernel take


# --- Redirects ---------------------------------------------------------------------------------


@contextmanager
def redirecting(way: dict[str, str], code: int = 302) -> Iterator[Origin]:
    """Redirects each target of *way*; BASE in a Location is the server itself."""

    def answer(connection: socket.socket, heard: Heard) -> None:
        location = way.get(heard.target)
        connection.sendall(
            status(f"{code} Moved", f"Location: {location.replace('BASE', origin.base)}")
            if location
            else NO_CONTENT
        )

    with answering(answer) as origin:
        yield origin


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
def test_a_redirect_is_followed_by_get(code: int) -> None:
    with redirecting({"/1": "BASE/2", "/2": "/3"}, code) as origin:
        assert outcome(origin.base + "/1#f") == SENT
    assert [(heard.method, heard.target) for heard in origin.heard] == [("GET", f"/{n}") for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("c", "/a/c"),
        ("../c", "/c"),
        ("/c?d#e", "/c?d"),
        ("?d=e", "/a/b?d=e"),
        ("BASE", "/"),
        ("/c d", "/c%20d"),
        ("/\xfc", "/%C3%BC"),
        ("/%C3%BC?\u20ac", "/%C3%BC?%E2%82%AC"),
    ],
)
def test_a_location_may_be_relative_and_odd(location: str, target: str) -> None:
    with redirecting({"/a/b?x": location}) as origin:
        assert outcome(origin.base + "/a/b?x") == SENT
    assert origin.targets == ["/a/b?x", target]


@pytest.mark.parametrize(("hops", "expected"), [(5, SENT), (6, FAILED), (50, FAILED)])
def test_at_most_five_redirects_are_followed(hops: int, expected: tuple[int, int]) -> None:
    with redirecting({f"/{hop}": f"/{hop - 1}" for hop in range(1, hops + 1)}) as origin:
        assert outcome(f"{origin.base}/{hops}") == expected
    assert len(origin.heard) == 6


def test_a_redirect_to_itself_ends() -> None:
    with redirecting({"/": "/"}) as origin:
        assert outcome(origin.base) == FAILED
    assert len(origin.heard) == 6


@pytest.mark.parametrize(
    "location",
    [
        "FILE",
        "data:,x",
        "FTP",
        "about:blank",
        "javascript:1",
        "mailto:a@b",
        "http://:0/",
        "http://[",
    ],
)
def test_a_redirect_goes_nowhere_but_to_http(location: str, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("x")
    reached: list[socket.socket] = []
    with listening(reached.append) as other:
        location = {"FILE": file.as_uri(), "FTP": other.replace("http:", "ftp:") + "/x"}.get(
            location, location
        )
        with redirecting({"/": location}) as origin:
            assert outcome(origin.base) == FAILED
    assert (origin.targets, reached) == (["/"], [])


MARKS = "\u0300\u0316"  # to sort them takes a time that grows with the square of their number
FLOODS = {
    "a host of combining characters": f"http://{MARKS * 16_000}/",
    "a path of combining characters": "/" + MARKS * 16_000,
    "dots": "/" + "../" * 21_000,
    "labels": "http://" + "\xfc." * 20_000,
    "percent signs": "/" + "%" * 8_000,
    "to itself": "/",
}


@pytest.mark.parametrize("location", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_of_redirects_costs_neither_time_nor_memory(location: str) -> None:
    program = """
        import sys, tracemalloc, givenotice
        from time import process_time
        givenotice.push(sys.argv[1])  # the imports come first
        givenotice.flush(30)
        begin = process_time()
        for _ in range(20):
            givenotice.push(sys.argv[1])
            givenotice.flush(30)
        print(process_time() - begin)
        tracemalloc.start()
        for _ in range(20):
            givenotice.push(sys.argv[1])
        givenotice.flush(30)
        print(tracemalloc.get_traced_memory()[1])
    """
    with redirecting({"/": location}) as origin:
        seconds, memory = script(program, origin.base, GIVENOTICE_BACKLOG="100").out.split()
    assert float(seconds) < 4  # of the processor; a host of 64 KB took 1 each time
    assert int(memory) < 10_000_000
    assert len(origin.heard) <= 41 * 6


def authorizations(origin: Origin) -> list[str | None]:
    return [heard.headers.get("authorization") for heard in origin.heard]


def test_authorization_stays_with_its_origin() -> None:
    with answering() as other, redirecting({"/1": "/2", "/2": other.base}) as origin:
        assert outcome(origin.base.replace("//", "//user:pass@") + "/1") == SENT
    assert authorizations(origin) == [basic("user:pass")] * 2
    assert authorizations(other) == [None]


def test_a_redirect_may_bring_a_user_of_its_own() -> None:
    with answering() as other, redirecting({"/": other.base.replace("//", "//other:word@")}) as origin:
        assert outcome(origin.base.replace("//", "//user:pass@")) == SENT
    assert authorizations(other) == [basic("other:word")]


def test_authorization_that_was_dropped_does_not_come_back() -> None:
    way: dict[str, str] = {}
    with redirecting(way) as first, redirecting({"/": f"{first.base}/back"}) as other:
        way["/"] = other.base
        assert outcome(first.base.replace("//", "//user:pass@")) == SENT
    assert authorizations(first) == [basic("user:pass"), None]
    assert authorizations(other) == [None]


# --- The time of a request ---------------------------------------------------------------------


@contextmanager
def babbling(piece: bytes) -> Iterator[str]:
    """Repeats *piece* for ever, at a leisurely pace."""
    stop = threading.Event()

    def handle(connection: socket.socket) -> None:
        connection.recv(65_536)
        while not stop.wait(0.02):
            connection.sendall(piece)

    with listening(handle) as base:
        try:
            yield base
        finally:
            stop.set()


Sick = Callable[[], AbstractContextManager[str]]
SICK: dict[str, Sick] = {
    "dripping header": dripping,
    "dripping status line": lambda: dripping(b"HTTP/1.1 200 "),
    "dripping chunk size": lambda: dripping(b"HTTP/1.1 500 No\r\nTransfer-Encoding: chunked\r\n\r\n", 0.005),
    "dripping body": lambda: dripping(b"HTTP/1.1 500 No\r\nContent-Length: 9999\r\n\r\n", 0.005),
    "endless continue": lambda: babbling(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "endless early hints": lambda: babbling(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
    "silent": silent,
    "unaccepting": unaccepting,
}


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("sick", SICK.values(), ids=SICK.keys())
def test_a_request_ends_in_time(sick: Sick, secure: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(givenotice, "TIMEOUT", 0.5)
    with sick() as base:
        begin = monotonic()
        assert outcome(base.replace("http:", "https:") if secure else base) == FAILED
        assert monotonic() - begin < 5  # these servers would hold it for ever


def test_a_server_that_drips_its_body_has_the_notice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(givenotice, "TIMEOUT", 1)
    with dripping(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n", 0.001) as base:
        begin = monotonic()
        assert outcome(base) == SENT
        assert monotonic() - begin < 5


def test_all_redirects_of_a_notice_share_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(givenotice, "TIMEOUT", 0.5)

    def answer(connection: socket.socket, _heard: Heard) -> None:
        threading.Event().wait(0.3)
        connection.sendall(status("302 Found", "Location: /"))

    with answering(answer) as origin:
        assert outcome(origin.base) == FAILED
    assert len(origin.heard) < 3


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_refused_connection_is_failed(scheme: str) -> None:
    with refusing() as base:
        assert outcome(base.replace("http", scheme)) == FAILED


def test_a_python_without_network_fails_the_notice() -> None:
    with answering() as origin:
        ended = run(
            """
            import sys, givenotice
            sys.modules["urllib.request"] = None
            givenotice.push(sys.argv[1])
            print(givenotice.flush(30), *givenotice.stats())
            """,
            origin.base,
        )
    assert (ended.out, ended.err, origin.heard) == ("True 1 0 1 0 0\n", "", [])


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_name_that_does_not_resolve_is_failed(scheme: str) -> None:
    assert outcome(f"{scheme}://nonexistent.invalid/") == FAILED


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "beside another"])
def test_a_lookup_that_hangs_delays_no_other_server(alone: bool) -> None:
    program = """
        import givenotice, socket, sys, threading
        good, alone = sys.argv[1:]
        asked, gate, lookup = threading.Event(), threading.Event(), socket.getaddrinfo

        def getaddrinfo(host, *options):
            if host == "slow.example":
                asked.set()
                gate.wait(30)
            return lookup("127.0.0.1", *options)

        socket.getaddrinfo = getaddrinfo
        givenotice.push("http://slow.example:9/")
        if alone == "True":
            asked.wait(30)
        for number in range(20):
            givenotice.push(f"{good}/{number}")
        asked.wait(30)
        while givenotice.stats().sent < 20:
            threading.Event().wait(0.001)
        print(givenotice.stats().pending)
        gate.set()
    """
    with answering() as origin:
        ended = run(program, origin.base, str(alone))
    assert (ended.status, ended.out, ended.err) == (0, "1\n", "")
    assert sorted(origin.targets) == sorted(f"/{number}" for number in range(20))


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError as error:
        pytest.skip(f"no ::1 here: {error}")
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as server:
        origin, port = Origin(), server.getsockname()[1]

        def accept() -> None:
            with server.accept()[0] as connection:
                origin.serve(connection, answered(last=True))

        thread = threading.Thread(target=accept)
        thread.start()
        assert outcome(f"http://[::1]:{port}/ping") == SENT
        thread.join()
    assert origin.heard[0].headers["host"] == f"[::1]:{port}"


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        *[("bad good", "1 0"), ("bad bad good", "1 0"), ("bad bad", "0 1"), ("", "0 1")],
        *[("none good", "1 0"), ("none bad none", "0 1")],
    ],
)
def test_each_address_of_a_host_is_tried(addresses: str, expected: str) -> None:
    with refusing() as bad, answering() as origin:
        ports = {"bad": bad.rpartition(":")[2], "good": origin.base.rpartition(":")[2], "none": "0"}
        ended = run(
            """
            import socket, sys, givenotice
            tcp = (socket.SOCK_STREAM, 6, "")
            family = lambda port: socket.AF_INET if int(port) else 255  # which is none
            socket.getaddrinfo = lambda *_: [
                (family(port), *tcp, ("127.0.0.1", int(port))) for port in sys.argv[1:]
            ]
            givenotice.push("http://many.example/")
            givenotice.flush(30)
            print(givenotice.stats().sent, givenotice.stats().failed)
            """,
            *[ports[address] for address in addresses.split()],
        )
    assert (ended.out, ended.err) == (expected + "\n", "")
    assert len(origin.heard) == int(expected[0])


# --- Proxies -----------------------------------------------------------------------------------


def test_http_goes_through_the_proxy_of_the_environment() -> None:
    with answering() as proxy:
        uris = ["http://nonexistent.invalid/a?b#c", "http://other.invalid:81/"]
        assert outcome_elsewhere(*uris, http_proxy=proxy.base) == (2, 0)
    assert proxy.targets == ["http://nonexistent.invalid/a?b", "http://other.invalid:81/"]
    assert [heard.headers["host"] for heard in proxy.heard] == ["nonexistent.invalid", "other.invalid:81"]
    assert "proxy-authorization" not in proxy.heard[0].headers


def test_no_proxy_is_heeded() -> None:
    with answering() as proxy, answering() as origin:
        environment = {"http_proxy": proxy.base, "no_proxy": "127.0.0.1"}
        assert outcome_elsewhere(origin.base, "http://nonexistent.invalid/", **environment) == (2, 0)
    assert (len(proxy.heard), origin.targets) == (1, ["/"])


def test_the_password_of_the_proxy_is_for_the_proxy_alone() -> None:
    with (
        answering() as origin,
        answering(answered(status("302 Found", f"Location: {origin.base}/"))) as proxy,
    ):
        environment = {"http_proxy": proxy.base.replace("//", "//user:pass@"), "no_proxy": "127.0.0.1"}
        assert outcome_elsewhere("http://me:word@nonexistent.invalid/", **environment) == SENT
    assert proxy.heard[0].headers["proxy-authorization"] == basic("user:pass")
    assert proxy.heard[0].headers["authorization"] == basic("me:word")
    assert not {"proxy-authorization", "authorization"} & origin.heard[0].headers.keys()


def relay(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        for data in iter(lambda: source.recv(65_536), b""):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def tunnelling(origin: Origin, answer: bytes = b"HTTP/1.1 200 Connected\r\n\r\n") -> Iterator[Origin]:
    """A proxy that connects each CONNECT to *origin*, whatever its name."""
    host, port = origin.base.partition("//")[2].split(":")

    def connect(connection: socket.socket, _heard: Heard) -> bool:
        connection.sendall(answer)
        if answer.startswith(b"HTTP/1.1 200"):
            with socket.create_connection((host, int(port))) as onward:
                threading.Thread(target=relay, args=(onward, connection), daemon=True).start()
                relay(connection, onward)
        return True

    with answering(connect) as proxy:
        yield proxy


class Authority:
    """A certificate authority, and what it gives to servers and clients."""

    def __init__(self, folder: Path) -> None:
        self.ca = trustme.CA()
        self.file = folder / "ca.pem"
        self.ca.cert_pem.write_to_path(str(self.file))

    def context(self, *names: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.ca.issue_cert(*names).configure_cert(context)
        return context

    @property
    def environment(self) -> dict[str, str]:
        return {"SSL_CERT_FILE": str(self.file)}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


def test_https_goes_through_a_tunnel_of_the_proxy(authority: Authority) -> None:
    with answering(context=authority.context("origin.invalid")) as origin, tunnelling(origin) as proxy:
        environment = {**authority.environment, "https_proxy": proxy.base.replace("//", "//user:pass@")}
        uris = [f"https://origin.invalid/{number}" for number in range(3)]
        assert outcome_elsewhere(*uris, **environment) == (3, 0)
    assert {(heard.method, heard.target) for heard in proxy.heard} == {("CONNECT", "origin.invalid:443")}
    assert {heard.headers["proxy-authorization"] for heard in proxy.heard} == {basic("user:pass")}
    assert origin.targets == ["/0", "/1", "/2"]
    assert {heard.headers["host"] for heard in origin.heard} == {"origin.invalid"}
    assert not any("proxy-authorization" in heard.headers for heard in origin.heard)


def test_a_proxy_without_password_gets_none(authority: Authority) -> None:
    with answering(context=authority.context("origin.invalid")) as origin, tunnelling(origin) as proxy:
        environment = {**authority.environment, "https_proxy": proxy.base}
        assert outcome_elsewhere("https://origin.invalid/", **environment) == SENT
    assert "proxy-authorization" not in proxy.heard[0].headers


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_proxy_that_asks_who_it_is_fails_the_notice(scheme: str) -> None:
    with answering(answered(status("407 Who are you", f"X: {SECRET}"), last=True)) as proxy:
        environment = {f"{scheme}_proxy": proxy.base.replace("//", f"//user:{SECRET}@")}
        assert "407" in reason(f"{scheme}://user:{SECRET}@origin.invalid/{SECRET}?{SECRET}", **environment)
    assert len(proxy.heard) == 1


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("http", "socks5"),
        ("http", "socks5h"),
        ("http", "SOCKS4"),
        ("http", "ftp"),
        ("https", "socks5"),
        ("https", "socks4a"),
        ("https", "https"),
        ("https", "quic"),
        ("http", ""),
        ("https", ""),
    ],
)
def test_a_proxy_of_another_kind_gets_nothing(scheme: str, kind: str) -> None:
    reached: list[bytes] = []
    with listening(lambda connection: reached.append(connection.recv(9))) as proxy:
        environment = {f"{scheme}_proxy": proxy.replace("http", kind) if kind else "http://"}
        told = reason(f"{scheme}://user:{SECRET}@origin.invalid/{SECRET}?{SECRET}", **environment)
        assert told == "proxies of this kind are not supported"
        with answering() as origin:
            http_notice = [origin.base] if scheme == "http" else []
            assert outcome_elsewhere(*http_notice, **environment, no_proxy="127.0.0.1") == (
                len(http_notice),
                0,
            )
    assert reached == []


@pytest.mark.parametrize("name", ["http_proxy", "https_proxy"])
def test_a_silent_proxy_is_bounded(name: str) -> None:
    with silent() as proxy:
        environment = {name: proxy, "GIVENOTICE_TIMEOUT": "0.5"}
        assert outcome_elsewhere(f"{name.partition('_')[0]}://origin.invalid/", **environment) == FAILED


# --- TLS ---------------------------------------------------------------------------------------


def named(origin: Origin) -> str:
    return origin.base.replace("127.0.0.1", "localhost")


def test_https_is_verified_by_the_authorities_of_the_environment(authority: Authority) -> None:
    with answering(context=authority.context("localhost", "127.0.0.1")) as origin:
        uris = [named(origin) + "/1", origin.base + "/2"]
        assert outcome_elsewhere(*uris, **authority.environment) == (2, 0)
    assert origin.targets == ["/1", "/2"]


def test_https_with_another_name_is_refused(authority: Authority) -> None:
    with answering(context=authority.context("other.invalid")) as origin:
        assert outcome_elsewhere(named(origin), origin.base, **authority.environment) == (0, 2)
    assert origin.heard == []


def test_https_of_an_unknown_authority_is_refused(authority: Authority, tmp_path: Path) -> None:
    with answering(context=authority.context("localhost")) as origin:
        assert outcome_elsewhere(named(origin)) == FAILED
        assert outcome_elsewhere(named(origin), **Authority(tmp_path).environment) == FAILED
    assert origin.heard == []


def test_a_redirect_may_lead_to_https(authority: Authority) -> None:
    with (
        answering(context=authority.context("localhost")) as origin,
        redirecting({"/": named(origin)}) as first,
    ):
        assert outcome_elsewhere(first.base, **authority.environment) == SENT
    assert origin.targets == ["/"]


# --- What went wrong is told, and not kept -------------------------------------------------------


def hang_up(_connection: socket.socket) -> None:
    """The caller closes."""


def answer_with_rubbish(connection: socket.socket) -> None:
    connection.recv(65_536)
    connection.sendall(f"{SECRET} {SECRET}\r\n\r\n".encode())


FAILURES: dict[str, tuple[Sick, str]] = {
    "refused": (refusing, "Connection refused"),
    "silent": (silent, "timed out"),
    "dripping": (dripping, "timed out"),
    "unaccepting": (unaccepting, "timed out"),
    "reset": (lambda: listening(read_and_reset), "Connection reset by peer"),
    "closed": (lambda: listening(hang_up), ""),
    "rubbish": (lambda: listening(answer_with_rubbish), "BadStatusLine"),
}


def read_and_reset(connection: socket.socket) -> None:
    connection.recv(65_536)
    reset(connection)


@pytest.mark.parametrize(("sick", "told"), FAILURES.values(), ids=FAILURES.keys())
def test_the_reason_of_a_failure_is_told_without_a_secret(sick: Sick, told: str) -> None:
    with sick() as base:
        uri = base.replace("//", f"//{SECRET}:{SECRET}@") + f"/{SECRET}?{SECRET}={SECRET}#{SECRET}"
        text = reason(uri, GIVENOTICE_TIMEOUT="0.5")
    assert text
    assert told in text


def test_the_reason_is_told_where_a_certificate_or_a_name_is_wrong(authority: Authority) -> None:
    place = f"/{SECRET}?{SECRET}"
    with answering(context=authority.context("localhost")) as origin:
        assert "certificate verify failed" in reason(named(origin) + place)
        assert "not valid for '127.0.0.1'" in reason(origin.base + place, **authority.environment)
    assert "name" in reason(f"http://user:{SECRET}@nonexistent.invalid{place}").lower()


RECOVERING = """
import os, resource, shutil, sys, types, givenotice
from time import monotonic
from unittest.mock import MagicMock
uri, cause, *files = sys.argv[1:]

def sent():
    before = givenotice.stats().sent
    givenotice.push(uri)
    givenotice.flush(30)
    return givenotice.stats().sent > before

if cause == "authority":
    spoil, repair = lambda: None, lambda: shutil.copy(*files)
elif cause == "proxy":
    spoil = lambda: os.environ.update(http_proxy="http://127.0.0.1:1", https_proxy="http://127.0.0.1:1")
    repair = lambda: [os.environ.pop(name) for name in ("http_proxy", "https_proxy")]
elif cause.startswith("descriptors"):
    if cause.endswith("imports"):
        givenotice.push("http://127.0.0.1:1/")
        givenotice.flush(30)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    spoil = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    repair = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
else:
    import socket
    fakes = {"none": None, "empty": types.ModuleType("socket")}
    if cause == "mock":
        import urllib.request  # imported beside a mock, it would keep that itself
    spoil = lambda: sys.modules.update(socket=fakes.get(cause, MagicMock()))
    repair = lambda: sys.modules.update(socket=socket)
spoil()
failures = [sent() for _ in range(int(os.environ["TIMES"]))]
repair()
end = monotonic() + 5
recovered = sent()
while not recovered and len(failures) > 1 and monotonic() < end:  # TLS is not loaded anew each time
    recovered = sent()
print(any(failures), recovered)
"""


@pytest.mark.parametrize("times", ["1", "3"])
@pytest.mark.parametrize(
    "secure", ["", "https", "behind a redirect"], ids=["http", "https", "moved to https"]
)
@pytest.mark.parametrize(
    "cause", ["authority", "proxy", "descriptors", "descriptors after the imports", "none", "empty", "mock"]
)
def test_the_next_notice_arrives_when_the_cause_of_a_failure_has_gone(
    cause: str, secure: str, times: str, authority: Authority, tmp_path: Path
) -> None:
    if cause == "authority" and not secure:
        pytest.skip("http needs none")
    file = authority.file
    if cause == "authority":
        file = tmp_path / "ca.pem"  # not there yet
    with (
        answering(context=authority.context("localhost") if secure else None) as origin,
        redirecting({"/": named(origin)}) as moved,
    ):
        ended = script(
            RECOVERING,
            (moved.base if "redirect" in secure else named(origin)) + "/",
            cause,
            str(authority.file),
            str(file),
            TIMES=times,
            SSL_CERT_FILE=str(file),
        )
    assert ended.out == "False True\n"
    assert len(origin.heard) == 1


@pytest.mark.parametrize("path", ["/ping", "/matomo.php?idsite=1&rec=1"])
def test_a_sender_that_is_never_idle_does_not_keep_a_proxy(path: str) -> None:
    with silent() as proxy, answering() as origin:
        ended = script(
            """
            import os, sys, givenotice
            from time import monotonic, sleep
            end = monotonic() + 30
            while givenotice.stats().failed < 3 and monotonic() < end:
                givenotice.push(sys.argv[1])
                sleep(0.02)
            del os.environ["http_proxy"]
            while not givenotice.stats().sent and monotonic() < end:
                givenotice.push(sys.argv[1])
                sleep(0.02)
            print(givenotice.stats().sent > 0)
            """,
            origin.base + path,
            http_proxy=proxy,
            GIVENOTICE_TIMEOUT="0.3",
            GIVENOTICE_EXIT_TIMEOUT="0",
        )
    assert ended.out == "True\n"


def test_threads_that_send_import_nothing(authority: Authority) -> None:
    """Only the dispatcher does, once: a fork or the end of the interpreter may come at any time."""
    with (
        answering(context=authority.context("localhost")) as origin,
        redirecting({"/": named(origin)}) as moved,
        refusing() as closed,
        answering(answered(b"rubbish\r\n\r\n", last=True)) as odd,
    ):
        ended = script(
            """
            import sys, threading, givenotice
            givenotice.IDLE = 60  # seconds: the number of its thread is given to no other
            imports, network = {}, set()

            def watch(event, arguments):
                if event == "import":
                    imports.setdefault(threading.get_ident(), []).append(arguments[0])
                elif event in ("socket.getaddrinfo", "socket.connect"):
                    network.add(threading.get_ident())

            sys.addaudithook(watch)
            for base in sys.argv[1:]:
                for path in ("/", "/matomo.php?idsite=1&rec=1", "/matomo.php?idsite=1&rec=1&token_auth=x"):
                    givenotice.push(base + path)
                    givenotice.push(base.replace("//", "//user:pass@") + path)
                    givenotice.push(base + path + "&a=1")
            assert givenotice.flush(30)
            print(len(network) > 0, {ident: imports[ident] for ident in network & imports.keys()})
            """,
            moved.base,
            named(origin),
            closed,
            odd.base,
            "http://nonexistent.invalid",
            "http://\xfc.invalid",
            closed.replace("http", "https"),
            **authority.environment,
        )
    assert ended.out == "True {}\n"
    assert {heard.method for heard in origin.heard} == {"GET", "POST"}


# --- At most once ------------------------------------------------------------------------------


def break_off(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 2")


def break_off_and_reset(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 2")
    reset(connection)


def end_tls(connection: Any) -> None:
    with suppress(OSError):
        connection.unwrap()


@pytest.mark.parametrize("secure", [False, True], ids=["http", "https"])
@pytest.mark.parametrize("end", [hang_up, reset, break_off, break_off_and_reset, end_tls])
def test_a_request_that_was_read_is_never_made_again(
    end: Callable[[socket.socket], None], secure: bool, authority: Authority
) -> None:
    def answer(connection: socket.socket, heard: Heard) -> bool:
        if heard.target == "/2":
            end(connection)
            return True
        connection.sendall(NO_CONTENT)
        return False

    if end is end_tls and not secure:
        end = hang_up
    with answering(answer, authority.context("localhost") if secure else None) as origin:
        uris = [f"{named(origin)}/{number}" for number in (1, 2, 3)]
        assert outcome_elsewhere(*uris, **authority.environment) == (2, 1)
    assert origin.targets == ["/1", "/2", "/3"]


def bulk(json_text: str, before: str = "", code: str = "200 OK", kind: str = "application/json") -> bytes:
    body = (before + json_text).encode()
    head = f"HTTP/1.1 {code}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


STORED = '{"status":"success","tracked":%d,"invalid":0}'
LOOKED_AT = {
    "500": (status("500 Oops"), (1, 9)),
    "502 with a page": (bulk("<html>", code="502 Bad Gateway", kind="text/html"), (1, 9)),
    "a page": (bulk("<html>Error: SQLSTATE", kind="text/html"), (1, 9)),
    "a warning of PHP before it": (bulk(STORED % 9, before="Warning: in x.php {'a': 1}\n"), (10, 0)),
    "cut off": (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", (1, 9)),
    "303": (status("303 See Other", "Location: /2"), (1, 9)),
}


@pytest.mark.parametrize(("answer", "expected"), LOOKED_AT.values(), ids=LOOKED_AT.keys())
def test_a_bulk_request_that_may_have_been_looked_at_is_not_made_again(
    answer: bytes, expected: tuple[int, int]
) -> None:
    before = givenotice.stats()
    gate = threading.Event()

    def reply(connection: socket.socket, heard: Heard) -> bool:
        gate.wait(30)
        connection.sendall(answer if heard.method == "POST" else NO_CONTENT)
        return True

    with answering(reply) as origin:
        for number in range(10):
            assert givenotice.push(f"{origin.base}/matomo.php?idsite=1&rec=1&number={number}")
            assert until(lambda: origin.heard)  # what follows goes in bulk
        gate.set()
        assert givenotice.flush(30)
    after = givenotice.stats()
    assert [heard.method for heard in origin.heard] == ["GET", "POST"]
    assert (after.sent - before.sent, after.failed - before.failed) == expected


def test_a_post_that_is_answered_by_303_has_failed() -> None:
    with answering(answered(status("303 See Other", "Location: /2"))) as origin:
        assert outcome(origin.base + "/matomo.php?idsite=1&rec=1&token_auth=x") == FAILED
    assert [(heard.method, heard.target) for heard in origin.heard] == [("POST", "/matomo.php")]
