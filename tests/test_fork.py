"""Forked children and those of multiprocessing: each sends what it pushed, once, and not its parent's."""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from programs import Ended, execute, run
from servers import Origin, answering, gated, refusing, until

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")


@pytest.fixture
def origin() -> Iterator[Origin]:
    with answering() as server:
        yield server


def targets(origin: Origin) -> Counter[str]:
    return Counter(heard.target for heard in origin.heard)


def check(ended: Ended, out: str = "") -> None:
    assert (ended.status, ended.out, ended.err) == (0, out, "")


# From 3.12 a fork beside other threads warns; where a worker is busy there is one.
QUIETLY = ("-W", "ignore:This process:DeprecationWarning")

HEAD = """
import givenotice, os, sys, threading
base = sys.argv[1]

def fork(work):
    pid = os.fork()
    if pid:
        return os.waitpid(pid, 0)[1]
    work()
    sys.exit()
"""


def test_parent_and_child_send_what_each_pushed(origin: Origin) -> None:
    ended = run(
        HEAD
        + """
for number in range(20):
    givenotice.push(f"{base}/parent/{number}")
status = fork(lambda: [givenotice.push(f"{base}/child/{number}") for number in range(20)])
givenotice.push(f"{base}/parent/last")
print(status)
""",
        origin.base,
        options=QUIETLY,
    )
    check(ended, "0\n")
    expected = [f"/{who}/{number}" for who in ("parent", "child") for number in range(20)]
    assert targets(origin) == Counter([*expected, "/parent/last"])


def test_a_child_of_a_busy_parent_sends_what_it_pushes() -> None:
    with gated() as (slow, gate), answering() as quick:
        ended = run(
            HEAD
            + """
givenotice.push(base + "/parent")
push = lambda: givenotice.push(sys.argv[2] + "/child")
status = fork(lambda: (push(), print(givenotice.flush(20), *givenotice.stats())))
print(status)
""",
            slow.base,
            quick.base,
            options=QUIETLY,
            GIVENOTICE_EXIT_TIMEOUT="0",
        )
        gate.set()
    # Its counts began at zero.
    check(ended, "True 1 1 0 0 0\n0\n")
    assert targets(quick) == Counter(["/child"])


def test_a_fork_during_the_first_import_harms_neither(origin: Origin) -> None:
    expected = Counter({"/parent": 10})
    for number in range(10):
        ended = run(
            HEAD
            + """
from time import monotonic
begin = monotonic()
def child():
    givenotice.push(base + sys.argv[2])
    print(monotonic() - begin < 0.5, flush=True)
givenotice.push(base + "/parent")
assert fork(child) == 0
""",
            origin.base,
            f"/child/{number}",
            options=QUIETLY,
            GIVENOTICE_EXIT_TIMEOUT="10",
        )
        assert (ended.status, ended.err) == (0, "")
        if ended.out == "True\n":  # the machine was quick enough for the import
            expected[f"/child/{number}"] = 1
    assert not expected - targets(origin)
    assert max(targets(origin)[f"/child/{number}"] for number in range(10)) <= 1


def test_forks_beside_a_storm_of_pushes_harm_nobody(origin: Origin) -> None:
    ended = run(
        HEAD
        + """
def storm():
    for number in range(400):
        givenotice.push(f"{base}/storm/{number}")
        pause.wait(0.0005)
pause = threading.Event()
thread = threading.Thread(target=storm)
thread.start()
print(sum(fork(lambda: givenotice.push(f"{base}/child/{number}")) for number in range(15)))
thread.join()
""",
        origin.base,
        options=QUIETLY,
        GIVENOTICE_EXIT_TIMEOUT="20",
    )
    check(ended, "0\n")
    expected = [f"/storm/{number}" for number in range(400)] + [f"/child/{number}" for number in range(15)]
    assert targets(origin) == Counter(expected)


def test_a_fork_waits_for_an_import_that_does_not_end_half_a_second() -> None:
    ended = run(
        HEAD
        + """
from importlib.machinery import ModuleSpec
from time import monotonic

class Stuck:
    def find_spec(self, name, *_):
        return ModuleSpec(name, self) if name == "http.client" else None

    def create_module(self, spec):
        return None

    def exec_module(self, module):  # os.fork itself waits for finders, but not for this
        stuck.set()
        threading.Event().wait()

stuck = threading.Event()
sys.meta_path.insert(0, Stuck())
givenotice.push(base)
stuck.wait(20)
times = []
for _ in range(3):
    begin = monotonic()
    if not os.fork():
        os._exit(0)
    times.append(monotonic() - begin)
    os.wait()
print(sorted(times)[1] < 1.5)  # the machine may be busy
""",
        "http://127.0.0.1:9",
        options=QUIETLY,
        GIVENOTICE_EXIT_TIMEOUT="0.2",
    )
    check(ended, "True\n")


def test_a_fork_waits_for_nothing_of_a_busy_parent() -> None:
    with gated() as (slow, gate):
        ended = run(
            HEAD
            + """
from time import monotonic
for number in range(200):
    givenotice.push(base)
    givenotice.push(base + "/matomo.php?idsite=1&rec=1")
thread = threading.Thread(target=givenotice.flush, args=[20], daemon=True)
thread.start()
assert not givenotice.flush(1)  # the imports have been made
times = []
for _ in range(9):
    begin = monotonic()
    if not os.fork():
        os._exit(0)
    times.append(monotonic() - begin)
    os.wait()
print(min(times) < 0.1)
""",
            slow.base,
            options=QUIETLY,
            GIVENOTICE_EXIT_TIMEOUT="0",
        )
        gate.set()
    check(ended, "True\n")


def test_children_of_children_and_of_threads_send_what_they_push(origin: Origin) -> None:
    ended = run(
        HEAD
        + """
def generation(number):
    givenotice.push(f"{base}/{number}")
    if number < 4:
        os._exit(fork(lambda: generation(number + 1)) or not givenotice.flush(20))

thread = threading.Thread(target=fork, args=[lambda: (generation(0), givenotice.flush(20))])
thread.start()
thread.join()
""",
        origin.base,
        options=QUIETLY,
        GIVENOTICE_EXIT_TIMEOUT="20",
    )
    check(ended)
    assert targets(origin) == Counter(f"/{number}" for number in range(5))


def test_a_child_that_ends_without_hooks_has_sent_what_it_flushed(origin: Origin) -> None:
    ended = run(
        HEAD + "print(fork(lambda: (givenotice.push(base), givenotice.flush(20), os._exit(0))))",
        origin.base,
    )
    check(ended, "0\n")
    assert targets(origin) == Counter(["/"])


def test_a_fork_of_an_idle_process_warns_of_no_thread(origin: Origin) -> None:
    ended = run(
        HEAD
        + """
for number in range(3):
    givenotice.push(base + "/parent")
    assert givenotice.flush(20)
    assert fork(lambda: givenotice.push(base + "/child")) == 0
""",
        origin.base,
        options=("-W", "error"),
    )
    check(ended)
    assert targets(origin) == Counter({"/parent": 3, "/child": 3})


def test_a_fork_beside_a_log_handler_that_does_not_end_waits_for_a_moment_only(origin: Origin) -> None:
    ended = run(
        HEAD
        + """
import logging
from time import monotonic
stuck, gate = threading.Event(), threading.Event()

class Stuck(logging.Handler):
    def emit(self, record):
        stuck.set()
        gate.wait(30)

def work():
    Stuck.emit = lambda *_: None
    givenotice.push(f"{base}/child")

logging.basicConfig(handlers=[Stuck()], level=logging.DEBUG)
givenotice.push("no URI")
assert stuck.wait(30)
givenotice.push("no URI")
begin = monotonic()
pid = os.fork()
took = monotonic() - begin
if not pid:
    work()
    sys.exit()
print(os.waitpid(pid, 0)[1], took < 1)
gate.set()
givenotice.push(f"{base}/parent")
""",
        origin.base,
        options=QUIETLY,
    )
    check(ended, "0 True\n")
    assert targets(origin) == {"/child": 1, "/parent": 1}


def test_a_flush_goes_on_while_others_fork(origin: Origin) -> None:
    ended = run(
        HEAD
        + """
for number in range(200):
    givenotice.push(f"{base}/{number}")
flushed = []
thread = threading.Thread(target=lambda: flushed.append(givenotice.flush(20)))
thread.start()
print(sum(fork(lambda: None) for _ in range(5)))
thread.join()
print(flushed)
""",
        origin.base,
        options=QUIETLY,
    )
    check(ended, "0\n[True]\n")
    assert targets(origin) == Counter(f"/{number}" for number in range(200))


def test_a_fork_after_the_exit_of_the_parent_is_harmless() -> None:
    with refusing() as base:
        ended = run(
            """
            import atexit, os, sys
            def late():
                try:
                    pid = os.fork()
                except RuntimeError:  # 3.12 refuses it
                    return print(0, givenotice.push(sys.argv[1]))
                if pid:
                    print(os.waitpid(pid, 0)[1], givenotice.push(sys.argv[1]))
                else:
                    os._exit(not givenotice.push(sys.argv[1]))
            atexit.register(late)
            import givenotice
            givenotice.push(sys.argv[1])
            """,
            base,
            options=QUIETLY,
        )
    check(ended, "0 False\n")


FIRST = {
    "push": "push('/0')",
    "parameters": "givenotice.push(quick + '/0', a=None)",
    "several": "[push(f'/{n}') for n in range(50)]",
    "flush": "givenotice.flush(20); push('/0')",
    "stats": "assert givenotice.stats().pushed == 0; push('/0')",
    "dropped": "givenotice.push(''); push('/0')",
    "threads": "run(4)",
}


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not tell of its threads")
@pytest.mark.parametrize("first", FIRST.values(), ids=FIRST.keys())
@pytest.mark.parametrize("state", ["idle", "busy", "full", "logging"])
@pytest.mark.parametrize("library", ["PyDLL", "CDLL"])
def test_a_fork_that_passed_the_hooks_by_sends_what_it_pushes(library: str, state: str, first: str) -> None:
    """As a server does that is written in C. What the parent had pushed stays the parent's."""
    with gated() as (slow, _), answering() as quick:
        ended = run(
            HEAD
            + """
import ctypes, logging
from pathlib import Path
from time import sleep
from servers import until
_, _, quick, library, state, first = sys.argv

def push(path):
    assert givenotice.push(quick + path)

def asleep():  # beside threads that run, no Python survives such a fork
    for _ in range(20):
        sleep(0.005)
        stats = [task.joinpath("stat").read_text() for task in Path("/proc/self/task").iterdir()]
        if [stat.rpartition(")")[2].split()[0] for stat in stats].count("R") > 1:
            return False
    return True

def run(number):
    threads = [threading.Thread(target=push, args=[f"/{n}"]) for n in range(number)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

class Stuck(logging.Handler):  # in a thread of the parent
    def handle(self, record):  # without its lock
        if state == "logging" and os.getpid() == parent:
            entered.set()
            gate.wait()

parent, entered, gate = os.getpid(), threading.Event(), threading.Event()
logging.basicConfig(handlers=[Stuck()], level=logging.DEBUG)
push("/parent")
assert entered.wait(20) if state == "logging" else givenotice.flush(20)
room = {"busy": 20, "full": givenotice.BACKLOG}.get(state, 0)
assert all(givenotice.push(f"{base}/{number}") for number in range(room))
assert until(asleep)
pid = getattr(ctypes, library)(None).fork()
if not pid:
    exec(first)
    os._exit(not givenotice.flush(20))
print(os.waitpid(pid, 0)[1])
gate.set()
if state != "full":
    push("/last")
    print(until(lambda: givenotice.stats().sent == 2))
""",
            slow.base,
            quick.base,
            library,
            state,
            first,
            GIVENOTICE_EXIT_TIMEOUT="0",
            GIVENOTICE_BACKLOG="100",
        )
    check(ended, "0\n" if state == "full" else "0\nTrue\n")
    pushed = {"several": 50, "threads": 4}.get(next(name for name in FIRST if FIRST[name] == first), 1)
    expected = ["/parent", *(f"/{number}" for number in range(pushed)), *["/last"] * (state != "full")]
    assert targets(quick) == Counter(expected)
    assert max(targets(slow).values(), default=1) == 1


# --- multiprocessing ------------------------------------------------------------------------------

FAMILY = """
import multiprocessing, sys
from concurrent.futures import ProcessPoolExecutor

import givenotice

base, method, kind = sys.argv[1:4]


def work(number):
    givenotice.push(f"{base}/child/{number}")
    return number


if __name__ == "__main__":
    context = multiprocessing.get_context(method)
    givenotice.push(base + "/parent")
    if kind == "Process":
        children = [context.Process(target=work, args=[number]) for number in range(6)]
        for child in children:
            child.start()
        for child in children:
            child.join()
        print([child.exitcode for child in children])
    elif kind == "Pool":
        with context.Pool(2) as pool:
            print(pool.map(work, range(6)))
            pool.close()
            pool.join()
    else:
        with ProcessPoolExecutor(2, mp_context=context) as pool:
            print(list(pool.map(work, range(6))))
"""


@pytest.mark.parametrize("kind", ["Process", "Pool", "ProcessPoolExecutor"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_children_of_multiprocessing_send_what_they_pushed(
    origin: Origin, tmp_path: os.PathLike[str], method: str, kind: str
) -> None:
    program = os.path.join(tmp_path, "family.py")
    with open(program, "w") as file:
        file.write(FAMILY)
    command = [sys.executable, *QUIETLY, program, origin.base, method, kind]
    ended = execute(command, GIVENOTICE_EXIT_TIMEOUT="20")
    check(ended, "[0, 0, 0, 0, 0, 0]\n" if kind == "Process" else "[0, 1, 2, 3, 4, 5]\n")
    assert until(lambda: len(origin.heard) >= 7)
    assert targets(origin) == Counter(["/parent", *(f"/child/{number}" for number in range(6))])
