"""The end of a process: what was pushed is sent within the budget, and nothing else about it changes."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager

import pytest
from programs import HOME, Ended, run
from servers import (
    NO_CONTENT,
    Heard,
    Origin,
    answering,
    dripping,
    gated,
    listening,
    refusing,
    silent,
    unaccepting,
)

PUSH = """
import givenotice, sys
for number in range(int(sys.argv[2])):
    givenotice.push(f"{sys.argv[1]}/{number}")
"""
# What a process of the same run may take longer than another, on a machine with more to do than cores.
NOISE = 1.5  # seconds


def run_in_time(seconds: float, source: str, *arguments: str, **settings: str) -> Ended:
    """Run *source* until it took less than *seconds*, at most three times: others use this machine, too."""
    ended = run(source, *arguments, options=(), **settings)
    for _ in range(2):
        if ended.seconds >= seconds:
            ended = run(source, *arguments, options=(), **settings)
    assert ended.seconds < seconds
    return ended


@pytest.fixture
def origin() -> Iterator[Origin]:
    with answering() as server:
        yield server


def targets(origin: Origin) -> list[str]:
    return sorted(heard.target for heard in origin.heard)


# --- The way it ends ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "ending",
    [
        "",
        "sys.exit(3)",
        "sys.exit('a word')",
        "raise RuntimeError('unhandled')",
        "import threading; threading.Timer(0.1, print, ['late']).start()",
        "import signal; signal.signal(15, lambda *_: sys.exit(7)); signal.raise_signal(15)",
    ],
)
def test_a_program_ends_as_it_would_have_and_its_notices_arrive(origin: Origin, ending: str) -> None:
    plain = run(f"import sys\n\n\n\n{ending}")
    ended = run(PUSH + ending, origin.base, "20", GIVENOTICE_EXIT_TIMEOUT="30")
    assert (ended.status, ended.out, ended.err) == (plain.status, plain.out, plain.err)
    assert targets(origin) == sorted(f"/{number}" for number in range(20))


def test_ctrl_c_ends_a_program_as_it_would_have(origin: Origin) -> None:
    # The network modules are imported before: up to 3.13 their import after a Ctrl-C makes status 1 of it.
    source = PUSH + "givenotice.flush()\ngivenotice.push(sys.argv[1] + '/last')\n"
    source += "import signal; signal.raise_signal(signal.SIGINT)"
    plain = run("\n\n\n\n\n\nimport signal; signal.raise_signal(signal.SIGINT)")
    ended = run(source, origin.base, "1")
    assert (ended.status, ended.out, ended.err) == (-signal.SIGINT, plain.out, plain.err)
    assert targets(origin) == ["/0", "/last"]


@pytest.mark.parametrize("ending", ["os._exit(4)", "os.kill(os.getpid(), signal.SIGTERM)"])
def test_what_ends_without_any_hook_has_sent_what_it_flushed(origin: Origin, ending: str) -> None:
    ended = run(PUSH + f"givenotice.flush()\nimport os, signal; {ending}", origin.base, "3")
    assert ended.status in (4, -signal.SIGTERM)
    assert targets(origin) == ["/0", "/1", "/2"]


# --- Within the budget, whatever the server does --------------------------------------------------


@contextmanager
def tls_silent() -> Iterator[str]:
    """A handshake that never ends."""
    with silent() as base:
        yield base.replace("http:", "https:")


@pytest.fixture(scope="module")
def baseline() -> float:
    """Seconds of a process that pushes nothing."""
    return run("import givenotice").seconds


@pytest.mark.parametrize("count", [1, 1000])
@pytest.mark.parametrize("budget", ["0", "0.5", "1"])
@pytest.mark.parametrize("sick", [refusing, silent, unaccepting, dripping, tls_silent])
def test_a_sick_server_costs_no_more_than_the_budget(
    sick: Callable[[], AbstractContextManager[str]], budget: str, count: int, baseline: float
) -> None:
    source = PUSH.replace("import", "from time import monotonic; import", 1).replace(
        "for", "begin = monotonic()\nfor", 1
    )
    with sick() as base:
        seconds = baseline + float(budget) + 0.15 + NOISE
        ended = run_in_time(
            seconds,
            source + "assert monotonic() - begin < 5",
            base,
            str(count),
            GIVENOTICE_EXIT_TIMEOUT=budget,
        )
    assert (ended.status, ended.out, ended.err) == (0, "", "")


def test_an_import_that_does_not_end_costs_no_more_than_the_budget(baseline: float) -> None:
    ended = run_in_time(
        baseline + 0.5 + 0.15 + NOISE,
        """
        import givenotice, sys, threading, time
        class Stuck:
            def find_spec(self, name, *_):
                if name == "http.client":
                    stuck.set()
                    time.sleep(30)
        stuck = threading.Event()
        sys.meta_path.insert(0, Stuck())
        givenotice.push("http://127.0.0.1:9")
        stuck.wait(20)
        """,
        GIVENOTICE_EXIT_TIMEOUT="0.5",
    )
    assert (ended.status, ended.out, ended.err) == (0, "", "")


def test_an_import_that_goes_on_is_waited_for() -> None:
    """Left behind, it could crash the process, or hang it."""
    ended = run(
        """
        import atexit, sys, threading, time
        atexit.register(lambda: print("ended" if done else "left behind"))  # after that of givenotice
        import givenotice
        done = []
        class Busy:
            def find_spec(self, name, *_):
                if name == "http.client":
                    busy.set()
                    end = time.monotonic() + 1.5
                    while time.monotonic() < end:
                        sum(range(1000))
                    done.append(1)
        busy = threading.Event()
        sys.meta_path.insert(0, Busy())
        givenotice.push("http://127.0.0.1:9")
        busy.wait(20)
        """,
        GIVENOTICE_EXIT_TIMEOUT="0.2",
    )
    assert (ended.status, ended.out, ended.err) == (0, "ended\n", "")


def test_a_log_handler_that_does_not_end_costs_no_more_than_the_budget(baseline: float) -> None:
    ended = run_in_time(
        baseline + 0.5 + 0.15 + NOISE,
        """
        import givenotice, logging, threading
        class Stuck(logging.Handler):
            def handle(self, record):
                entered.set()
                threading.Event().wait(30)
        entered = threading.Event()
        logging.basicConfig(handlers=[Stuck()], level=logging.DEBUG)
        givenotice.push("http://127.0.0.1:9")
        entered.wait(20)
        """,
        GIVENOTICE_EXIT_TIMEOUT="0.5",
    )
    assert (ended.status, ended.out, ended.err) == (0, "", "")


def test_a_lookup_that_does_not_end_costs_no_more_than_the_budget(baseline: float) -> None:
    ended = run_in_time(
        baseline + 0.5 + 0.15 + NOISE,
        """
        import givenotice, socket, threading
        def getaddrinfo(*_):
            asked.set()
            threading.Event().wait(30)
        asked = threading.Event()
        socket.getaddrinfo = getaddrinfo
        givenotice.push("http://slow.example")
        asked.wait(20)
        """,
        GIVENOTICE_EXIT_TIMEOUT="0.5",
    )
    assert (ended.status, ended.out, ended.err) == (0, "", "")


def delayed(connection: socket.socket, _heard: Heard) -> bool:
    threading.Event().wait(0.1)
    connection.sendall(NO_CONTENT)
    return True


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3), reason="these start no thread once the main one has ended"
)
def test_a_burst_of_a_thousand_to_a_slow_server_arrives_within_the_budget() -> None:
    arrived: Counter[str] = Counter()
    for _attempt in range(4):  # with nothing else to do it takes 1.4 of the 2 seconds; one by one, 100
        with answering(delayed) as slow:
            assert run(PUSH, slow.base, "1000").err == ""
        arrived = Counter(targets(slow))
        assert not arrived - Counter(f"/{number}" for number in range(1000))  # nothing twice
        if len(arrived) == 1000:
            return
    raise AssertionError(f"{len(arrived)} of 1000 arrived.")


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 3), reason="these start no thread once the main one has ended"
)
def test_a_thousand_notices_to_a_slow_server_all_arrive_where_there_is_time() -> None:
    with answering(delayed) as slow:
        assert run(PUSH, slow.base, "1000", GIVENOTICE_EXIT_TIMEOUT="30").err == ""
    assert Counter(targets(slow)) == Counter(f"/{number}" for number in range(1000))


@pytest.mark.parametrize("dead", [1, 2])
def test_a_host_whose_first_addresses_swallow_packets_gets_its_notice_within_the_budget(
    origin: Origin, dead: int
) -> None:
    with unaccepting() as swallowing:
        ended = run(
            """
            import socket, sys
            tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
            socket.getaddrinfo = lambda *_: [(*tcp, ("127.0.0.1", int(port))) for port in sys.argv[1:]]
            import givenotice
            givenotice.push("http://many.example/")
            """,
            *[swallowing.rpartition(":")[2]] * dead,
            origin.base.rpartition(":")[2],
        )
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert targets(origin) == ["/"]


def test_what_is_left_is_counted_as_dropped_or_failed() -> None:
    ended = run(
        """
        import atexit, sys
        atexit.register(lambda: print(*givenotice.stats(), late(), givenotice.flush(1)))
        late = lambda: givenotice.push(origin.base)
        import givenotice
        from servers import gated, until
        server = gated()
        origin, _ = server.__enter__()  # to the end
        for _ in range(10):
            givenotice.push(origin.base)
        assert until(lambda: origin.busy)
        """,
        GIVENOTICE_EXIT_TIMEOUT="0.5",
    )
    pushed, sent, failed, dropped, pending, taken, flushed = ended.out.split()
    assert (pushed, sent, pending, taken, flushed) == ("10", "0", "0", "False", "True")
    assert int(failed) + int(dropped) == 10
    assert int(failed) > 0 < int(dropped)


def test_what_a_bulk_request_left_over_is_dropped_at_the_exit() -> None:
    def answer(connection: socket.socket, heard: Heard) -> None:
        if heard.method == "POST":  # a refusal: each notice must go by itself, and the first never ends
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")

    with answering(answer) as server:
        ended = run(
            """
            import atexit, sys
            atexit.register(lambda: print(*givenotice.stats()))
            import givenotice
            for number in range(10):
                givenotice.push(f"{sys.argv[1]}/matomo.php?idsite=1&rec=1&number={number}")
            """,
            server.base,
            GIVENOTICE_EXIT_TIMEOUT="1",
        )
    assert (ended.out, ended.err) == ("10 0 1 9 0\n", "")


def test_ctrl_c_while_the_exit_flushes_ends_it_at_once() -> None:
    with gated() as (server, _):
        program = subprocess.Popen(
            [sys.executable, "-c", PUSH, server.base, "3"],
            env={**os.environ, "PYTHONPATH": str(HOME), "GIVENOTICE_EXIT_TIMEOUT": "30"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert wait_for(server, 1)
        program.send_signal(signal.SIGINT)
        out, _ = program.communicate(timeout=20)
    assert (program.returncode, out) == (0, b"")


def wait_for(origin: Origin, count: int) -> bool:
    from servers import until

    return until(lambda: len(origin.heard) >= count)


# --- Pushes up to the very end --------------------------------------------------------------------


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_push_in_an_atexit_callback_does_no_harm(origin: Origin, when: str) -> None:
    register = "atexit.register(lambda: print(givenotice.push(sys.argv[1] + '/late')))"
    lines = [register, "import givenotice"] if when == "before" else ["import givenotice", register]
    ended = run("import atexit, sys\n" + "\n".join(lines) + "\ngivenotice.push(sys.argv[1])", origin.base)
    # A callback that was registered before the import runs when the exit is over.
    assert (ended.status, ended.out, ended.err) == (0, f"{when == 'after'}\n", "")
    assert targets(origin) == ["/"] + ["/late"] * (when == "after")


def test_an_import_in_an_atexit_callback_does_no_harm(origin: Origin) -> None:
    ended = run(
        """
        import atexit, sys

        def late():
            import givenotice
            givenotice.push(sys.argv[1])
            givenotice.flush()

        atexit.register(late)
        """,
        origin.base,
    )
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert targets(origin) == ["/"]


@pytest.mark.parametrize(
    "source",
    [
        # An object that lives until the modules are taken down, after all callbacks.
        """
        import givenotice, sys
        class Late:
            def __del__(self, push=givenotice.push, base=sys.argv[1]):
                push(base)
        sys.modules["late"] = givenotice.late = Late()
        givenotice.push(sys.argv[1])
        """,
        # A thread that goes on pushing.
        """
        import givenotice, sys, threading
        def forever():
            while True:
                givenotice.push(sys.argv[1])
                pause.wait(0.0005)
        pause = threading.Event()
        threading.Thread(target=forever, daemon=True).start()
        givenotice.push(sys.argv[1])
        """,
        # A timer whose signals interrupt pushes, and the exit.
        """
        import atexit, signal, sys
        atexit.register(signal.setitimer, signal.ITIMER_REAL, 0)  # the last of all: its signal would kill
        import givenotice
        signal.signal(signal.SIGALRM, lambda *_: givenotice.push(sys.argv[1]))
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        for _ in range(3000):
            givenotice.push(sys.argv[1])
        """,
    ],
)
def test_a_push_while_the_interpreter_ends_does_no_harm(origin: Origin, source: str) -> None:
    ended = run(source, origin.base)
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert origin.heard


NO_THREADS = """
import givenotice, sys, threading
threading.stack_size(1 << 46)  # more than there is: no thread can be started
"""


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="this system has no SIGPIPE")
@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("blocked", [False, True])
def test_where_no_thread_can_be_started_the_usual_sigpipe_ends_no_program(scheme: str, blocked: bool) -> None:
    with listening(lambda connection: None) as base:
        ended = run(
            NO_THREADS
            + """
import signal
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
mask = {signal.SIGPIPE} if sys.argv[2] == "True" else set()
signal.pthread_sigmask(signal.SIG_BLOCK, mask)
for blocked in mask:
    signal.raise_signal(blocked)  # the program's own, which waits
for number in range(20):
    givenotice.push(f"{sys.argv[1]}/{'x' * 1_000_000 * (number % 6)}")
    givenotice.flush(30)
assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == mask == signal.sigpending()
print(givenotice.stats().failed)
""",
            base.replace("http", scheme),
            str(blocked),
        )
    assert (ended.status, ended.out, ended.err) == (0, "20\n", "")


def test_where_no_thread_can_be_started_the_exit_sends_by_itself(origin: Origin) -> None:
    ended = run(NO_THREADS + "print([givenotice.push(f'{sys.argv[1]}/{n}') for n in range(5)])", origin.base)
    assert (ended.status, ended.out, ended.err) == (0, "[True, True, True, True, True]\n", "")
    assert targets(origin) == [f"/{number}" for number in range(5)]


def test_where_no_thread_can_be_started_the_exit_keeps_its_budget(baseline: float) -> None:
    with silent() as base:
        source = NO_THREADS + "for n in range(5): givenotice.push(sys.argv[1])"
        ended = run_in_time(baseline + 0.65 + NOISE, source, base, GIVENOTICE_EXIT_TIMEOUT="0.5")
    assert (ended.status, ended.out, ended.err) == (0, "", "")


SUBINTERPRETER = """
import sys
if sys.version_info < (3, 13):
    import _xxsubinterpreters as interpreters
    kind = dict(isolated=bool(int(sys.argv[2])))
else:
    import _interpreters as interpreters
    kind = dict(config=["legacy", "isolated"][int(sys.argv[2])])
number = interpreters.create(**kind)
interpreters.run_string(number, f"import sys; sys.path[:] = {sys.path!r}; base = {sys.argv[1]!r};" + WORK)
interpreters.destroy(number)
print("done", flush=True)
"""


@pytest.mark.parametrize("isolated", ["1", "0"])
def test_a_subinterpreter_ends_in_silence(origin: Origin, isolated: str) -> None:
    arguments = (origin.base, isolated)
    # The callbacks run before the interpreter is destroyed, which is refused as long as it has a thread;
    # -S keeps coverage out, which cannot be in two interpreters.
    push = "import givenotice, atexit; [givenotice.push(f'{base}/{n}') for n in range(3)]"
    ended = run(f"WORK = {push + '; atexit._run_exitfuncs()'!r}{SUBINTERPRETER}", *arguments, options=("-S",))
    assert targets(origin) == ["/0", "/1", "/2"]
    # On 3.12 a subinterpreter that has imported ssl, as http.client does, aborts the process at its end.
    plain = run(f"WORK = 'import ssl'{SUBINTERPRETER}", *arguments, options=("-S",))
    assert plain.status == 0 or sys.version_info[:2] == (3, 12)
    assert ended.status == plain.status
    assert (ended.out, ended.err) == ("done\n", "") or plain.status


# --- At any moment --------------------------------------------------------------------------------


def test_an_end_at_any_moment_is_silent(origin: Origin) -> None:
    """During the first import, the start of TLS, the handshake, the request, and while workers leave."""
    source = """
        import givenotice, sys, time
        for base in sys.argv[2:]:
            givenotice.push(base)
        time.sleep(float(sys.argv[1]))
        sys.exit(3)
    """
    moments = random.Random(5)
    with silent() as mute, dripping() as drip, refusing() as closed:
        bases = [
            [origin.base],
            [mute],
            [mute.replace("http", "https")],
            [drip],
            [closed, origin.base],
            ["http://nobody.invalid/"],
        ]

        def once(number: int) -> Ended:
            pause = str(moments.uniform(0, 0.15))
            return run(source, pause, *bases[number % len(bases)], GIVENOTICE_EXIT_TIMEOUT="0.2")

        with ThreadPoolExecutor(3) as several:
            ends = Counter((ended.status, ended.out, ended.err) for ended in several.map(once, range(60)))
    assert ends == {(3, "", ""): 60}
