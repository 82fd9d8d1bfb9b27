"""Whatever comes in, from callers, the environment, the shell, or a server: only what is promised comes out.

Hypothesis draws the input and keeps what failed in its database; atheris lets it follow the coverage of
givenotice.py (see guided.py).
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.parse import urljoin, urlsplit

import pytest
from guided import TARGETS
from hypothesis import given, settings
from hypothesis import strategies as st
from matrix import Row, record
from platforms import SECRET, with_secrets
from servers import NO_CONTENT, Heard, listening, read_request

import givenotice

EXAMPLES = int(os.environ.get("TRUST_FUZZ", "300"))  # of each property; the table is of a run with 1,000
SECONDS = int(
    os.environ.get("TRUST_GUIDED", "5")
)  # that each target is followed by its coverage; in the table, 20
MUCH = 16_000_000  # bytes that a client may take of an endless answer: 100 header lines of 64 KB, and buffers
fuzzed = settings(max_examples=EXAMPLES, deadline=None, print_blob=True)

# --- What is drawn ---------------------------------------------------------------------------------------

chars = st.characters()  # surrogates and control characters, too
texts = st.one_of(
    st.text(chars, max_size=20),
    st.text(st.sampled_from(" \r\n\t\0%/?#&=:@[]\\.;+xn--é\udc80"), max_size=12),
    st.sampled_from(
        [SECRET, "token_auth", "idsite", "rec", "1", "%0d%0aX-Injected: 1", "\r\nX-Injected: 1\r\n"]
    ),
)
bases = st.one_of(
    texts,
    st.builds(
        "{}://{}{}".format, st.sampled_from(["http", "https", "HTTP", "file", "ftp", "data"]), texts, texts
    ),
    st.builds("http://{}:{}@{}:{}/{}?{}#{}".format, texts, texts, texts, texts, texts, texts, texts),
    st.just(with_secrets("http://127.0.0.1:9")),
)
simple = st.one_of(
    texts,
    st.binary(max_size=12),
    st.integers(),
    st.floats(),
    st.decimals(),
    st.datetimes(timezones=st.none() | st.timezones()),
    st.uuids(),
    st.booleans(),
    st.none(),
)
values = (
    simple | st.lists(simple, max_size=3) | st.dictionaries(texts, simple, max_size=2) | st.builds(object)
)
matomo_names = [
    "e_c",
    "e_a",
    "e_v",
    "cdt",
    "cdo",
    "cip",
    "lat",
    "_id",
    "cid",
    "ca",
    "token_auth",
    "action_name",
]
params = st.dictionaries(texts | st.sampled_from(matomo_names), values, max_size=4)
RFC3986 = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~:/?#[]@!$&'()*+,;=%")


def checked(build: Callable[[], str]) -> str | None:
    """The URI; None where it was refused, in a sentence without a secret."""
    try:
        uri = build()
    except (ValueError, TypeError) as error:
        text = str(error)
        assert type(error) in (ValueError, TypeError)
        assert text.endswith(".") and text.isprintable() and text.isascii()
        assert SECRET not in text or SECRET in name_in(text)
        return None
    assert RFC3986.issuperset(uri)
    assert urlsplit(uri).scheme in ("http", "https") and urlsplit(uri).hostname
    assert givenotice.build_uri(uri) == uri
    return uri


def name_in(text: str) -> str:
    """The name of the parameter in a sentence: it is no secret."""
    return text.partition(" must ")[0] + text.partition(" is ")[0]


# --- The network, as it is seen from below ---------------------------------------------------------------


class Watch:
    """What the process asks of the network and of the disk; it gets to 127.0.0.1 and no further."""

    def __init__(self) -> None:
        self.active = False
        self.hosts: set[str] = set()
        self.ports: set[int] = set()
        self.opened: set[str] = set()
        self.allowed: set[int] = set()
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active:
            return
        if event == "socket.getaddrinfo":
            host = arguments[0].decode() if isinstance(arguments[0], bytes) else str(arguments[0])
            self.hosts.add(host.strip("[]").lower())
            if host != "127.0.0.1":
                raise OSError("out of bounds")
        elif event == "socket.connect":
            self.ports.add(arguments[1][1])
            if arguments[1][1] not in self.allowed:
                raise OSError("out of bounds")
        elif event in ("open", "subprocess.Popen", "os.system"):
            self.opened.add(str(arguments[0]))

    @contextlib.contextmanager
    def over(self, *ports: int) -> Iterator[None]:
        """Let the block connect to these ports alone."""
        self.hosts, self.ports, self.opened = set(), set(), set()
        self.allowed = set(ports)
        self.active = True
        try:
            yield
        finally:
            self.active = False


watch = Watch()


class Hostile:
    """A server that answers the requests of an example with what it was told to, and ends each connection."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.endless = False
        self.heard: list[Heard] = []
        self.taken = 0
        self.exits = contextlib.ExitStack()
        self.base = self.exits.enter_context(listening(self.handle))
        self.port = int(self.base.rpartition(":")[2])

    def handle(self, connection: socket.socket) -> None:
        with connection.makefile("rb") as lines:
            heard = read_request(lines, 1)
        if heard:
            self.heard.append(heard)
            answer = self.answers.pop(0) if self.answers else NO_CONTENT
            connection.sendall(answer)
            while self.endless and self.taken < 2 * MUCH:
                self.taken += connection.send(answer[-1:] * 65_536)
        connection.shutdown(socket.SHUT_WR)


_servers: list[Hostile] = []


def hostile(answers: list[bytes], endless: bool = False) -> Hostile:
    """The one server of the process, begun anew: a listening socket for each example would be slow."""
    if not _servers:
        _servers.append(Hostile())
    server = _servers[0]
    server.answers, server.endless, server.heard, server.taken = list(answers), endless, [], 0
    return server


HEADERS = {
    "host",
    "user-agent",
    "accept-encoding",
    "connection",
    "authorization",
    "content-type",
    "content-length",
}


def check_requests(server: Hostile, most: int) -> None:
    """What arrived is what givenotice makes, and nothing that somebody smuggled in."""
    assert len(server.heard) <= most
    for heard in server.heard:
        assert heard.method in ("GET", "POST")
        assert heard.target.startswith("/") and RFC3986.issuperset(heard.target)
        assert heard.headers.keys() <= HEADERS
        assert heard.headers["host"] == urlsplit(server.base).netloc
    assert not {path for path in watch.opened if "passwd" in path}


# --- Callers ---------------------------------------------------------------------------------------------


@fuzzed
@given(bases, params)
def test_build_uri_gives_a_uri_or_a_sentence(base: str, given_params: dict[str, Any]) -> None:
    checked(lambda: givenotice.build_uri(base, **given_params))


@fuzzed
@given(bases, st.integers(-1, 3) | values, texts | bases, params)
def test_matomo_uri_gives_a_uri_or_a_sentence(
    endpoint: str, idsite: Any, url: str, given_params: dict[str, Any]
) -> None:
    for name in ("idsite", "url", "rec", "send_image"):
        given_params.pop(name, None)
    checked(lambda: givenotice.matomo_uri(endpoint, idsite, url, **given_params))


anything = st.one_of(
    values, bases, st.builds("http://127.0.0.1:{port}{}".format, texts, port=st.just("PORT"))
)


@fuzzed
@given(st.lists(st.tuples(anything, params, bases), max_size=3))
def test_push_asks_nothing_of_anybody_else(pushes: list[tuple[Any, dict[str, Any], str]]) -> None:
    server = hostile([])
    before = givenotice.stats()
    expected, malformed = set(), 0
    with watch.over(server.port):
        for uri, given_params, environment in pushes:
            if isinstance(uri, str):
                uri = uri.replace("PORT", str(server.port))
            environment = environment.encode("utf-8", "replace").decode().replace("\0", "")
            with mock.patch.dict(os.environ, GIVENOTICE_URI=environment):
                taken = givenotice.push(uri, **given_params)
            try:
                built = givenotice.build_uri(environment if uri is None else uri, **given_params)
                expected.add(str(urlsplit(built).hostname))
                assert taken
            except (ValueError, TypeError):
                malformed += 1  # where the origin is known, it may be a worker who finds out
                assert not taken or (
                    isinstance(uri, str) and uri.startswith(server.base) and not given_params
                )
        assert givenotice.flush(20)
    assert watch.hosts <= expected
    after = givenotice.stats()
    assert (after.pushed - before.pushed, after.dropped - before.dropped) == (len(pushes), malformed)
    assert after.pending == 0
    check_requests(server, len(pushes))


# --- The environment, and the shell ----------------------------------------------------------------------

names = ["URI", "DISABLED", "TIMEOUT", "EXIT_TIMEOUT", "BACKLOG"]
environments = st.dictionaries(
    st.sampled_from([f"GIVENOTICE_{name}" for name in names]),
    st.one_of(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12),
        st.floats().map(str),
        st.integers().map(str),
        st.sampled_from(["1_0", "0x10", " 3 ", "1e999", "nan", "-0", "\u0663", "1e400000000"]),
    ),
)


@settings(fuzzed, max_examples=min(EXAMPLES, 300))
@given(environments)
def test_a_malformed_setting_is_ignored(environment: dict[str, str]) -> None:
    with watch.over(), mock.patch.dict(os.environ, environment):
        spec: Any = importlib.util.spec_from_file_location("another", givenotice.__file__)
        another: Any = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(another)
        assert 0 <= another.TIMEOUT < 1e10 and 0 <= another.EXIT_TIMEOUT < 1e10
        assert type(another.BACKLOG) is int and another.BACKLOG >= 0
        another.push()
        another.EXIT_TIMEOUT = 0.0  # there will be hundreds of them at the exit
        assert another.flush(20)


def arguments() -> st.SearchStrategy[list[str]]:
    options = [
        "-n",
        "-v",
        "-f",
        "-t",
        "--timeout",
        "--dry-run",
        "--fail",
        "--version",
        "-h",
        "--",
        "-x",
        "--tok",
    ]
    words = st.one_of(
        texts,
        bases,
        st.builds("{}={}".format, texts, texts),
        st.sampled_from([*options, f"--token={SECRET}"]),
    )
    return st.lists(words.filter(lambda word: word not in ("--listen", "--demo")), max_size=5)


@fuzzed
@given(arguments(), bases)
def test_the_command_line_says_what_is_wrong_and_no_secret(words: list[str], uri: str) -> None:
    environment = uri.encode("utf-8", "replace").decode().replace("\0", "")
    check_command(["-n", *words], environment)


@fuzzed
@given(texts.filter(lambda text: not text.isdigit()), texts)
def test_an_address_to_listen_on_is_checked(host: str, port: str) -> None:
    address = f"{host}:{port}"
    if not (port.isascii() and port.isdigit()):
        assert check_command([f"--listen={address}"], "") == 2


def check_command(words: list[str], environment: str) -> int:
    out, err = io.StringIO(), io.StringIO()
    with (
        watch.over(),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        mock.patch.dict(os.environ, GIVENOTICE_URI=environment),
    ):
        try:
            status = givenotice.main(words)
        except SystemExit as end:
            assert isinstance(end.code, int)
            status = end.code
    # Where GIVENOTICE_URI is of no use, a script goes on; with --fail that is status 1.
    useless = err.getvalue().startswith("givenotice: GIVENOTICE_URI is ")
    failing = any(word.startswith("-") and "f" in word for word in words)
    assert status in ((0, 1, 2) if failing else (0, 2))
    assert bool(err.getvalue()) == (status == 2 or useless)
    assert not watch.hosts
    told = [line for line in (out.getvalue() + err.getvalue()).splitlines() if "token_auth" in line]
    assert not [line for line in told if f"token_auth={SECRET}" in line or f":{SECRET}@" in line]
    assert f"--token={SECRET}" not in err.getvalue()
    return status


# --- Servers ---------------------------------------------------------------------------------------------

LOCATIONS = [
    "file:///etc/passwd",
    "file://127.0.0.1/etc/passwd",
    "ftp://elsewhere.invalid/",
    "data:,x",
    "//elsewhere.invalid/",
    "https://elsewhere.invalid:1/",
    "http://user:password@elsewhere.invalid/",
    "http://elsewhere.invalid\\@127.0.0.1/",
    "http:elsewhere.invalid",
    "///etc/passwd",
    "http://[::1/",
    "http://127.0.0.1:PORT/again",
    "HTTP://127.0.0.1:PORT/%0d%0aX-Injected:1",
    "/again",
    "?again",
    "",
    "http://",
    "\u00e9",
]
line_texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Zl", "Zp"]), max_size=15)
locations = st.sampled_from(LOCATIONS) | line_texts
statuses = st.sampled_from([200, 204, 300, 301, 302, 303, 304, 305, 307, 308, 400, 401, 407, 500, 503])
pieces = st.sampled_from(
    [
        *(
            b"HTTP/1.1 ",
            b"HTTP/1.0 200 OK\r\n",
            b"HTTP/0.9",
            b"200",
            b"99999",
            b"-1",
            b"100 Continue\r\n\r\n",
        ),
        *(
            b"Content-Length: ",
            b"Transfer-Encoding: chunked\r\n",
            b"Connection: keep-alive\r\n",
            b"\r\n",
            b"\n",
        ),
        *(
            b"ffffffffffff\r\n",
            b"0\r\n\r\n",
            b"Location: file:///etc/passwd\r\n",
            b"Content-Encoding: gzip\r\n",
        ),
        *(
            b"Set-Cookie: a=b\r\n",
            b"WWW-Authenticate: Basic\r\n",
            b" folded\r\n",
            b"X" * 70_000,
            b"X: 1\r\n" * 120,
        ),
    ]
)
raw = st.lists(pieces | st.binary(max_size=20), max_size=12).map(b"".join)
numbers = st.one_of(
    st.integers(), st.floats(), st.none(), st.text(max_size=3), st.booleans(), st.lists(st.none())
)
told = st.one_of(
    st.fixed_dictionaries({"status": st.text(max_size=8), "tracked": numbers, "invalid": numbers}).map(
        lambda told: json.dumps(told).encode()
    ),
    st.sampled_from([b"GIF89a", b"<html>", b"[" * 5000, b"1" * 5000, b'{"tracked":1e999,"invalid":0}']),
    st.binary(max_size=30),
)


def redirect(status: int, location: str) -> bytes:
    return f"HTTP/1.1 {status} X\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


def body(status: int, data: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\nContent-Length: %d\r\n\r\n%s" % (status, len(data), data)


def deliver(server: Hostile, *uris: str) -> givenotice.Stats:
    """What became of these notices: each was dealt with, and no more was counted than there is."""
    before = givenotice.stats()
    with watch.over(server.port):
        for uri in uris:
            assert givenotice.push(uri)
        assert givenotice.flush(20)
    after = givenotice.stats()
    counts = givenotice.Stats(*(now - then for now, then in zip(after, before)))
    assert (counts.pushed, counts.dropped, counts.pending) == (len(uris), 0, 0)
    assert counts.sent >= 0 and counts.failed >= 0
    assert server.taken < MUCH
    return counts


@fuzzed
@given(st.lists(st.tuples(statuses, locations), max_size=8), st.booleans())
def test_a_redirect_leads_to_http_and_to_whom_it_names(hops: list[tuple[int, str]], form: bool) -> None:
    server = hostile([])
    server.answers = [redirect(status, place.replace("PORT", str(server.port))) for status, place in hops]
    query = f"?idsite=1&rec=1&token_auth={SECRET}" if form else "?"
    deliver(server, f"{server.base}/matomo.php{query}")
    allowed = {"127.0.0.1"}
    for _, place in hops:
        with contextlib.suppress(ValueError):
            target = urlsplit(urljoin(server.base, place.strip(" ")))
            if target.scheme in ("http", "https") and not form:
                allowed.add((target.hostname or "").encode("idna").decode())
    assert watch.hosts <= allowed
    assert watch.ports <= {server.port}
    check_requests(server, givenotice.REDIRECTS + 1)


@fuzzed
@given(raw, st.booleans())
def test_an_answer_may_be_anything(answer: bytes, bulk: bool) -> None:
    server = hostile([answer, answer])
    uri = f"{server.base}/matomo.php?idsite=1&rec=1" if bulk else server.base
    deliver(server, *[uri] * (3 if bulk else 1))
    assert watch.hosts == {"127.0.0.1"}
    assert watch.ports <= {server.port}
    check_requests(server, 4)


@settings(fuzzed, max_examples=min(EXAMPLES, 100))
@given(raw.filter(bool))
def test_an_answer_without_end_is_left(answer: bytes) -> None:
    server = hostile([answer], endless=True)
    deliver(server, server.base)
    check_requests(server, 1)


@fuzzed
@given(statuses, told)
def test_matomo_may_tell_anything(status: int, data: bytes) -> None:
    server = hostile([NO_CONTENT, body(status, data)])
    uri = f"{server.base}/{os.urandom(4).hex()}/matomo.php?idsite=1&rec=1"  # none that refused bulk before
    counts = deliver(server, *[uri] * 4)
    assert counts.sent + counts.failed == 4
    check_requests(server, 6)


# --- All of it again, following the coverage -------------------------------------------------------------


@pytest.mark.parametrize("target", TARGETS)
def test_what_the_coverage_leads_to_is_no_different(target: str, tmp_path: Path) -> None:
    guided = Path(__file__).with_name("guided.py")
    command = [sys.executable, str(guided), target, f"-max_total_time={SECONDS}", "-rss_limit_mb=4096"]
    path = os.pathsep.join(
        [str(Path(givenotice.__file__).parent), str(guided.parent), str(guided.parents[1])]
    )
    environment = {**os.environ, "PYTHONPATH": path, "TMPDIR": str(tmp_path)}
    done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-5000:]
    runs = int(done.stderr.rpartition("Done ")[2].split()[0])
    assert runs > 100
    record(Row("atheris", target.removeprefix("test_").replace("_", " "), runs, 0, None, 0))
