"""A password and a token are looked for in all that processes write, whatever befalls their notices."""

from __future__ import annotations

import ssl
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import trustme
from matrix import Row, record
from platforms import SECRET, with_secrets
from programs import HOME, Ended, execute
from servers import NO_CONTENT, Answer, answered, answering, listening, refusing, reset, silent

Server = Callable[[], AbstractContextManager[str]]


def server(answer: Answer, secure: bool = False) -> Server:
    @contextmanager
    def serving() -> Iterator[str]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if secure else None
        if context:
            trustme.CA().issue_cert("127.0.0.1").configure_cert(context)  # an authority that nobody trusts
        with answering(answer, context) as origin:
            yield origin.base

    return serving


@contextmanager
def resetting() -> Iterator[str]:
    with listening(reset) as base:
        yield base


@contextmanager
def nowhere() -> Iterator[str]:
    yield "http://nobody.invalid"


def status(number: int, more: str = "") -> Answer:
    return answered(f"HTTP/1.1 {number} {SECRET}\r\n{more}Content-Length: 0\r\n\r\n".encode())


def redirect(location: str) -> Server:
    return server(status(302, f"Location: {location}\r\n"))


SERVERS: dict[str, Server] = {
    "well": server(answered(NO_CONTENT)),
    "401": server(status(401)),
    "500": server(status(500)),
    "redirect without end": redirect(f"/{'again'}?token_auth={SECRET}"),
    "redirect to elsewhere": redirect(f"http://user:{SECRET}@nobody.invalid/?token_auth={SECRET}"),
    "redirect to no URI": redirect(f"http://[{SECRET}/"),
    "no HTTP": server(answered(f"{SECRET}\r\n\r\n".encode(), last=True)),
    "untrusted": server(answered(NO_CONTENT), secure=True),
    "refusing": refusing,
    "reset": resetting,
    "silent": silent,
    "nowhere": nowhere,
}

# Each is a program that speaks of its notices as much as it can.
LOGGING = """
import faulthandler, logging, os, sys
logging.basicConfig(level=logging.DEBUG, format="%(message)s %(args)s %(exc_info)s")
import givenotice
givenotice.BACKLOG = 30
uri = os.environ["GIVENOTICE_URI"]
givenotice.push()
givenotice.push(uri, action_name="x")
for number in range(40):
    givenotice.push(uri.replace("/?", "/matomo.php?idsite=1&rec=1&"), n=number)
    givenotice.push(uri, number=number)
for bad in (uri + chr(10) + "x", uri.replace("http", "ftp"), object(), None):
    givenotice.push(bad, token_auth={uri: uri})
givenotice.flush(20)
faulthandler.dump_traceback()
print(givenotice.stats(), vars(givenotice))
"""
RECORDING = """
import os, traceback, givenotice
uri = os.environ["GIVENOTICE_URI"]
with givenotice.recording() as notices:
    givenotice.push(); givenotice.push(uri)
    print(notices, notices[0].params, repr(notices[1]), [*notices])
    calls = [
        lambda: givenotice.push(uri + chr(10) + "x"),
        lambda: givenotice.push(uri.replace("127.0.0.1", "127.0.0.1\\\\").replace("nobody", "nobody ")),
        lambda: givenotice.push(token_auth={uri: uri}),
        lambda: givenotice.push(token_auth=chr(0xd800) + uri),
        lambda: givenotice.push(token_auth=uri.encode() + b"\\xff"),
        lambda: givenotice.push(uri.replace("http", "ftp")),
        lambda: givenotice.push(uri.replace(".", ":")),
        lambda: givenotice.matomo_uri(uri, 1, "https://a.example/", cdt=uri),
        lambda: givenotice.matomo_uri(uri, 1, "https://a.example/", e_v=uri, cid=uri, token_auth=uri),
        lambda: givenotice.matomo_uri(uri, 1, uri[5:]),
        lambda: notices.assert_one(token_auth="x"),
        lambda: notices.assert_one(e_c=1),
        lambda: notices.assert_one(),
    ]
    for call in calls:
        try:
            call()
        except (ValueError, TypeError, AssertionError):
            traceback.print_exc()
        else:
            raise SystemExit("It was not refused.")
"""


def run(arguments: list[str], uri: str) -> Ended:
    # The plugin sets GIVENOTICE_URI aside.
    settings = {"GIVENOTICE_URI": uri, "URI": uri, "GIVENOTICE_TIMEOUT": "1", "PYTHONPATH": str(HOME)}
    return execute([sys.executable, "-X", "dev", *arguments], **settings)


class Written:
    """What was looked through: a row of the table for each kind of runs."""

    def __init__(self) -> None:
        self.runs: Counter[str] = Counter()
        self.told: Counter[str] = Counter()

    def check(self, what: str, *ends: Ended) -> None:
        """Each has said something, and nothing of the secret; the server's own words count, too."""
        self.runs[what] += len(ends)
        self.told[what] += sum(SECRET in ended.out + ended.err for ended in ends)
        for ended in ends:
            assert ended.out or ended.err
            assert SECRET not in ended.out + ended.err


@pytest.fixture(scope="module")
def written() -> Iterator[Written]:
    written = Written()
    yield written
    for what, runs in written.runs.items():
        record(Row("secrets", what, runs, runs, None, 0, written.told[what]))


@pytest.mark.parametrize("kind", SERVERS)
def test_a_log_at_debug_tells_no_secret(kind: str, written: Written) -> None:
    with SERVERS[kind]() as base:
        ended = run(["-c", LOGGING], with_secrets(base))
        assert ended.status == 0
        assert (": delivered (" if kind == "well" else ": not delivered (") in ended.err
    written.check(f"the log at DEBUG, beside {len(SERVERS)} kinds of servers", ended)


@pytest.mark.parametrize("kind", SERVERS)
def test_the_command_tells_no_secret(kind: str, written: Written) -> None:
    with SERVERS[kind]() as base:
        uri = with_secrets(base)
        ends = [
            run(["-m", "givenotice", *arguments], uri)
            for arguments in (
                ["-v", "-f", uri],
                ["-v", uri.replace("/?", "/matomo.php?idsite=1&rec=1&"), f"more={SECRET}"],
                ["-n"],
                ["-n", uri, "a=b"],
                ["-v", "-t", "0", uri],
                ["-v", uri.replace("://", ":")],
                ["-v", f"--token={SECRET}", uri],
                ["-v", uri + "\nx"],
                ["-v", f"token_auth={SECRET}\udcff", uri],
            )
        ]
        assert {ended.status for ended in ends} >= {0, 2}
    written.check(f"-v, -n and wrong usage, beside {len(SERVERS)} kinds of servers", *ends)


def test_tracebacks_and_the_recorder_tell_no_secret(written: Written) -> None:
    ended = run(["-c", RECORDING], with_secrets("http://127.0.0.1:9"))
    assert ended.status == 0, ended
    assert ended.err.count("Traceback") == 13
    written.check("tracebacks, and the recorder", ended)


def test_pytest_tells_no_secret(tmp_path: Path, written: Written) -> None:
    (tmp_path / "test_telling.py").write_text(
        """
import os, pytest, givenotice

@pytest.fixture(autouse=True)
def uri(monkeypatch):
    monkeypatch.setenv("GIVENOTICE_URI", os.environ["URI"])

@pytest.mark.parametrize("wrong", [
    lambda notices: notices.assert_one(token_auth="x"),
    lambda notices: notices.assert_one(),
    lambda notices: notices.index("x"),
    lambda notices: givenotice.push(notices[0] + chr(10) + "x"),
    lambda notices: givenotice.push(token_auth={notices[0]: 1}),
])
def test_wrong(notices, wrong):
    givenotice.push()
    givenotice.push(a=1)
    wrong(notices)

@pytest.mark.parametrize("other", ["x", [], {}])
def test_compared(notices, other):
    givenotice.push()
    assert notices == other or notices[0].params == other
"""
    )
    options = ["-p", "givenotice", "-p", "no:asyncio", "-vv", "--showlocals", "--rootdir", str(tmp_path)]
    ended = run(["-m", "pytest", *options, str(tmp_path)], with_secrets("http://127.0.0.1:9"))
    assert "8 failed" in ended.out
    written.check("failed tests, with --showlocals", ended)
