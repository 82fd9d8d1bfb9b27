"""The recipes of tests/recipes/README.md, as they stand there, in the programs that they are for."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import sleep
from typing import ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import servers
import trustme
from programs import TREE, Ended, commands, execute

RECIPES = TREE / "tests" / "recipes"
README = RECIPES / "README.md"
FILES = sorted(path.name for path in RECIPES.iterdir() if path.is_file() and path != README)


@pytest.fixture
def origin() -> Iterator[servers.Origin]:
    with servers.answering() as found:
        yield found


def recipe(name: str, base: str) -> str:
    text = (RECIPES / name).read_text("utf-8")
    return re.sub(r"https://(hc|matomo)\.example(\.com)?", base, text)


def params(target: str) -> dict[str, str]:
    """The parameters of a request, each of which it has once."""
    return {name: value for name, [value] in parse_qs(urlsplit(target).query).items()}


class Place:
    """A folder with all the recipes, whose hosts are *origin*, and with the commands that they call."""

    def __init__(self, folder: Path, origin: servers.Origin) -> None:
        self.folder, self.uri = folder, f"{origin.base}/default"
        self.path = commands(folder / "bin")
        for name in FILES:
            text = recipe(name, origin.base).replace("/usr/local/bin", str(folder / "bin"))
            (folder / name).write_text(text, encoding="utf-8")
        self.command("report", 0)

    def command(self, name: str, status: int, does: str = ":") -> str:
        command = self.folder / "bin" / name
        command.write_text(f"#!/bin/sh\n{does}\nexit {status}\n")
        command.chmod(0o755)
        return str(command)

    def run(self, *command: str, **settings: str) -> Ended:
        # Frameworks warn of their own.
        environment = {
            "GIVENOTICE_URI": self.uri,
            "MATOMO_TOKEN": "",
            "PATH": self.path,
            "GIVENOTICE_EXIT_TIMEOUT": "20",  # for machines with more to do than cores
            "PYTHONWARNINGS": "ignore",
            **settings,
        }
        return execute(["sh", "-c", 'cd "$0" && exec "$@"', str(self.folder), *command], **environment)

    def python(self, source: str) -> Ended:
        return self.run("python3", "-c", f"import sys; sys.path.insert(0, '')\n{source}")


@pytest.fixture
def place(tmp_path: Path, origin: servers.Origin) -> Place:
    return Place(tmp_path, origin)


def quiet(ended: Ended, out: str = "") -> bool:
    return (ended.status, ended.out, ended.err) == (0, out, "")


@pytest.mark.parametrize("name", FILES)
def test_a_recipe_is_in_the_readme_word_for_word(name: str) -> None:
    text = (RECIPES / name).read_text("utf-8")
    assert re.search(rf"^```\w+\n{re.escape(text)}```$", README.read_text("utf-8"), re.M)


@pytest.mark.parametrize("name", FILES)
def test_a_recipe_has_at_most_thirty_lines(name: str) -> None:
    assert 0 < (RECIPES / name).read_text("utf-8").count("\n") <= 30


def cron_jobs(place: Place) -> tuple[str, list[str]]:
    """The setting and the commands of the crontab."""
    setting, *lines = (place.folder / "crontab").read_text().splitlines()
    return setting.partition("=")[2], [line.split(None, 5)[5] for line in lines]


def as_cron_does(place: Place, job: str, **settings: str) -> Ended:
    """Cron has a PATH of its own, without an environment's or an administrator's commands."""
    return place.run("sh", "-c", job, PATH="/usr/bin:/bin", **settings)


@pytest.mark.parametrize(("status", "targets"), [(0, ["/ping/9f2c"]), (3, [])])
def test_cron_reports_a_job_that_succeeded(
    status: int, targets: list[str], place: Place, origin: servers.Origin
) -> None:
    place.command("backup", status)
    ended = as_cron_does(place, cron_jobs(place)[1][0])
    assert (ended.status, ended.out + ended.err, origin.targets) == (status, "", targets)


@pytest.mark.parametrize("status", [0, 3])
def test_cron_reports_the_exit_status_of_a_job(status: int, place: Place, origin: servers.Origin) -> None:
    uri, jobs = cron_jobs(place)
    place.command("report", status)
    assert quiet(as_cron_does(place, jobs[1], GIVENOTICE_URI=uri))
    query = f"idsite=1&rec=1&send_image=0&e_c=cron&e_a=report&e_v={status}"
    assert origin.targets == [f"/matomo.php?{query}"]


def test_the_crontab_has_no_percent_sign_because_cron_splits_lines_there() -> None:
    assert "%" not in (RECIPES / "crontab").read_text("utf-8")


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("status", [0, 3])
def test_a_script_reports_its_exit_status_in_a_trap(
    shell: str, status: int, place: Place, origin: servers.Origin
) -> None:
    place.command("backup", status)
    ended = place.run(shell, "backup.sh")
    assert (ended.status, ended.out, ended.err) == (status, "", "")
    assert origin.targets == [f"/default?e_c=cron&e_a=backup&e_v={status}"]


SIGNALS = [] if sys.platform == "win32" else [signal.SIGHUP, signal.SIGINT, signal.SIGTERM]
HEARS = (
    "import os, signal, sys; [signal.signal(n, 0) for n in (1, 2, 15)]; os.execvp(sys.argv[1], sys.argv[1:])"
)


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_script_that_a_signal_ends_reports_the_signal(
    shell: str, number: int, place: Place, origin: servers.Origin
) -> None:
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not on this machine")
    place.command("backup", 0, f"kill -{int(number)} $PPID")
    # A signal that was ignored when a shell began is ignored by it for good: so it is under nohup.
    ended = place.run("python3", "-c", HEARS, shell, "backup.sh")
    assert (ended.status, ended.out, ended.err) == (128 + number, "", "")
    assert origin.targets == [f"/default?e_c=cron&e_a=backup&e_v={128 + number}"]


def unit_lines(name: str, place: Place) -> dict[str, str]:
    pairs = [line.partition("=") for line in (place.folder / name).read_text().splitlines() if "=" in line]
    return {key: value.strip('"') for key, _, value in pairs}


def test_the_unit_of_a_job_reports_its_success(place: Place, origin: servers.Origin) -> None:
    command = unit_lines("backup.service", place)["ExecStartPost"]
    assert quiet(place.run(*command.split(), PATH="/usr/bin:/bin"))
    assert origin.targets == ["/ping/9f2c"]


def test_the_unit_on_failure_reports_which_unit_failed(place: Place, origin: servers.Origin) -> None:
    unit = unit_lines("notice@.service", place)
    uri = unit["Environment"].partition("=")[2]
    command = unit["ExecStart"].replace("%i", "backup")
    assert quiet(place.run(*command.split(), GIVENOTICE_URI=uri, PATH="/usr/bin:/bin"))
    query = "idsite=1&rec=1&send_image=0&e_c=systemd&e_a=failed&e_n=backup"
    assert origin.targets == [f"/matomo.php?{query}"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not on this machine")
def test_systemd_accepts_the_units(place: Place) -> None:
    place.command("backup", 0)
    units = [str(place.folder / name) for name in ("backup.service", "notice@backup.service")]
    shutil.copy(place.folder / "notice@.service", units[1])
    ended = place.run("systemd-analyze", "verify", "--recursive-errors=no", *units)
    assert (ended.status, str(place.folder) in ended.err) == (0, False), ended.err


# Each visits /a?secret=1 twice with one cookie, then without it, as a browser would.
FLASK = """
import flask_app
from werkzeug.test import Client
for client in [Client(flask_app.app)] * 2 + [Client(flask_app.app)]:
    address = {"REMOTE_ADDR": "203.0.113.7"}
    client.get("/a?secret=1", base_url="http://app.example", headers=HEADERS, environ_base=address)
"""
DJANGO = """
import django
from django.conf import settings
middleware = ["django_middleware.give_notice"]
settings.configure(ALLOWED_HOSTS=["*"], MIDDLEWARE=middleware, ROOT_URLCONF="urls", USE_TZ=True)
sys.modules["urls"] = type(sys)("urls")
from django.http import HttpResponse
from django.urls import re_path
sys.modules["urls"].urlpatterns = [re_path("", lambda request: HttpResponse("ok"))]
django.setup()
from django.test import Client
given = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in HEADERS.items()}
for client in [Client()] * 2 + [Client()]:
    client.get("/a?secret=1", HTTP_HOST="app.example", REMOTE_ADDR="203.0.113.7", **given)
"""
FASTAPI = """
import asyncio, fastapi_app
fastapi_app.app.get("/a")(lambda: "ok")
headers = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
headers += [(b"host", b"app.example")]
async def receive(): return {"type": "http.request", "body": b"", "more_body": False}
def visit(*cookies):
    sent = []
    async def send(message): sent.append(message)
    scope = {"type": "http", "method": "GET", "path": "/a", "query_string": b"secret=1", "scheme": "http"}
    scope["headers"] = headers + [(b"cookie", cookie.split(b";")[0]) for cookie in cookies]
    asyncio.run(fastapi_app.app({**scope, "client": ("203.0.113.7", 4)}, receive, send))
    assert sent[0]["status"] == 200
    return dict(sent[0]["headers"])[b"set-cookie"]
visit(visit())
visit()
"""
HEADERS = {
    "Referer": "https://search.example/?q=a",
    "User-Agent": "Mozilla/5.0 (X11; Linux x86_64)",
    "Accept-Language": "de,en;q=0.8",
}
LAMBDA = """
import os, lambda_handler
assert lambda_handler.handler({}, None) == {"statusCode": 200}
os._exit(0)  # frozen: nothing runs from here on
"""


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (LAMBDA, "/default?e_c=lambda&e_a=called"),
        ("import asyncio_jobs", "/default?e_c=job&e_a=done&e_n=1"),
    ],
    ids=["lambda", "asyncio"],
)
def test_a_program_sends_its_notice(source: str, target: str, place: Place, origin: servers.Origin) -> None:
    assert quiet(place.python(source))
    assert origin.targets == [target]


@pytest.mark.parametrize("source", [FLASK, DJANGO, FASTAPI], ids=["flask", "django", "fastapi"])
@pytest.mark.parametrize("token", ["0123abcd", ""])
def test_a_web_application_identifies_visitors(
    source: str, token: str, place: Place, origin: servers.Origin
) -> None:
    program = f"HEADERS = {HEADERS}\n{source}"
    assert quiet(
        place.run("python3", "-c", f"import sys; sys.path.insert(0, '')\n{program}", MATOMO_TOKEN=token)
    )
    visits = [params(target) for target in origin.targets]
    first, second, other = (visit.pop("cid") for visit in sorted(visits, key=lambda one: one["cid"]))
    assert sorted([first == second, second == other]) == [False, True]
    assert re.fullmatch("[0-9a-f]{16}", first)
    page = {"action_name": "/a", "url": "http://app.example/a", "urlref": "https://search.example/?q=a"}
    visitor = {"ua": HEADERS["User-Agent"], "lang": HEADERS["Accept-Language"]}
    secret = {"cip": "203.0.113.7", "token_auth": token} if token else {}
    assert visits == [{**page, **visitor, **secret}] * 3


class Paced(BaseHTTPRequestHandler):
    """A Matomo that is busy: 3 ms for each event."""

    stored: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        bulk = body.startswith("{")
        events = [params(event) for event in json.loads(body)["requests"]] if bulk else [params(f"?{body}")]
        sleep(0.003 * len(events))
        self.stored.extend(events)
        answer = json.dumps({"status": "success", "tracked": len(events), "invalid": 0}).encode()
        self.send_response(200 if bulk else 204)
        self.send_header("Content-Length", str(len(answer) * bulk))
        self.end_headers()
        self.wfile.write(answer * bulk)

    def log_message(self, format: str, *_: object) -> None:
        """Nothing."""


@pytest.mark.parametrize(
    "command", [["sh", "batch.sh"], ["python3", "batch.py"]], ids=["batch.sh", "batch.py"]
)
def test_a_batch_is_sent_in_full_only_with_the_settings_of_the_recipe(
    command: list[str], place: Place
) -> None:
    Paced.stored.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), Paced) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        uri = f"http://127.0.0.1:{server.server_port}/matomo.php?idsite=1&rec=1"
        ended = place.run(*command, GIVENOTICE_URI=uri, GIVENOTICE_EXIT_TIMEOUT="2", MATOMO_TOKEN="0123abcd")
        stored = list(Paced.stored)
        server.shutdown()
    assert quiet(ended)
    hours = [int(event["cdt"]) // 3600 for event in stored]
    assert hours == list(range(hours[0], hours[0] + len(hours)))
    assert (len(hours) == 2000) == ("batch.sh" in command)
    assert {event["token_auth"] for event in stored} == {"0123abcd"}


@pytest.mark.skipif(sys.platform == "win32", reason="Celery's pool of processes forks")
def test_a_celery_worker_sends_its_notice_and_exits(place: Place, origin: servers.Origin) -> None:
    worker = """
import os, signal, threading
import celery_app
from celery.signals import task_success, worker_ready
app = celery_app.app
app.conf.update(broker_url="memory://", broker_connection_retry_on_startup=True)
app.conf.task_ignore_result = True
@worker_ready.connect
def enqueue(**_):
    celery_app.resize.delay("a.png")
@task_success.connect
def done(**_):
    os.kill(os.getppid(), signal.SIGTERM)
app.worker_main(["worker", "-P", "prefork", "-c", "1", "--loglevel", "CRITICAL"])
"""
    ended = place.python(worker)
    assert "Traceback" not in ended.err
    assert origin.targets == ["/default?e_c=worker&e_a=resized&e_n=a.png"]


@pytest.mark.parametrize(("arguments", "status"), [([], 0), (["--loud"], 2)])
def test_a_click_command_keeps_its_exit_status(
    arguments: list[str], status: int, place: Place, origin: servers.Origin
) -> None:
    ended = place.run("python3", "click_app.py", *arguments)
    assert (ended.status, ended.out) == (status, "" if status else "Hello!\n")
    assert origin.targets == ([] if status else ["/default?e_c=cli&e_a=greet"])


def slow_start(connection: socket.socket, heard: servers.Heard) -> None:
    """What comes after the start would overtake it, if it were sent beside it."""
    if heard.target.endswith("/start"):
        sleep(0.3)
    arrived.append(heard.target)
    connection.sendall(servers.NO_CONTENT)


arrived: list[str] = []  # in the order in which they were answered


@pytest.mark.parametrize(
    ("work", "ending"),
    [
        ("print('the work')", ""),
        ("raise SystemExit", ""),
        ("raise SystemExit(0)", ""),
        ("raise SystemExit(3)", "/fail"),
        ("raise SystemExit('broken')", "/fail"),
        ("raise ValueError", "/fail"),
        ("raise KeyboardInterrupt", "/fail"),
    ],
)
def test_a_heartbeat_reports_start_and_end_in_order(work: str, ending: str, tmp_path: Path) -> None:
    arrived.clear()
    with servers.answering(slow_start) as origin:
        place = Place(tmp_path, origin)
        program = place.folder / "heartbeat.py"
        program.write_text(program.read_text().replace('print("the work")', work))
        ended = place.run("python3", "heartbeat.py")
    assert (ended.status == 0) == (ending == "")
    assert arrived == ["/ping/9f2c/start", f"/ping/9f2c{ending}"]


def test_deliveries_are_logged(place: Place, origin: servers.Origin) -> None:
    assert quiet(place.run("python3", "logged.py"))
    logged = (place.folder / "notices.log").read_text()
    assert origin.base in logged
    assert "9f2c" not in logged  # a path can be a secret
    assert origin.targets == ["/ping/9f2c"]


def test_sigterm_is_an_ordinary_exit(place: Place, origin: servers.Origin) -> None:
    program = place.folder / "sigterm.py"
    program.write_text(program.read_text() + "signal.raise_signal(signal.SIGTERM)\n")
    ended = place.run("python3", "sigterm.py")
    assert (ended.status, ended.out, ended.err) == (143, "", "")
    assert origin.targets == ["/default?e_c=worker&e_a=started"]


def tunnel(client: socket.socket) -> None:
    """A proxy's side of one connection: CONNECT, then bytes both ways."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        head += client.recv(1)
    host, _, port = head.split()[1].decode().rpartition(":")
    with socket.create_connection((host, int(port))) as server:
        client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        threading.Thread(target=relay, args=(server, client), daemon=True).start()
        relay(client, server)


def relay(source: socket.socket, sink: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65_536):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)


@pytest.mark.parametrize("trusted", [True, False])
def test_a_proxy_and_a_private_ca_are_used(trusted: bool, tmp_path: Path) -> None:
    authority, other = trustme.CA(), trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    (authority if trusted else other).cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    with servers.answering(context=context) as origin, servers.listening(tunnel) as proxy:
        place = Place(tmp_path, origin)
        script = (place.folder / "proxy.sh").read_text().replace("http://proxy.example:3128", proxy)
        ended = place.run("sh", "-c", script.replace("/etc/ssl/own-ca.pem", str(tmp_path / "ca.pem")))
        assert (ended.status, origin.targets) == ((0, ["/ping/9f2c"]) if trusted else (1, []))
        assert ended.err.count("\n") == 1
