"""Servers and workers, as people run them: what is pushed in them arrives, once, whatever ends a worker."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import urlopen

import pytest
from platforms import APPS, Platform, program, receiving, slowly
from servers import until

REQUESTS = 40


@pytest.fixture
def platform(tmp_path: Path) -> Iterator[Platform]:
    with receiving(tmp_path, slowly) as platform:
        platform.settings["GIVENOTICE_EXIT_TIMEOUT"] = "20"  # what is lost must not depend on a busy machine
        yield platform


# --- Web servers


class Web(NamedTuple):
    where: str
    what: str
    command: str  # {fd} is the listening socket
    reload: bool = False  # a SIGHUP amid the requests
    status: int = 0


GUNICORN = "gunicorn --config APPS/gunicorn_conf.py --bind fd://{fd} --workers 2 "
UWSGI = "uwsgi --socket fd://{fd} --protocol http --master --processes 2 --need-app --die-on-term --module "
WEB = [
    Web("gunicorn", "sync workers", GUNICORN + "wsgi"),
    Web("gunicorn", "gthread workers", GUNICORN + "--threads 4 wsgi"),
    Web("gunicorn", "gevent workers", GUNICORN + "--worker-class gevent wsgi"),
    Web("gunicorn", "--preload", GUNICORN + "--preload wsgi"),
    Web("gunicorn", "gevent workers, --preload", GUNICORN + "--worker-class gevent --preload wsgi"),
    Web("gunicorn", "reload by SIGHUP", GUNICORN + "wsgi", reload=True),
    Web("gunicorn", "--max-requests 5", GUNICORN + "--max-requests 5 wsgi"),
    Web("gunicorn", "gthread workers, --max-requests 5", GUNICORN + "--threads 4 --max-requests 5 wsgi"),
    Web("gunicorn, Flask", "sync workers", GUNICORN + "flaskapp"),
    Web("gunicorn, Django", "a middleware, gthread workers", GUNICORN + "--threads 4 djangoapp"),
    Web("uWSGI", "--enable-threads", UWSGI + "flaskapp --callable application --enable-threads"),
    Web("uWSGI", "--enable-threads --lazy-apps", UWSGI + "wsgi --enable-threads --lazy-apps"),
    Web("uWSGI", "without threads, flush() in the request", UWSGI + "flushing"),
    Web("uWSGI", "without threads, --lazy-apps, flush() in the request", UWSGI + "flushing --lazy-apps"),
    Web(
        "uvicorn",
        "--workers 2, flush() at lifespan.shutdown",
        "uvicorn --fd {fd} --workers 2 --lifespan on asgi_lifespan:application",
    ),
    Web(
        "uvicorn",
        "one process, flush() at lifespan.shutdown",
        "uvicorn --fd {fd} --lifespan on asgi_lifespan:application",
        status=-signal.SIGTERM,
    ),
]


def fetch(base: str, name: str) -> int:
    with urlopen(f"{base}/{name}", timeout=10) as answer:
        answer.read()
        return int(answer.status)


@contextmanager
def clients_of(threads: int) -> Iterator[ThreadPoolExecutor]:
    """A pool that does not go on when the block has failed."""
    with ThreadPoolExecutor(threads) as clients:
        try:
            yield clients
        except BaseException:
            clients.shutdown(cancel_futures=True)
            raise


def workers_are_ready(web: Web, log: str) -> bool:
    """A worker that gets a SIGTERM while it boots may miss it, or fail; uWSGI's skips atexit in a request."""
    if web.where == "uWSGI":
        booted = 2 if "--lazy-apps" in web.what else 1
        return log.count("WSGI app 0") == booted and log.count("GET /request-") == REQUESTS
    if web.where == "uvicorn":
        return log.count("Application startup complete") == (2 if "--workers" in web.what else 1)
    return log.count("Booting worker") == log.count("Ready.")


def command_line(text: str, fd: int) -> list[str]:
    name, *arguments = text.format(fd=fd).replace("APPS", str(APPS)).split()
    return [program(name), *arguments]


@pytest.mark.parametrize("web", WEB, ids=lambda web: f"{web.where} {web.what}")
def test_each_request_gives_notice_once(web: Web, platform: Platform) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        base = f"http://127.0.0.1:{listener.getsockname()[1]}"
        with platform.running(command_line(web.command, listener.fileno()), listener.fileno()) as process:
            with clients_of(4) as clients:
                answers = [clients.submit(fetch, base, f"request-{i}") for i in range(REQUESTS)]
                if web.reload:
                    answers[REQUESTS // 2].result()
                    process.send_signal(signal.SIGHUP)
                assert [answer.result() for answer in answers] == [200] * REQUESTS
            assert until(lambda: workers_are_ready(web, platform.log.read_text()))
            process.send_signal(signal.SIGTERM)
    assert process.returncode == web.status
    assert {f"request-{i}" for i in range(REQUESTS)} <= set(platform.pushed)
    platform.check(web.where, web.what, REQUESTS)


# --- Task queues


@pytest.fixture(scope="module")
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server of its own; task queues may share it, since each has its own database."""
    folder = tmp_path_factory.mktemp("redis")
    options = f"--port 0 --unixsocket {folder}/socket --dir {folder}".split()
    with subprocess.Popen(
        [program("redis-server"), *options, "--save", ""], stdout=subprocess.DEVNULL, stderr=subprocess.STDOUT
    ) as process:
        try:
            assert until((folder / "socket").exists)
            yield f"{folder}/socket"
        finally:
            process.terminate()


def test_celery_children_deliver_before_they_end(platform: Platform, redis: str) -> None:
    platform.settings["BROKER"] = f"redis+socket://{redis}?virtual_host=1"
    options = "-A celeryapp worker -c 2 --max-tasks-per-child 5 -l WARNING"
    with platform.running([program("celery"), *options.split()]) as process:
        publish = "import celeryapp\nfor i in range(40): celeryapp.task.delay(f'task-{i}')"
        platform.call([sys.executable, "-c", publish])
        assert until(lambda: len(platform.pushed) == REQUESTS, 40)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0
    what = "prefork, --max-tasks-per-child 5, flush() at worker_process_shutdown"
    platform.check("Celery", what, REQUESTS)


RQ = [
    ("job", "rq.worker.SimpleWorker", "SimpleWorker"),
    ("flushed_job", "rq.worker.Worker", "a process for each job, flush() in the job"),
]


@pytest.mark.parametrize(("job", "worker", "what"), RQ, ids=[job for job, _, _ in RQ])
def test_rq_jobs_deliver(job: str, worker: str, what: str, platform: Platform, redis: str) -> None:
    jobs = 20
    url = f"unix://{redis}?db=2"
    enqueue = f"""
import redis, rq, rqapp
queue = rq.Queue("{job}", connection=redis.Redis.from_url("{url}"))
for i in range({jobs}): queue.enqueue(rqapp.{job}, f"job-{{i}}")
"""
    platform.call([sys.executable, "-c", enqueue])
    command = [program("rq"), *f"worker --burst --worker-class {worker} --url {url} {job}".split()]
    with platform.running(command) as process:
        pass
    assert process.returncode == 0
    assert len(platform.pushed) == jobs
    platform.check("RQ", what, jobs)
