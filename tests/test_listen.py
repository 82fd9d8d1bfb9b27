"""The receiver for development and the demonstration: real processes, asked by real clients."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest
import servers
from programs import HOME, execute

FILE = str(HOME / "givenotice.py")
SECRET = "c0ffee5ec2e7"
TIME = r"\d\d:\d\d:\d\d"
GIF = b"GIF89a"
FORM = "application/x-www-form-urlencoded"
MASKED = "The value of token_auth is masked; other secrets are not.\n"


class Receiver:
    """A process that listens, and what it printed."""

    def __init__(self, shown: Path, address: str, **settings: str) -> None:
        self.shown = shown
        environment = {**os.environ, **settings}
        command = [sys.executable, FILE, "--listen", address]
        with shown.open("wb") as out:
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=subprocess.PIPE)
        if not servers.until(lambda: MASKED in self.text):
            self.process.kill()
            raise AssertionError(self.process.communicate()[1].decode())
        found = re.match(rf"Listening on http://(.+):(\d+)/ until Ctrl-C\.\n{MASKED}", self.text)
        assert found, self.text
        self.host, self.port = found[1].strip("[]"), int(found[2])

    @property
    def text(self) -> str:
        return self.shown.read_text("utf-8", "replace")

    @property
    def told(self) -> str:
        """What it printed of the requests, without the times."""
        return re.sub(rf"^{TIME} ", "", self.text.partition(MASKED)[2], flags=re.M)

    def ask(
        self, target: str, body: str | None = None, method: str = "", host: str = "", kind: str = ""
    ) -> tuple[int, str, bytes]:
        """The status of its answer, its kind and its body."""
        connection = HTTPConnection(host or self.host, self.port, timeout=30)
        with contextlib.closing(connection):
            headers = {"Content-Type": kind} if kind else {}
            connection.request(method or ("GET" if body is None else "POST"), target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.headers.get("Content-Type", ""), answer.read()

    def send(self, data: bytes) -> bytes:
        """All that it answers to these bytes before it closes the connection."""
        with socket.create_connection((self.host, self.port), 30) as client:
            client.sendall(data)
            with contextlib.suppress(ConnectionError):  # it has closed already, with bytes unread
                client.shutdown(socket.SHUT_WR)
                return client.makefile("rb").read()
        return b""

    def end(self) -> tuple[int, bytes]:
        """Its exit status after Ctrl-C, and its stderr."""
        self.process.send_signal(signal.SIGINT)
        err = self.process.communicate(timeout=30)[1]
        return self.process.returncode, err


@contextlib.contextmanager
def listening(shown: Path, address: str = "0", **settings: str) -> Iterator[Receiver]:
    receiver = Receiver(shown, address, **settings)
    try:
        yield receiver
        assert receiver.end() == (0, b"")
    finally:
        receiver.process.kill()
        receiver.process.communicate()


@pytest.fixture
def receiver(tmp_path: Path) -> Iterator[Receiver]:
    with listening(tmp_path / "shown") as found:
        yield found


def test_a_request_is_shown_with_its_time_and_its_size(receiver: Receiver) -> None:
    receiver.ask("/ping/9f2c?a=1")
    assert re.search(rf"\n{TIME} GET /ping/9f2c 3 bytes\n  - a  1\n\Z", receiver.text)


def test_parameters_are_shown_decoded_in_columns(receiver: Receiver) -> None:
    receiver.ask("/x?e_c=a%20b&action_name=%C3%A5+1&e=")
    assert receiver.told == "GET /x 33 bytes\n  - e_c          a b\n    action_name  å 1\n    e            \n"


def test_a_repeated_parameter_has_a_line_for_each_value(receiver: Receiver) -> None:
    receiver.ask("/x?a=1&b=2&a=3")
    assert receiver.told == "GET /x 11 bytes\n  - a  1\n    b  2\n    a  3\n"


def test_a_form_is_shown_with_the_query_before_it(receiver: Receiver) -> None:
    receiver.ask("/x?a=1", "b=2&c=3%204")
    assert receiver.told == "POST /x 14 bytes\n  - a  1\n    b  2\n    c  3 4\n"


def test_each_notice_of_a_bulk_request_is_shown(receiver: Receiver) -> None:
    body = json.dumps({"requests": ["?a=1&b=2", "?a=3"]})
    receiver.ask("/matomo.php", body)
    assert receiver.told == (f"POST /matomo.php {len(body)} bytes, 2 notices\n  - a  1\n    b  2\n  - a  3\n")


@pytest.mark.parametrize("method", ["PUT", "HEAD"])
def test_other_methods_are_received(method: str, receiver: Receiver) -> None:
    assert receiver.ask("/x?a=1", "" if method == "PUT" else None, method)[0] == 204
    assert receiver.told == f"{method} /x 3 bytes\n  - a  1\n"


@pytest.mark.parametrize(
    ("target", "body", "status", "kind"),
    [
        ("/ping", None, 204, ""),
        ("/m.php?rec=1&send_image=0", None, 204, ""),
        ("/m.php", "rec=1&send_image=0", 204, ""),
        ("/m.php?rec=1", None, 200, "image/gif"),
        ("/m.php", "rec=1", 200, "image/gif"),
    ],
)
def test_a_single_notice_is_answered_as_matomo_does(
    target: str, body: str | None, status: int, kind: str, receiver: Receiver
) -> None:
    got = receiver.ask(target, body)
    assert got[:2] == (status, kind)
    assert got[2][:6] == (GIF if kind else b"")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_bulk_request_is_answered_as_matomo_does(count: int, receiver: Receiver) -> None:
    status, kind, data = receiver.ask("/m.php", json.dumps({"requests": ["?rec=1"] * count}))
    assert (status, kind) == (200, "application/json")
    assert json.loads(data) == {"status": "success", "tracked": count, "invalid": 0}


@pytest.mark.parametrize(
    ("target", "body"),
    [
        (f"/x?token_auth={SECRET}", None),
        (f"/x?%74oken%5fauth={SECRET}", None),
        (f"/x?token_auth={SECRET}&token_auth={SECRET}", None),
        (f"/x?token_auth[]={SECRET}", None),
        (f"http://ada:{SECRET}@a.example/x?token_auth=", None),
        ("/x", f"token_auth={SECRET}"),
        ("/x", f"token%5Fauth={SECRET}"),
        ("/x", json.dumps({"requests": [f"?token_auth={SECRET}", "?a=1"]})),
        ("/x", json.dumps({"requests": [f"?%74oken_auth={SECRET}"]})),
    ],
)
def test_a_token_is_masked(target: str, body: str | None, receiver: Receiver) -> None:
    receiver.ask(target, body)
    assert re.search(r"token_auth(\[\])?  \*\*\*\n", receiver.told)
    assert SECRET not in receiver.told


@pytest.mark.parametrize("kind", [FORM, "application/json"])
def test_a_token_beside_the_bulk_notices_is_not_shown(kind: str, receiver: Receiver) -> None:
    requests = json.dumps([f"?a=1&token_auth={SECRET}", "?a=2"]).replace("&", "\\u0026")
    body = f'{{"_": "&token_auth={SECRET}&", "token_auth": "{SECRET}", "requests": {requests}}}'
    assert json.loads(receiver.ask("/x", body, kind=kind)[2])["tracked"] == 2
    notices = "  - a           1\n    token_auth  ***\n  - a  2\n"
    assert receiver.told == f"POST /x {len(body)} bytes, 2 notices\n{notices}"


@pytest.mark.parametrize(
    ("encoded", "shown"),
    [("%1B%5B31m", r"'\x1b[31m'"), ("a%0D%0Ab", r"'a\r\nb'"), ("%E2%80%AE", r"'\u202e'"), ("%FF", "\ufffd")],
)
def test_what_would_command_a_terminal_is_shown_escaped(encoded: str, shown: str, receiver: Receiver) -> None:
    receiver.ask(f"/x?a={encoded}")
    receiver.ask(f"/x?{encoded}=a")
    assert receiver.told.count(shown) == 2
    assert "\x1b" not in receiver.told


def test_what_is_long_is_shown_in_80_columns(receiver: Receiver) -> None:
    value = "".join(map(str, range(60)))
    receiver.ask(f"/{'p' * 200}?a=1&{'n' * 60}={value}")
    receiver.ask("/" + "p" * 200, "{}" * 50)
    _, *lines = receiver.text.splitlines()
    assert max(map(len, lines)) <= 80
    assert f"  - a{' ' * 25}1" in lines
    shown = [line[30:] for line in lines if line.startswith((" " * 30, f"    {'n' * 10}...{'n' * 11}  "))]
    assert "".join(shown) == value


@pytest.mark.parametrize(
    "data",
    [
        b"\r\n\r\n",
        b"garbage\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",  # a client that wants TLS
        bytes(range(256)) * 40,
        b"GET /" + b"x" * 70_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"BREW / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHos",
        b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: 1\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: many\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: \xb2\r\n\r\nabc",
        b"POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n\xff\xfe\x00\x01",
        b"GET /\xff\xfe?\xff=\xff HTTP/1.1\r\n\r\n",
    ],
    ids=lambda data: repr(data[:40]),
)
def test_a_bad_request_does_not_end_it(data: bytes, receiver: Receiver) -> None:
    receiver.send(data)
    assert receiver.ask("/after")[0] == 204
    assert receiver.told.endswith("GET /after 0 bytes\n")


@pytest.mark.parametrize(
    "body",
    ["{", "[]", '{"requests": null}', '{"requests": [1]}', '{"requests": [{"a": 1}]}', "[" * 100_000],
    ids=lambda body: body[:20],
)
@pytest.mark.parametrize("kind", ["", "application/json", FORM])
def test_a_body_that_is_no_form_is_not_shown(kind: str, body: str, receiver: Receiver) -> None:
    assert receiver.ask("/x?a=1", body, kind=kind)[0] == 204
    size = len(body) + 3
    assert receiver.told == f"POST /x {size} bytes, the body is not shown: it is no form\n  - a  1\n"


@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", f'{{"token_auth": "{SECRET}"}}'),
        ("application/json", f"token_auth\r\n{SECRET}"),
        ("application/x-www-form-urlencoded", f' {{"token_auth": "{SECRET}", "a=b": "&c=d"}}'),
        ("multipart/form-data; boundary=x", f'--x\r\nName: "token_auth"\r\n\r\n{SECRET}\r\n--x--\r\n'),
        ("", f"<auth>{SECRET}</auth>"),
        ("text/plain", SECRET),
    ],
)
def test_no_secret_of_a_body_that_is_no_form_is_shown(kind: str, body: str, receiver: Receiver) -> None:
    assert receiver.ask("/x", body, kind=kind)[0] == 204
    assert receiver.told == f"POST /x {len(body)} bytes, the body is not shown: it is no form\n"


@pytest.mark.parametrize("body", ["null", "\0", "a"])
@pytest.mark.parametrize(
    "kind", ["", "application/x-www-form-urlencoded", "Application/X-WWW-Form-URLencoded; charset=UTF-8"]
)
def test_a_body_that_is_no_bulk_request_is_taken_as_a_form(kind: str, body: str, receiver: Receiver) -> None:
    assert receiver.ask("/x", body, kind=kind)[0] == 204
    assert receiver.told.startswith(f"POST /x {len(body)} bytes\n")


def test_requests_at_the_same_time_are_shown_one_after_the_other(receiver: Receiver) -> None:
    def ask(number: int) -> None:
        with contextlib.closing(HTTPConnection(receiver.host, receiver.port, timeout=30)) as connection:
            for _ in range(100):
                connection.request("GET", f"/{number}?a=1&b=2")
                connection.getresponse().read()

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert len(re.findall(r"GET /\d 7 bytes\n  - a  1\n    b  2\n", receiver.told)) == 800
    assert receiver.told.count("\n") == 2400


def test_it_ends_quietly_when_nobody_reads_on() -> None:
    command = [sys.executable, FILE, "--listen", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout
        assert process.stderr
        found = re.search(rb":(\d+)/", process.stdout.readline())
        assert found
        process.stdout.readline()  # all that it says before a request
        process.stdout.close()
        with contextlib.closing(HTTPConnection("127.0.0.1", int(found[1]), timeout=30)) as connection:
            connection.request("GET", "/last")
            assert connection.getresponse().status == 204
        assert process.wait(30) == 1
        assert process.stderr.read() == b""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_it_ends_with_a_sentence_when_the_disk_is_full() -> None:
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run([sys.executable, FILE, "--listen", "0"], stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert ended.stderr == b"givenotice: error: Cannot write: No space left on device.\n"


def test_clients_that_leave_or_linger_keep_no_other_waiting(receiver: Receiver) -> None:
    address = receiver.host, receiver.port
    with contextlib.ExitStack() as stack:
        for part in b"", b"GET /", b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n":
            client = stack.enter_context(socket.create_connection(address, 30))
            client.sendall(part)
        left = socket.create_connection(address, 30)
        left.sendall(b"GET /left?rec=1 HTTP/1.1\r\n\r\n")
        left.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
        left.close()
        assert receiver.ask("/after")[0] == 204


def test_it_receives_what_givenotice_sends(receiver: Receiver) -> None:
    base = f"http://127.0.0.1:{receiver.port}"
    program = f"""
import givenotice
uri = givenotice.matomo_uri("{base}", 1, "https://a.example/", e_c="user", e_a="signup")
for number in range(200):
    givenotice.push(uri, e_v=number)
assert givenotice.flush(20)
assert givenotice.stats().sent == 200
"""
    assert execute([sys.executable, "-c", program]).status == 0
    assert re.findall(r"e_v +(\d+)\n", receiver.told) == [str(number) for number in range(200)]


@pytest.mark.parametrize("address", ["0", ":0", "127.0.0.1:0", "localhost:0"])
def test_it_listens_on_loopback(address: str, tmp_path: Path) -> None:
    with listening(tmp_path / "shown", address) as receiver:
        assert receiver.host in ("127.0.0.1", "localhost")
        assert receiver.ask("/")[0] == 204


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere 127.0.0.2 may be no address of the machine")
def test_it_listens_on_all_addresses_only_if_told_to(tmp_path: Path) -> None:
    with listening(tmp_path / "all", "0.0.0.0:0") as receiver:
        assert receiver.ask("/", host="127.0.0.2")[0] == 204
    with listening(tmp_path / "one") as receiver, pytest.raises(ConnectionRefusedError):
        receiver.ask("/", host="127.0.0.2")


@pytest.mark.parametrize("address", ["[::1]:0", "::1:0"])
def test_it_listens_on_an_ipv6_address(address: str, tmp_path: Path) -> None:
    with listening(tmp_path / "shown", address) as receiver:
        assert "http://[::1]:" in receiver.text
        assert receiver.ask("/")[0] == 204


def test_without_a_port_it_listens_on_8000() -> None:
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError):  # somebody else has it
            stack.enter_context(socket.create_server(("127.0.0.1", 8000)))
        for arguments in ["--listen"], ["--listen", "-v"]:
            ended = execute([sys.executable, FILE, *arguments])
            assert ended.status == 2
            assert "error: Cannot listen on '8000': Address already in use.\n" in ended.err


@pytest.mark.skipif(os.name == "nt", reason="a shell of Unix")
@pytest.mark.parametrize("closed", [">&-", ">&- 2>&- <&-"])
def test_it_receives_where_standard_streams_are_closed(closed: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    def ask() -> bool:
        with (
            contextlib.suppress(OSError),
            contextlib.closing(HTTPConnection("127.0.0.1", port)) as connection,
        ):
            connection.request("GET", "/x?a=1")
            return connection.getresponse().status == 204
        return False

    command = ["sh", "-c", f'exec "{sys.executable}" "{FILE}" --listen {port} {closed}']
    with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
        assert servers.until(ask)
        process.send_signal(signal.SIGINT)
        assert (process.communicate(timeout=30)[1], process.returncode) == (b"", 0)


def test_a_port_that_is_taken_is_told_in_a_sentence(receiver: Receiver) -> None:
    ended = execute([sys.executable, FILE, "--listen", str(receiver.port)])
    assert (ended.status, ended.out) == (2, "")
    assert f"givenotice: error: Cannot listen on '{receiver.port}': Address already in use.\n" in ended.err


@pytest.mark.parametrize("address", ["", "x", "70000", "-1", "127.0.0.1", "127.0.0.1:", "8000/", "²"])
def test_a_port_that_is_none_is_told_in_a_sentence(address: str) -> None:
    ended = execute([sys.executable, FILE, f"--listen={address}"])
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.endswith("error: The port to listen on must be a number from 0 to 65535.\n")


def test_an_address_of_another_machine_is_told_in_a_sentence() -> None:
    ended = execute([sys.executable, FILE, "--listen", "192.0.2.1:0"])
    assert (ended.status, ended.out) == (2, "")
    assert "givenotice: error: Cannot listen on '192.0.2.1:0': " in ended.err


def test_values_beyond_the_encoding_of_stdout_are_shown_escaped(tmp_path: Path) -> None:
    with listening(tmp_path / "shown", PYTHONIOENCODING="ascii") as receiver:
        assert receiver.ask("/x?a=%C3%A5")[0] == 204
        assert r"\xe5" in receiver.told


def test_it_ends_while_requests_come(tmp_path: Path) -> None:
    asked: list[int] = []

    def ask(receiver: Receiver) -> None:
        with contextlib.suppress(OSError, HTTPException):  # it has ended
            while True:
                asked.append(receiver.ask("/ping")[0])

    with listening(tmp_path / "shown") as receiver:
        clients = [threading.Thread(target=ask, args=(receiver,)) for _ in range(4)]
        for client in clients:
            client.start()
        assert servers.until(lambda: len(asked) > 20)
    for client in clients:
        client.join()


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"GIVENOTICE_DISABLED": "1"},
        {"GIVENOTICE_URI": "http://192.0.2.1/"},
        {"http_proxy": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "no_proxy": ""},
        {"all_proxy": "http://127.0.0.1:9", "NO_PROXY": "a.example"},
        {"GIVENOTICE_BACKLOG": "0"},
        {"GIVENOTICE_TIMEOUT": "0"},
        {"GIVENOTICE_EXIT_TIMEOUT": "0"},
    ],
    ids=lambda settings: " ".join(settings),
)
def test_the_demonstration_shows_what_arrives(settings: dict[str, str]) -> None:
    ended = execute([sys.executable, "-I" if not settings else "-s", FILE, "--demo"], **settings)
    assert (ended.status, ended.err) == (0, "")
    assert re.findall(rf"^{TIME} (\w+ \S+)", ended.out, re.M) == ["GET /ping/9f2c"] + ["GET /matomo.php"] * 2
    assert re.search(r"^    action_name  worker-job\n", ended.out, re.M)
    assert re.search(
        r"^1,000 more were pushed in \d+\.\d ms: the program waited no longer\.\n", ended.out, re.M
    )
    found = re.search(r"^1,000 of them arrived in (\d+) requests, \d+ ms later\.\n\Z", ended.out, re.M)
    assert found
    assert 2 <= int(found[1]) < 100


def test_the_demonstration_needs_no_more_than_the_file(tmp_path: Path) -> None:
    copied = str(shutil.copy(FILE, tmp_path))
    ended = execute([sys.executable, "-I", "-S", copied, "--demo"], PATH="", HOME=str(tmp_path))
    assert (ended.status, ended.err) == (0, "")
    assert "1,000 of them arrived" in ended.out


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&- <&-"])
def test_the_demonstration_ends_where_standard_streams_are_closed(closed: str) -> None:
    ended = execute(["sh", "-c", f'"{sys.executable}" "{FILE}" --demo {closed}'])
    assert (ended.status, ended.err) == (0, "")
