"""The recipes of README.md, as they stand there, in the programs that they are for."""

from __future__ import annotations

import re
import shutil
import socket
import ssl
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
import servers
import trustme
from programs import TREE, Ended, commands, execute

RECIPES = TREE / "tests" / "recipes"
README = TREE / "README.md"
FILES = sorted(path.name for path in RECIPES.iterdir() if path.is_file())


@pytest.fixture
def origin() -> Iterator[servers.Origin]:
    with servers.answering() as found:
        yield found


def recipe(name: str, base: str) -> str:
    text = (RECIPES / name).read_text("utf-8")
    return re.sub(r"https://(hc|matomo)\.example(\.com)?", base, text)


class Place:
    """A folder with all the recipes, whose hosts are *origin*, and with the commands that they call."""

    def __init__(self, folder: Path, origin: servers.Origin) -> None:
        self.folder, self.uri = folder, f"{origin.base}/default"
        self.path = commands(folder / "bin")
        for name in FILES:
            (folder / name).write_text(recipe(name, origin.base), encoding="utf-8")
        self.command("report", 0)

    def command(self, name: str, status: int) -> str:
        command = self.folder / "bin" / name
        command.write_text(f"#!/bin/sh\nexit {status}\n")
        command.chmod(0o755)
        return str(command)

    def run(self, *command: str, **settings: str) -> Ended:
        # Frameworks warn of their own.
        environment = {
            "GIVENOTICE_URI": self.uri,
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
def test_a_recipe_stands_in_the_readme_word_for_word(name: str) -> None:
    text = (RECIPES / name).read_text("utf-8")
    assert re.search(rf"^```\w+\n{re.escape(text)}```$", README.read_text("utf-8"), re.M)


@pytest.mark.parametrize("name", FILES)
def test_a_recipe_has_at_most_twelve_lines(name: str) -> None:
    assert 0 < (RECIPES / name).read_text("utf-8").count("\n") <= 12


def cron_jobs(origin: servers.Origin) -> tuple[str, list[str]]:
    """The setting and the commands of the crontab."""
    setting, *lines = recipe("crontab", origin.base).splitlines()
    return setting.partition("=")[2], [line.split(None, 5)[5] for line in lines]


@pytest.mark.parametrize(("status", "targets"), [(0, ["/ping/9f2c"]), (3, [])])
def test_cron_gives_notice_of_a_job_that_succeeded(
    status: int, targets: list[str], place: Place, origin: servers.Origin
) -> None:
    place.command("backup", status)
    ended = place.run("sh", "-c", cron_jobs(origin)[1][0])
    assert (ended.status, ended.out + ended.err, origin.targets) == (status, "", targets)


@pytest.mark.parametrize("status", [0, 3])
def test_cron_gives_notice_of_how_a_job_ended(status: int, place: Place, origin: servers.Origin) -> None:
    uri, jobs = cron_jobs(origin)
    place.command("report", status)
    assert quiet(place.run("sh", "-c", jobs[1], GIVENOTICE_URI=uri))
    query = f"idsite=1&rec=1&send_image=0&e_c=cron&e_a=report&e_v={status}"
    assert origin.targets == [f"/matomo.php?{query}"]


def test_the_crontab_has_no_percent_sign_for_cron_splits_lines_there() -> None:
    assert "%" not in (RECIPES / "crontab").read_text("utf-8")


@pytest.mark.parametrize("shell", ["sh", "bash"])
@pytest.mark.parametrize("status", [0, 3])
def test_a_script_gives_notice_of_its_end_by_a_trap(
    shell: str, status: int, place: Place, origin: servers.Origin
) -> None:
    place.command("backup", status)
    ended = place.run(shell, "backup.sh")
    assert (ended.status, ended.out, ended.err) == (status, "", "")
    assert origin.targets == [f"/default?e_c=cron&e_a=backup&e_v={status}"]


def unit_lines(name: str, place: Place) -> dict[str, str]:
    pairs = [line.partition("=") for line in (place.folder / name).read_text().splitlines() if "=" in line]
    return {key: value.strip('"') for key, _, value in pairs}


def test_the_unit_of_a_job_gives_notice_of_its_end(place: Place, origin: servers.Origin) -> None:
    command = unit_lines("backup.service", place)["ExecStartPost"].replace("/usr/local/bin/", "")
    assert quiet(place.run(*command.split()))
    assert origin.targets == ["/ping/9f2c"]


def test_the_unit_on_failure_tells_which_unit_failed(place: Place, origin: servers.Origin) -> None:
    unit = unit_lines("notice@.service", place)
    uri = unit["Environment"].partition("=")[2]
    command = unit["ExecStart"].replace("/usr/local/bin/", "").replace("%i", "backup")
    assert quiet(place.run(*command.split(), GIVENOTICE_URI=uri))
    query = "idsite=1&rec=1&send_image=0&e_c=systemd&e_a=failed&e_n=backup"
    assert origin.targets == [f"/matomo.php?{query}"]


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not on this machine")
def test_systemd_accepts_the_units(place: Place) -> None:
    place.command("backup", 0)
    for name in "backup.service", "notice@.service":
        unit = place.folder / name
        unit.write_text(unit.read_text().replace("/usr/local/bin", str(place.folder / "bin")))
    units = [str(place.folder / name) for name in ("backup.service", "notice@backup.service")]
    shutil.copy(place.folder / "notice@.service", units[1])
    ended = place.run("systemd-analyze", "verify", "--recursive-errors=no", *units)
    assert (ended.status, str(place.folder) in ended.err) == (0, False), ended.err


FLASK = "import flask_app; assert flask_app.app.test_client().get('/a?secret=1').status_code == 404"
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
assert Client().get("http://localhost/a?secret=1", HTTP_HOST="localhost").status_code == 200
"""
FASTAPI = """
import asyncio, fastapi_app
scope = {"type": "http", "method": "POST", "path": "/users/ada", "query_string": b"", "headers": []}
sent = []
async def receive(): return {"type": "http.request", "body": b"", "more_body": False}
async def send(message): sent.append(message)
asyncio.run(fastapi_app.app(scope, receive, send))
assert (sent[0]["status"], sent[1]["body"]) == (200, b'{"name":"ada"}')
"""
LAMBDA = """
import os, lambda_handler
assert lambda_handler.handler({}, None) == {"statusCode": 200}
os._exit(0)  # frozen: nothing runs from here on
"""


@pytest.mark.parametrize(
    ("source", "target"),
    [
        (FLASK, "/default?action_name=%2Fa&url=http%3A%2F%2Flocalhost%2Fa"),
        (DJANGO, "/default?action_name=%2Fa&url=http%3A%2F%2Flocalhost%2Fa"),
        (FASTAPI, "/default?e_c=user&e_a=signup&e_n=ada"),
        (LAMBDA, "/default?e_c=lambda&e_a=called"),
        ("import asyncio_jobs", "/default?e_c=job&e_a=done&e_n=1"),
    ],
    ids=["flask", "django", "fastapi", "lambda", "asyncio"],
)
def test_a_program_gives_notice(source: str, target: str, place: Place, origin: servers.Origin) -> None:
    assert quiet(place.python(source))
    assert origin.targets == [target]


@pytest.mark.skipif(sys.platform == "win32", reason="Celery's pool of processes forks")
def test_a_celery_worker_gives_notice_and_ends(place: Place, origin: servers.Origin) -> None:
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


def test_a_heartbeat_tells_of_start_and_success_in_order(place: Place, origin: servers.Origin) -> None:
    assert quiet(place.run("python3", "heartbeat.py"), "the work\n")
    assert origin.targets == ["/ping/9f2c/start", "/ping/9f2c"]


def test_a_heartbeat_tells_of_failure(place: Place, origin: servers.Origin) -> None:
    program = place.folder / "heartbeat.py"
    program.write_text(program.read_text().replace('print("the work")', 'raise SystemExit("broken")'))
    ended = place.run("python3", "heartbeat.py")
    assert (ended.status, ended.err) == (1, "broken\n")
    assert origin.targets == ["/ping/9f2c/start", "/ping/9f2c/fail"]


def test_deliveries_are_logged(place: Place, origin: servers.Origin) -> None:
    assert quiet(place.run("python3", "logged.py"))
    assert f"{origin.base}/ping/9f2c" in (place.folder / "notices.log").read_text()
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
def test_a_proxy_and_a_ca_of_ones_own_are_used(trusted: bool, tmp_path: Path) -> None:
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
