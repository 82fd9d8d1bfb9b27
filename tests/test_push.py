"""push, flush, stats, the settings and the log: what a program sees of givenotice."""

from __future__ import annotations

import gc
import json
import logging
import re
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from textwrap import dedent
from time import monotonic, sleep
from types import FrameType
from typing import Any
from unittest.mock import MagicMock, Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from programs import HOME, execute, run, script
from servers import NO_CONTENT, Heard, Origin, answering, gated, listening, paced, refusing, silent, until

import givenotice

SECRET = "s3cr3t"


@pytest.fixture(autouse=True)
def settled(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test leaves work behind for the next one."""
    monkeypatch.delenv("GIVENOTICE_URI", raising=False)
    yield
    assert givenotice.flush(30)


def since(before: givenotice.Stats) -> tuple[int, ...]:
    """pushed, sent, failed, dropped, pending: what was added to them."""
    return tuple(now - then for now, then in zip(givenotice.stats(), before))


# --- push --------------------------------------------------------------------------------------


def test_a_push_is_taken_and_arrives() -> None:
    before = givenotice.stats()
    with answering() as origin:
        assert givenotice.push(origin.base + "/ping", a=1) is True
        assert givenotice.flush(30)
    assert origin.targets == ["/ping?a=1"]
    assert since(before) == (1, 1, 0, 0, 0)


@pytest.mark.parametrize(
    "uri",
    [
        "",
        " ",
        "ping",
        "/ping",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "data:,x",
        "http://",
        "http://?",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:http/",
        "http://[::1/",
        "http://[::g]/",
        "http://a b/",
        "http://127.0.0.1/\n/",
        "http://127.0.0.1/\x00/",
        "http://127.0.0.1/\ud800",
        "http://\ud800/",
        "http://" + "a" * 64 + "/",
        "http://xn--\xff.example/",
    ],
)
def test_a_malformed_uri_is_dropped_and_counted(uri: str) -> None:
    before = givenotice.stats()
    assert givenotice.push(uri) is False
    assert since(before) == (1, 0, 0, 1, 0)


def test_a_push_without_uri_is_dropped() -> None:
    before = givenotice.stats()
    assert givenotice.push() is False
    assert givenotice.push(None, a=1) is False
    assert since(before) == (2, 0, 0, 2, 0)


def test_a_push_with_a_malformed_parameter_is_dropped() -> None:
    before = givenotice.stats()
    with answering() as origin:
        assert givenotice.push(origin.base, a={}) is False  # type: ignore[arg-type]
        assert givenotice.push(origin.base, a="\ud800") is False
        assert givenotice.push(origin.base, a=float("nan")) is False
    assert since(before) == (3, 0, 0, 3, 0)


def test_a_malformed_path_at_a_known_origin_is_counted_as_dropped_and_not_sent() -> None:
    before = givenotice.stats()
    with answering() as origin:
        assert givenotice.push(origin.base + "/1")
        for bad in ("/\n/", "/\x7f/", "/\ud800"):
            givenotice.push(origin.base + bad)
        assert givenotice.push(origin.base + "/2")
        assert givenotice.flush(30)
    assert sorted(origin.targets) == ["/1", "/2"]
    assert since(before) == (5, 2, 0, 3, 0)


ANYTHING = st.one_of(
    st.text(),
    st.binary(),
    st.integers(),
    st.floats(),
    st.complex_numbers(),
    st.lists(st.text()),
    st.dictionaries(st.text(), st.text()),
    st.functions(),
    st.from_type(type).flatmap(st.from_type),
    st.builds(object),
    st.builds(
        str.__add__, st.sampled_from(["http:", "http:/", "file://", "https://:", "//"]), st.text(max_size=3)
    ),
)


def absent_host(thing: object) -> bool:
    return not isinstance(thing, str) or "://" not in thing or not thing.partition("://")[2].strip()


@settings(deadline=None)
@given(ANYTHING.filter(absent_host))
def test_whatever_is_pushed_gives_false_and_raises_nothing(thing: Any) -> None:
    assert givenotice.push(thing) is False


@settings(deadline=None, max_examples=50)
@given(st.dictionaries(st.text(max_size=5), ANYTHING, max_size=3))
def test_whatever_parameters_are_pushed_nothing_is_raised(params: dict[str, Any]) -> None:
    before = givenotice.stats()
    with refusing() as base:
        taken = givenotice.push(base, **params)
        assert givenotice.flush(30)
    assert since(before) == (1, 0, int(taken), int(not taken), 0)


class Raising:
    """Each use of it is an error."""

    def __getattribute__(self, name: str) -> Any:
        raise ValueError(name)

    def __eq__(self, other: object) -> bool:
        raise ValueError

    def __hash__(self) -> int:
        raise ValueError

    def __len__(self) -> int:
        raise ValueError

    def __str__(self) -> str:
        raise ValueError

    __repr__ = __str__


class Agreeing:
    def startswith(self, *_: object) -> bool:
        return True

    def __contains__(self, _: object) -> bool:
        raise ValueError


HOSTILE: list[Callable[[], Any]] = [Raising, Agreeing, Mock, MagicMock]


@pytest.mark.parametrize("hostile", HOSTILE)
@pytest.mark.parametrize("busy", [False, True])
def test_a_hostile_object_is_dropped_and_harms_no_other_notice(hostile: Any, busy: bool) -> None:
    before = givenotice.stats()
    with gated() as (origin, gate):
        if busy:
            assert givenotice.push(origin.base + "/first")
            assert until(lambda: origin.heard)
        assert givenotice.push(hostile()) is False
        taken = givenotice.push(origin.base, a=hostile())  # a MagicMock is a number to who asks it
        gate.set()
        assert givenotice.push(origin.base + "/last")
        assert givenotice.flush(5)
    assert origin.targets[-1] == "/last"
    assert since(before) == (3 + busy, 1 + busy + taken, 0, 2 - taken, 0)


def raising(*_: object) -> Any:
    raise ValueError


@pytest.mark.parametrize("method", ["__contains__", "startswith", "partition", "split", "strip", "isascii"])
def test_a_hostile_str_harms_no_other_notice(method: str) -> None:
    hostile = type("Hostile", (str,), {method: raising})
    before = givenotice.stats()
    with answering() as origin:
        for _ in range(3):
            assert givenotice.push(hostile(origin.base + "/hostile")) in (True, False)
        assert givenotice.push(origin.base + "/last")
        assert givenotice.flush(5)
        assert "/last" in origin.targets
    added = since(before)
    assert (added[0], added[4]) == (4, 0)


def test_push_does_no_io_and_no_import_in_the_caller() -> None:
    with silent() as base:
        ended = script(
            """
            import sys, threading, givenotice
            seen, main = [], threading.get_ident()
            watching = False

            def watch(event, arguments):
                if watching and threading.get_ident() == main:
                    seen.append((event, *map(str, arguments[:1])))

            sys.addaudithook(watch)
            watching = True
            for path in ("/", "/a", "/b"):
                givenotice.push(sys.argv[1] + path)
            givenotice.push(sys.argv[1], a=1)
            givenotice.push(sys.argv[1].replace("127.0.0.1", "localhost"))
            watching = False
            seen = [event for event in seen if event[0] != "builtins.id"]  # coverage, from Python 3.14 on
            print([event for event in seen if event[0] == "import" or not event[0].startswith("_thread.")])
            """,
            base,
            GIVENOTICE_EXIT_TIMEOUT="0",
        )
    assert ended.out == "[]\n"


def test_memory_of_a_waiting_notice_is_little_more_than_its_uri() -> None:
    ended = script(
        """
        import socket, tracemalloc, givenotice
        with socket.create_server(("127.0.0.1", 0)) as silent:
            base = "http://127.0.0.1:%s/matomo.php?idsite=1&rec=1&x=" % silent.getsockname()[1] + "x" * 90
            givenotice.push(base)
            connection, _ = silent.accept()
            with connection:
                connection.recv(1)  # a worker that sends has imported all that it needs
                tracemalloc.start()
                before, _ = tracemalloc.get_traced_memory()
                for number in range(5000):
                    assert givenotice.push(base + str(number))
                after, _ = tracemalloc.get_traced_memory()
                print((after - before) / 5000)
        """,
        GIVENOTICE_EXIT_TIMEOUT="0",
    )
    assert float(ended.out) < 350


# --- Settings ----------------------------------------------------------------------------------


def test_the_uri_of_the_environment_is_read_at_push(monkeypatch: pytest.MonkeyPatch) -> None:
    with answering() as origin:
        monkeypatch.setenv("GIVENOTICE_URI", origin.base + "/1?a=0")
        assert givenotice.push(a=1)
        monkeypatch.setenv("GIVENOTICE_URI", origin.base + "/2")
        assert givenotice.push()
        assert givenotice.flush(30)
    assert sorted(origin.targets) == ["/1?a=1", "/2"]


@pytest.mark.parametrize("uri", [None, "", " \n"])
def test_a_uri_of_the_environment_that_is_not_set_is_told_by_its_name(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, uri: str | None
) -> None:
    caplog.set_level(logging.DEBUG)
    if uri is not None:
        monkeypatch.setenv("GIVENOTICE_URI", uri)
    assert not givenotice.push(a=1)
    assert until(lambda: "A notice: dropped (GIVENOTICE_URI is not set)" in caplog.messages)


def test_the_uri_of_the_environment_is_read_while_a_worker_is_busy(monkeypatch: pytest.MonkeyPatch) -> None:
    before = givenotice.stats()
    with gated() as (origin, gate):
        monkeypatch.setenv("GIVENOTICE_URI", origin.base + "/")
        assert givenotice.push()
        assert until(lambda: origin.heard)
        assert givenotice.push() is True
        assert givenotice.push(a=1) is True
        monkeypatch.delenv("GIVENOTICE_URI")
        assert givenotice.push() is False
        gate.set()
        assert givenotice.flush(30)
    assert sorted(origin.targets) == ["/", "/", "/?a=1"]
    assert since(before) == (4, 3, 0, 1, 0)


def constants(**settings: str) -> list[Any]:
    ended = script(
        """
        import json, givenotice as g
        print(json.dumps([g.DISABLED, g.TIMEOUT, g.EXIT_TIMEOUT, g.BACKLOG]))
        """,
        **settings,
    )
    values: list[Any] = json.loads(ended.out)
    return values


DEFAULTS = [False, 5.0, 2.0, 10_000]


@pytest.mark.parametrize(
    ("name", "value", "place", "expected"),
    [
        ("GIVENOTICE_DISABLED", "1", 0, True),
        ("GIVENOTICE_TIMEOUT", "0.5", 1, 0.5),
        ("GIVENOTICE_EXIT_TIMEOUT", "0", 2, 0.0),
        ("GIVENOTICE_BACKLOG", "3", 3, 3),
    ],
)
def test_settings_come_from_the_environment(name: str, value: str, place: int, expected: object) -> None:
    assert constants(**{name: value}) == [*DEFAULTS[:place], expected, *DEFAULTS[place + 1 :]]


@pytest.mark.parametrize("value", ["", " ", "many", "-1", "nan", "inf", "1e999", "1,5"])
def test_a_malformed_setting_keeps_the_default(value: str) -> None:
    names = ("DISABLED", "TIMEOUT", "EXIT_TIMEOUT", "BACKLOG")
    assert constants(**{f"GIVENOTICE_{name}": value for name in names}) == DEFAULTS


def test_disabled_drops_every_push() -> None:
    with answering() as origin:
        ended = script(
            """
            import sys, givenotice
            print(givenotice.push(sys.argv[1]), givenotice.push(), *givenotice.stats())
            """,
            origin.base,
            GIVENOTICE_DISABLED="1",
            GIVENOTICE_URI=origin.base,
        )
    assert (ended.out, origin.heard) == ("False False 2 0 0 2 0\n", [])


@pytest.mark.parametrize("busy", [False, True])
def test_disabled_acts_at_once_when_assigned(monkeypatch: pytest.MonkeyPatch, busy: bool) -> None:
    before = givenotice.stats()
    with gated() as (origin, gate):
        if busy:
            assert givenotice.push(origin.base + "/1")
            assert until(lambda: origin.heard)
        monkeypatch.setattr(givenotice, "DISABLED", True)
        assert givenotice.push(origin.base + "/2") is False
        monkeypatch.setattr(givenotice, "DISABLED", False)
        assert givenotice.push(origin.base + "/3") is True
        gate.set()
        assert givenotice.flush(30)
    assert origin.targets == ["/1", "/3"][not busy :]
    assert since(before) == (2 + busy, 1 + busy, 0, 1, 0)


def test_the_timeout_acts_at_once_when_assigned(monkeypatch: pytest.MonkeyPatch) -> None:
    before = givenotice.stats()
    with silent() as base:
        monkeypatch.setattr(givenotice, "TIMEOUT", 0.1)
        assert givenotice.push(base)
        assert givenotice.flush(4)  # under the default of 5 seconds
    assert since(before) == (1, 0, 1, 0, 0)


def test_flush_takes_the_exit_timeout_when_there_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    with gated() as (origin, _gate):
        assert givenotice.push(origin.base)
        monkeypatch.setattr(givenotice, "EXIT_TIMEOUT", 0.05)
        assert givenotice.flush() is False


# --- The bound of the queue --------------------------------------------------------------------


def test_a_full_queue_drops_the_newest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(givenotice, "BACKLOG", 5)
    before = givenotice.stats()
    with gated() as (origin, gate):
        taken = [givenotice.push(f"{origin.base}/{number}") for number in range(12)]
        assert taken == [True] * 5 + [False] * 7
        assert since(before) == (12, 0, 0, 7, 5)
        gate.set()
        assert givenotice.flush(30)
    assert sorted(origin.targets) == [f"/{number}" for number in range(5)]
    assert since(before) == (12, 5, 0, 7, 0)


def test_the_bound_holds_while_notices_are_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(givenotice, "BACKLOG", 5)
    with gated() as (origin, _gate):
        assert givenotice.push(origin.base + "/0")
        assert until(lambda: origin.heard)
        taken = [givenotice.push(f"{origin.base}/{number}") for number in range(1, 10)]
        assert taken == [True] * 4 + [False] * 5


def test_a_flush_that_waits_takes_no_room_in_the_queue_once_a_worker_has_looked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(givenotice, "BACKLOG", 5)
    with gated() as (origin, _gate):
        assert givenotice.push(origin.base + "/0")
        assert until(lambda: origin.heard)
        assert not givenotice.flush(0)
        for number in range(1, 5):
            assert until(partial(givenotice.push, f"{origin.base}/{number}"))
        assert not givenotice.push(f"{origin.base}/5")


def test_the_backlog_acts_at_once_when_assigned() -> None:
    ended = script(
        """
        import givenotice
        from servers import gated, until
        with gated() as (origin, gate):
            givenotice.push(origin.base)
            until(lambda: origin.heard)
            for givenotice.BACKLOG in (2, 3):
                print([givenotice.push(origin.base) for _ in range(3)])
        """,
        GIVENOTICE_EXIT_TIMEOUT="0",
    )
    assert ended.out == "[True, False, False]\n" * 2


def test_the_bound_counts_what_waits_for_one_endpoint() -> None:
    ended = script(
        """
        import sys, givenotice
        from servers import silent, until
        with silent() as base:
            uri = base + "/matomo.php?idsite=1&rec=1"
            sys.setswitchinterval(1e-5)  # the pushes go on while the worker sorts what came before
            taken = givenotice.push(uri)
            for _ in range(50):
                taken += sum(givenotice.push(uri) for _ in range(2000))
                until(lambda: False, 0.005)
            assert taken == givenotice.stats().pending
            print(taken)
        """,
        GIVENOTICE_BACKLOG="1000",
        GIVENOTICE_EXIT_TIMEOUT="0",
        GIVENOTICE_TIMEOUT="60",
    )
    # No lock keeps a push from coming between two steps of a worker, so it may be a few more; never fewer.
    assert 1000 <= int(ended.out) <= 1010


def test_a_backlog_takes_as_many_as_it_has_room_for() -> None:
    ended = script(
        """
        import os, sys, givenotice
        from servers import silent
        with silent() as base:
            sys.setswitchinterval(1e-5)  # the pushes go on while the worker sorts what came before
            for _ in range(100):
                if not os.fork():
                    taken = [givenotice.push(base + "/matomo.php?idsite=1&rec=1") for _ in range(1000)]
                    os._exit(taken.count(False))
                print(os.wait()[1])
        """,
        GIVENOTICE_BACKLOG="1000",
        PYTHONWARNINGS="ignore::DeprecationWarning",  # that the parent has threads
    )
    assert ended.out == "0\n" * 100


@pytest.mark.parametrize("uris", [[], ["http://127.0.0.1:1/"]])
def test_a_backlog_of_nothing_drops_all(monkeypatch: pytest.MonkeyPatch, uris: list[str]) -> None:
    monkeypatch.setattr(givenotice, "BACKLOG", 0)
    assert givenotice.push(*uris) is False


# --- Counts ------------------------------------------------------------------------------------


def push_from_threads(base: str, threads: int, each: int) -> int:
    """How many pushes were taken."""
    taken: list[bool] = []

    def push(thread: int) -> None:
        for number in range(each):
            taken.append(givenotice.push(f"{base}/{thread}/{number}"))

    pushers = [threading.Thread(target=push, args=(thread,)) for thread in range(threads)]
    for pusher in pushers:
        pusher.start()
    for pusher in pushers:
        pusher.join()
    assert len(taken) == threads * each
    return sum(taken)


def test_counts_add_up_when_threads_push() -> None:
    before = givenotice.stats()
    with answering() as origin:
        assert push_from_threads(origin.base, 8, 50) == 400
        assert givenotice.flush(30)
    assert sorted(origin.targets) == sorted(
        f"/{thread}/{number}" for thread in range(8) for number in range(50)
    )
    assert since(before) == (400, 400, 0, 0, 0)


def test_counts_add_up_when_threads_overflow_the_queue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(givenotice, "BACKLOG", 20)
    before = givenotice.stats()
    with gated() as (origin, gate):
        taken = push_from_threads(origin.base, 8, 50)
        assert since(before) == (400, 0, 0, 400 - taken, taken)
        assert 20 <= taken < 28  # seven other threads may have looked before one of them appends
        gate.set()
        assert givenotice.flush(30)
    assert len(origin.heard) == taken
    assert since(before) == (400, taken, 0, 400 - taken, 0)


def test_counts_add_up_while_notices_are_sent() -> None:
    before = givenotice.stats()
    with answering() as origin:
        for number in range(1, 201):
            assert givenotice.push(origin.base)
            pushed, sent, failed, dropped, pending = since(before)
            assert pushed == sent + failed + dropped + pending == number
            assert min(sent, failed, dropped, pending) >= 0
        assert givenotice.flush(30)
    assert since(before) == (200, 200, 0, 0, 0)


def test_stats_have_names() -> None:
    assert givenotice.stats()._fields == ("pushed", "sent", "failed", "dropped", "pending")


# --- flush -------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", [None, 0, 0.0, -1, 3, float("inf")])
def test_flush_is_true_at_once_when_nothing_waits(timeout: float | None) -> None:
    assert givenotice.flush(timeout) is True


def test_flush_waits_for_a_notice_under_way() -> None:
    before = givenotice.stats()
    with gated() as (origin, gate):
        assert givenotice.push(origin.base)
        assert until(lambda: origin.heard)
        assert givenotice.flush(0) is False
        threading.Timer(0.1, gate.set).start()
        assert givenotice.flush(30) is True
        assert since(before) == (1, 1, 0, 0, 0)


def test_flush_gives_up_after_its_timeout() -> None:
    with gated() as (origin, _gate):
        assert givenotice.push(origin.base)
        begin = monotonic()
        assert givenotice.flush(0.2) is False
        assert 0.19 < monotonic() - begin < 4  # of a server that needs 30


class Flushing(threading.Thread):
    """A flush in a thread of its own; it waits already when the constructor returns."""

    def __init__(self, timeout: float = 30) -> None:
        super().__init__(daemon=True)
        self.timeout = timeout
        self.flushed: bool | None = None
        self.start()
        assert until(self.waits)

    def run(self) -> None:
        self.flushed = givenotice.flush(self.timeout)

    def waits(self) -> bool:
        at = self.instruction()
        sleep(0.02)
        return not self.is_alive() or (at is not None and at == self.instruction())

    def instruction(self) -> int | None:
        frame: FrameType | None = sys._current_frames().get(self.ident or 0)
        return frame.f_lasti if frame and frame.f_code.co_filename == givenotice.__file__ else None


@pytest.mark.parametrize("before", [0, 1, 2])
def test_flush_does_not_wait_for_what_is_pushed_after_it_began(before: int) -> None:
    with gated() as (early, gate), gated() as (late, _):
        assert givenotice.push(early.base)
        assert until(lambda: early.heard)
        assert [givenotice.flush(0.02) for _ in range(before)] == [False] * before
        flushing = Flushing()
        assert givenotice.push(late.base)
        gate.set()
        flushing.join(20)
        assert flushing.flushed is True
        assert givenotice.flush(0) is False


def test_flush_is_told_of_an_answer_while_the_next_notice_is_under_way() -> None:
    gates = {"/1": threading.Event(), "/2": threading.Event()}

    def answer(connection: Any, heard: Heard) -> None:
        gates[heard.target].wait(30)
        connection.sendall(NO_CONTENT)

    with answering(answer) as origin:
        assert givenotice.push(origin.base + "/1")
        assert until(lambda: origin.heard)
        flushing = Flushing()
        assert givenotice.push(origin.base + "/2")
        gates["/1"].set()
        flushing.join(3)  # the second would take longer, until its own time is over
        assert flushing.flushed is True
        gates["/2"].set()
        assert givenotice.flush(30)


def test_a_request_that_ends_with_more_than_an_exception_is_counted() -> None:
    ended = script(
        """
        import socket, givenotice
        def getaddrinfo(*_):
            raise SystemExit
        socket.getaddrinfo = getaddrinfo
        givenotice.push("http://a.example/")
        print(givenotice.flush(20), *givenotice.stats())
        """
    )
    assert ended.out == "True 1 0 1 0 0\n"


def test_many_silent_servers_do_not_delay_another() -> None:
    with ExitStack() as stack:
        sick = [stack.enter_context(silent()) for _ in range(8)]
        origin = stack.enter_context(answering())
        ended = script(
            """
            import sys, givenotice
            from servers import until
            *sick, healthy = sys.argv[1:]
            for base in sick:
                for number in range(100):
                    givenotice.push(f"{base}/{number}")
            until(lambda: False, 0.5)  # they get all the senders that they can get
            givenotice.push(healthy)
            print(until(lambda: givenotice.stats().sent == 1, 20))
            """,
            *sick,
            origin.base,
            GIVENOTICE_EXIT_TIMEOUT="0",
            GIVENOTICE_TIMEOUT="60",
        )
    assert ended.out == "True\n"


def test_flush_waits_for_the_slowest_of_those_before() -> None:
    with gated() as (slow, gate), answering() as fast:
        assert givenotice.push(slow.base)
        assert givenotice.push(fast.base)
        flushing = Flushing()
        assert until(lambda: fast.heard)
        assert flushing.is_alive()
        gate.set()
        flushing.join(20)
        assert flushing.flushed is True


def test_several_flushes_wait_at_once() -> None:
    with gated() as (origin, gate):
        assert givenotice.push(origin.base)
        flushes = [Flushing() for _ in range(3)]
        assert givenotice.push(origin.base)
        flushes += [Flushing() for _ in range(3)]
        assert [flush.flushed for flush in flushes] == [None] * 6
        gate.set()
        for flush in flushes:
            flush.join(20)
        assert [flush.flushed for flush in flushes] == [True] * 6


def test_a_flush_that_gave_up_does_not_disturb_the_next() -> None:
    with gated() as (origin, gate):
        assert givenotice.push(origin.base)
        assert [givenotice.flush(0.01) for _ in range(5)] == [False] * 5
        gate.set()
        assert givenotice.flush(30) is True
    assert len(origin.heard) == 1


def test_flush_works_in_a_signal_handler_that_interrupts_a_flush() -> None:
    results = []

    def handle(*_: object) -> None:
        results.append(givenotice.flush(0.01))
        gate.set()
        results.append(givenotice.flush(30))

    with gated() as (origin, gate):
        previous = signal.signal(signal.SIGALRM, handle)
        try:
            assert givenotice.push(origin.base)
            signal.setitimer(signal.ITIMER_REAL, 0.2)
            assert givenotice.flush(30) is True
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, previous)
    assert results == [False, True]


def test_flushes_in_signal_handlers_that_interrupt_flushes_lose_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not under coverage: a handler that waits would keep its lock from the thread that it waits for.
    monkeypatch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
    ended = script(
        """
        import signal, givenotice
        from servers import silent
        handled = []
        def handle(*_):
            handled.append(givenotice.flush(0))
            if len(handled) < 1000:
                signal.setitimer(signal.ITIMER_REAL, 0.0005)
        signal.signal(signal.SIGALRM, handle)
        with silent() as base, silent() as other:
            uris = [f"{each}/matomo.php?idsite=1&rec=1" for each in (base, other)] * 5
            handle()
            count = 0
            while len(handled) < 1000:
                count += sum(map(givenotice.push, uris))
                givenotice.flush(0)
            stats = givenotice.stats()
            print(count == stats.pushed - stats.dropped == stats.pending)
        """,
        GIVENOTICE_EXIT_TIMEOUT="0",
        GIVENOTICE_TIMEOUT="60",
    )
    assert ended.out == "True\n"


def test_flush_does_the_work_where_no_thread_can_be_started() -> None:
    with answering() as origin:
        ended = script(
            """
            import sys, threading, givenotice
            threading.stack_size(1 << 46)
            print([givenotice.push(f"{sys.argv[1]}/{number}") for number in range(3)])
            print(givenotice.flush(30), *givenotice.stats())
            """,
            origin.base,
        )
    assert ended.out == "[True, True, True]\nTrue 3 3 0 0 0\n"
    assert origin.targets == ["/0", "/1", "/2"]


def test_a_sender_that_is_there_makes_up_for_one_that_cannot_be_started() -> None:
    with answering() as other:
        ended = script(
            """
            import sys, threading, givenotice
            from servers import gated, until
            with gated() as (slow, gate):
                givenotice.push(slow.base)
                assert until(lambda: slow.heard)
                size = threading.stack_size(1 << 46)  # more than there is
                givenotice.push(sys.argv[1])
                until(lambda: givenotice.stats().sent, 0.1)
                threading.stack_size(size)
                gate.set()
                print(givenotice.flush(30), *givenotice.stats())
            """,
            other.base,
        )
    assert ended.out == "True 2 2 0 0 0\n"
    assert other.targets == ["/"]


# --- Signals, finalizers, threads --------------------------------------------------------------


def test_pushes_in_signal_handlers_that_interrupt_pushes_are_all_sent() -> None:
    with answering() as origin:
        ended = script(
            """
            import itertools, signal, sys, givenotice
            count = 0
            numbers = itertools.count()  # handlers interrupt handlers
            handled = []

            def handle(*_):
                handled.append(givenotice.push(f"{sys.argv[1]}/handler/{next(numbers)}"))

            signal.signal(signal.SIGALRM, handle)
            signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
            while len(handled) < 300 and count < 200_000:
                givenotice.push(f"{sys.argv[1]}/main/{count}") if count < 1000 else givenotice.push("")
                count += 1
            signal.setitimer(signal.ITIMER_REAL, 0)
            assert givenotice.flush(50)
            taken, dropped = min(count, 1000) + sum(handled), max(0, count - 1000)
            expected = (taken + dropped, taken, 0, dropped, 0)
            print(taken, all(handled) and tuple(givenotice.stats()) == expected)
            """,
            origin.base,
        )
    taken, exact = ended.out.split()
    assert exact == "True"
    assert int(taken) > 300
    assert len(set(origin.targets)) == len(origin.targets) == int(taken)


class Finalized:
    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.cycle = self

    def __del__(self) -> None:
        givenotice.push(self.uri)


def test_pushes_in_finalizers_are_sent() -> None:
    with answering() as origin:
        for number in range(100):
            Finalized(f"{origin.base}/{number}")
        gc.collect()
        assert givenotice.flush(30)
    assert sorted(origin.targets) == sorted(f"/{number}" for number in range(100))


def test_a_push_at_the_recursion_limit_gives_false_and_harms_no_other() -> None:
    with answering() as origin:
        ended = script(
            """
            import sys, givenotice
            results = []

            def dive():
                results.append(givenotice.push(sys.argv[1]))
                dive()

            givenotice.push(sys.argv[1])  # a worker is awake, or idle; both is well
            try:
                dive()
            except RecursionError:
                pass
            print(givenotice.push(sys.argv[1]), givenotice.flush(50))
            print(givenotice.stats().sent == sum(results) + 2, set(results) <= {True, False})
            """,
            origin.base,
        )
    assert ended.out == "True True\nTrue True\n"


# --- Threads and imports -----------------------------------------------------------------------


def test_the_app_may_import_what_the_worker_imports() -> None:
    with answering() as origin:
        for number in range(20):
            ended = script(
                """
                import givenotice, sys
                givenotice.push(sys.argv[1])
                while "socket" not in sys.modules:
                    pass
                from collections.abc import Mapping  # which modules behind it import, too
                """,
                f"{origin.base}/{number}",
            )
            assert ended.out == ""
        assert sorted(origin.targets) == sorted(f"/{number}" for number in range(20))


def test_import_loads_nothing_heavy_and_starts_no_thread() -> None:
    ended = run(
        """
        import sys
        sys.path.insert(0, sys.argv[1])
        import givenotice, _thread
        heavy = ("ssl", "_ssl", "socket", "http", "email", "logging", "argparse", "urllib", "json", "queue")
        print([name for name in sys.modules if name.partition(".")[0] in heavy], _thread._count())
        """,
        str(HOME),
        options=("-I", "-S"),
    )
    assert (ended.status, ended.out, ended.err) == (0, "[] 0\n", "")


def test_idle_workers_end_and_close_their_connections() -> None:
    ended = script(
        """
        import _thread, givenotice
        from servers import answering, until
        givenotice.IDLE = 0.1
        with answering() as origin:
            alone = _thread._count()
            for burst in (50, 1):
                for number in range(burst):
                    givenotice.push(f"{origin.base}/{number}")
                print(givenotice.flush(30), until(lambda: _thread._count() == alone))
                print(origin.connections == origin.closed > 0, len(origin.heard))
        """
    )
    assert ended.out == "True True\nTrue 50\nTrue True\nTrue 51\n"


def test_bursts_to_many_servers_are_sent_by_a_bounded_number_of_threads() -> None:
    ended = script(
        """
        import _thread, threading, givenotice
        from contextlib import ExitStack
        from servers import gated, until
        with ExitStack() as stack:
            origins, gates = zip(*[stack.enter_context(gated()) for _ in range(10)])
            for number in range(3000):
                givenotice.push(f"{origins[number % 10].base}/{number}")
            busy = lambda: sum(origin.busy for origin in origins)
            until(lambda: busy() > 100, 1)
            print(10 <= busy() <= 100, _thread._count() - threading.active_count() + 1 <= 101)
            for gate in gates:
                gate.set()
            print(givenotice.flush(50), sum(len(set(origin.targets)) for origin in origins))
        """
    )
    assert ended.out == "True True\nTrue 3000\n"


@pytest.mark.parametrize("number", [1, 3, 1000])
def test_a_notice_does_not_wait_for_a_silent_server_of_others(number: int) -> None:
    ended = script(
        """
        import sys, givenotice
        from servers import answering, silent, until
        with silent() as mute, answering() as healthy:
            for _ in range(int(sys.argv[1])):
                givenotice.push(mute)
            givenotice.push(healthy.base)
            print(until(lambda: healthy.heard, 10))
        """,
        str(number),
        GIVENOTICE_EXIT_TIMEOUT="0",
        GIVENOTICE_TIMEOUT="60",
    )
    assert ended.out == "True\n"


def test_an_idle_process_has_no_thread_of_ours_in_its_list_after_logging() -> None:
    ended = script(
        """
        import _thread, logging, threading, givenotice
        from servers import refusing, until
        logging.basicConfig(handlers=[logging.NullHandler()], level=logging.DEBUG)
        givenotice.IDLE = 0.1
        alone = _thread._count()
        with refusing() as base:
            for round in range(3):
                for number in range(20):
                    givenotice.push(base)
                givenotice.push("malformed")
                givenotice.flush(30)
                assert until(lambda: _thread._count() == alone)
                print(threading.enumerate() == [threading.main_thread()])
        """
    )
    assert ended.out == "True\n" * 3


@pytest.mark.parametrize("idle", ["600", "0.0003"], ids=["goes to rest", "leaves"])
def test_no_push_is_overlooked_while_the_dispatcher(idle: str) -> None:
    ended = script(
        """
        import random, sys, givenotice
        from time import perf_counter
        from servers import answering
        moments = random.Random(3)
        givenotice.IDLE = float(sys.argv[1])  # seconds: what is overlooked is as late as this, or lost
        sys.setswitchinterval(1e-6)

        def arrives(uri):
            sent, late = givenotice.stats().sent, perf_counter() + 10
            givenotice.push(uri)
            while givenotice.stats().sent == sent:  # a flush would wake the dispatcher up
                if perf_counter() > late:
                    return False
            pause = perf_counter() + moments.uniform(0, 0.0005)
            while perf_counter() < pause:
                pass
            return True

        with answering() as origin:
            end = perf_counter() + 3
            while arrives(origin.base + moments.choice(["", "/"])):  # the second has less to check
                if perf_counter() > end:
                    print("none")
                    break
        """,
        idle,
        GIVENOTICE_EXIT_TIMEOUT="0",
    )
    assert ended.out == "none\n"


@pytest.mark.parametrize("timeout", ["0", "1e-6", "-1"])
def test_a_storm_of_flushes_beside_requests_that_hang_takes_no_memory(timeout: str) -> None:
    ended = script(
        """
        import sys, threading, tracemalloc, givenotice
        from servers import gated, until

        def storm(number):
            for _ in range(number):
                givenotice.flush(float(sys.argv[1]))

        with gated() as (origin, gate):
            for number in range(20):
                givenotice.push(f"{origin.base}/{number}")
            assert until(lambda: origin.busy > 4)
            storm(500)
            tracemalloc.start()
            threads = [threading.Thread(target=storm, args=[5000]) for _ in range(3)]
            for thread in threads:
                thread.start()
            storm(5000)
            for thread in threads:
                thread.join()
            until(lambda: False, 0.1)
            print(tracemalloc.get_traced_memory()[0], givenotice.stats().pending)
        """,
        timeout,
        GIVENOTICE_EXIT_TIMEOUT="0",
        GIVENOTICE_TIMEOUT="60",
    )
    memory, pending = map(int, ended.out.split())
    assert memory < 1_000_000
    assert pending == 20


# --- Order -------------------------------------------------------------------------------------


def in_order(events: list[str], *targets: str) -> bool:
    """Whether requests came in that order, and each when the one before it was answered."""
    return events == [event for target in targets for event in (target, "answered")]


def test_few_notices_to_one_server_arrive_in_order_and_never_side_by_side() -> None:
    with paced() as (origin, events):
        for number in range(200):
            targets = [f"/{number}/{place}" for place in range(2 + number % 3)]
            for target in targets:
                assert givenotice.push(origin.base + target)
            assert givenotice.flush(30)
            assert in_order(events, *targets)
            events.clear()


def test_few_notices_right_after_a_burst_arrive_in_order() -> None:
    with paced() as (origin, events):
        for number in range(30):
            for _ in range(60):
                assert givenotice.push(origin.base)
            assert givenotice.flush(30)
            assert until(lambda: len(events) == 120)
            events.clear()
            targets = [f"/{number}/{place}" for place in range(4)]
            for target in targets:
                assert givenotice.push(origin.base + target)
            assert givenotice.flush(30)
            assert in_order(events, *targets)
            events.clear()


@pytest.mark.parametrize("command", [True, False], ids=["command", "exit"])
def test_few_notices_of_a_short_process_arrive_in_order(command: bool) -> None:
    source = "import givenotice, sys; [givenotice.push(uri) for uri in sys.argv[1:]]"
    with paced() as (origin, events):
        for number in range(10):
            uris = [f"{origin.base}/{place}" for place in range(2 + number % 3)]
            ended = execute([sys.executable, *(("-m", "givenotice") if command else ("-c", source)), *uris])
            assert (ended.status, ended.out, ended.err) == (0, "", "")
            assert in_order(events, *[f"/{place}" for place in range(len(uris))])
            events.clear()


# --- Signals and the modules of the program ----------------------------------------------------


@pytest.mark.skipif(not hasattr(signal, "SIGPIPE"), reason="this system has no SIGPIPE")
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_a_server_that_closes_at_once_ends_no_program_with_the_usual_sigpipe(scheme: str) -> None:
    with listening(lambda connection: None) as base:
        ended = script(
            """
            import signal, sys, givenotice
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            for number in range(30):
                givenotice.push(f"{sys.argv[1]}/{'x' * 1_000_000 * (number % 6)}")
                givenotice.flush(30)
            print(givenotice.stats().failed)
            """,
            base.replace("http", scheme),
        )
    assert ended.out == "30\n"


def test_a_signal_that_is_blocked_after_a_push_waits_for_the_program() -> None:
    with answering() as origin:
        ended = script(
            """
            import os, signal, sys, givenotice
            handled = []
            signal.signal(signal.SIGTERM, lambda *_: handled.append(1))
            for _ in range(100):
                mask = signal.pthread_sigmask(signal.SIG_BLOCK, ())
                givenotice.push(sys.argv[1])
                assert signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM}) == mask == set()
                os.kill(os.getpid(), signal.SIGTERM)
                givenotice.flush(30)
                assert signal.sigpending() == {signal.SIGTERM}
                assert signal.sigwait({signal.SIGTERM}) == signal.SIGTERM
                signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            print(handled)
            """,
            origin.base,
        )
    assert ended.out == "[]\n"


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="this system does not tell the masks")
def test_threads_of_ours_block_all_signals() -> None:
    with gated() as (origin, _):
        ended = script(
            """
            import os, signal, sys, givenotice

            def masks():
                for task in os.listdir("/proc/self/task"):
                    with open(f"/proc/self/task/{task}/status") as file:
                        status = dict(line.split(":", 1) for line in file)
                    yield int(task) == os.getpid(), int(status["SigBlk"], 16)

            before = dict(masks())[True]
            for _ in range(3):
                givenotice.push(sys.argv[1])
            assert not givenotice.flush(0.5)
            ours = [mask for main, mask in masks() if not main]
            blockable = signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}
            wanted = sum(1 << number - 1 for number in blockable)
            print(dict(masks())[True] == before, len(ours) > 1, all(mask & wanted == wanted for mask in ours))
            """,
            origin.base,
            GIVENOTICE_EXIT_TIMEOUT="0",
        )
    assert ended.out == "True True True\n"


def test_a_timer_reaches_a_program_that_waits_for_it() -> None:
    with gated() as (origin, _):
        ended = script(
            """
            import signal, sys, threading, givenotice
            givenotice.push(sys.argv[1])
            assert not givenotice.flush(0.2)
            handled = []
            signal.signal(signal.SIGALRM, lambda *_: handled.append(threading.current_thread().name))
            for _ in range(20):
                signal.setitimer(signal.ITIMER_REAL, 0.005)
                signal.pause()
            print(set(handled), len(handled))
            """,
            origin.base,
            GIVENOTICE_EXIT_TIMEOUT="0",
        )
    assert ended.out == "{'MainThread'} 20\n"


def test_a_reload_of_two_copies_keeps_what_waits_and_slows_no_fork(tmp_path: Path) -> None:
    shutil.copy(givenotice.__file__, tmp_path / "copied.py")
    with gated() as (origin, gate):
        threading.Timer(2, gate.set).start()
        ended = script(
            """
            import importlib, os, sys, givenotice
            from time import monotonic
            sys.path.append(sys.argv[2])
            import copied

            def fork():
                begin = monotonic()
                if not os.fork():
                    os._exit(0)
                took = monotonic() - begin
                os.wait()
                return took

            for generation in range(3):
                for number in range(10):
                    givenotice.push(f"{sys.argv[1]}/{generation}/{number}")
                copied.push(f"{sys.argv[1]}/copied/{generation}")
                importlib.reload(givenotice)
                importlib.reload(copied)
            print(min(fork() for _ in range(3)) < 0.5, givenotice.stats().pushed, copied.stats().pushed)
            """,
            origin.base,
            str(tmp_path),
            PYTHONWARNINGS="ignore::DeprecationWarning",  # that the parent has threads
            GIVENOTICE_EXIT_TIMEOUT="30",
        )
    assert ended.out == "True 30 3\n"
    assert sorted(origin.targets) == sorted(
        [f"/{generation}/{number}" for generation in range(3) for number in range(10)]
        + [f"/copied/{generation}" for generation in range(3)]
    )


# --- The log -----------------------------------------------------------------------------------


def logged(source: str, *arguments: str) -> list[str]:
    """The lines of the log of a program, each with its level."""
    head = """
import logging, sys, givenotice
logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s", level=logging.DEBUG)

def push_each(uri, times=1):
    for _ in range(times):
        givenotice.push(uri)
        assert givenotice.flush(30)
"""
    return script(head + dedent(source), *arguments).out.splitlines()


def levels(lines: list[str], *levels: str) -> list[str]:
    return [line for line in lines if line.startswith(levels)]


@contextmanager
def switching(statuses: list[str]) -> Iterator[Origin]:
    """A server that answers with one status after the other, and with the last one from then on."""

    def answer(connection: Any, _heard: Heard) -> None:
        code = statuses[min(len(origin.heard), len(statuses)) - 1]
        connection.sendall(f"HTTP/1.1 {code} Told\r\nContent-Length: 0\r\n\r\n".encode())

    with answering(answer) as origin:
        yield origin


def test_a_warning_is_logged_once_when_an_origin_begins_to_fail() -> None:
    with refusing() as base:
        lines = logged("push_each(sys.argv[1] + '/ping', 4)", base)
    told = [f"DEBUG {base}: not delivered (Connection refused)"] * 4
    assert lines == [told[0], f"WARNING Notices to {base} are not delivered: Connection refused.", *told[1:]]


def test_each_delivery_is_logged_with_its_status_and_its_time() -> None:
    with answering() as origin:
        lines = logged("push_each(sys.argv[1] + '/ping?a#b', 3)", origin.base)
    assert len(lines) == 3
    for line in lines:
        assert re.fullmatch(rf"DEBUG {origin.base}: delivered \(204, \d+ ms\)", line)


def test_a_server_that_flaps_causes_one_warning() -> None:
    with switching(["500", "204"] * 25) as origin:
        lines = logged("push_each(sys.argv[1], 50)", origin.base)
    assert levels(lines, "WARNING", "INFO") == [
        f"WARNING Notices to {origin.base} are not delivered: 500.",
        f"INFO Notices to {origin.base} are delivered again.",
    ]
    assert len(levels(lines, "DEBUG")) == 50


def test_a_server_that_fails_again_after_the_pause_causes_a_warning_again() -> None:
    with switching(["500", "204", "404"]) as origin:
        lines = logged(
            """
            from servers import until
            givenotice.WARN_PAUSE = 0.5
            push_each(sys.argv[1], 2)
            until(lambda: push_each(sys.argv[1]), 1)
            """,
            origin.base,
        )
    assert levels(lines, "WARNING", "INFO") == [
        f"WARNING Notices to {origin.base} are not delivered: 500.",
        f"INFO Notices to {origin.base} are delivered again.",
        f"WARNING Notices to {origin.base} are not delivered: 404.",
    ]


def test_an_overflow_is_logged_once_as_it_begins_and_as_it_ends() -> None:
    lines = logged(
        """
        from servers import gated
        givenotice.BACKLOG = 4
        with gated() as (origin, gate):
            assert [givenotice.push(origin.base) for _ in range(20)].count(True) == 4
            gate.set()
            assert givenotice.flush(30)
            push_each(origin.base, 2)
        """
    )
    assert levels(lines, "WARNING", "INFO") == [
        "WARNING The queue of notices is full; new ones are dropped.",
        "INFO The queue of notices has room again.",
    ]
    assert lines.count("DEBUG A notice: dropped (the queue is full)") == 16


@pytest.mark.parametrize(
    ("source", "line"),
    [
        ("givenotice.push()", "A notice: dropped (GIVENOTICE_URI is not set)"),
        ("givenotice.push('ftp://s3cr3t/s3cr3t')", "A notice: dropped (The URI must be absolute .*)"),
        ("givenotice.push(5)", r"A notice: dropped (The URI must be a str, not int\.)"),
        ("givenotice.push('http://s3cr3t:x/')", "A notice: dropped (The URI has a port .*)"),
        ("givenotice.push('http://a', b='s3cr3t\\ud800')", "A notice: dropped (Parameter 'b' .*)"),
        ("givenotice.push('http://a', b=object())", "A notice: dropped (Parameter 'b' .*)"),
        ("givenotice.DISABLED = 1; givenotice.push('http://a/s3cr3t')", "A notice: dropped (.* disabled)"),
        (
            "givenotice.BACKLOG = 0; givenotice.push('http://a/s3cr3t')",
            "A notice: dropped (the queue is full)",
        ),
        (
            "push_each(f'{sys.argv[1]}/'); push_each(f'{sys.argv[1]}/s3cr3t\\n?s3cr3t')",
            r"http://127\.0\.0\.1:\d+: dropped (The URI must not contain control characters\.)",
        ),
    ],
)
def test_a_dropped_notice_has_a_line_with_the_reason(source: str, line: str) -> None:
    with answering() as origin:
        lines = logged(source, origin.base)
    pattern = line.replace("(", r"\(").replace(")", r"\)")
    assert len([told for told in lines if re.fullmatch("DEBUG " + pattern, told)]) == 1
    assert SECRET not in str(lines)


def test_what_is_left_at_the_exit_has_its_lines() -> None:
    with gated() as (origin, _):
        lines = logged(
            """
            givenotice.EXIT_TIMEOUT = 2
            for _ in range(9):
                givenotice.push(sys.argv[1])
            """,
            origin.base,
        )
    assert len(levels(lines, "DEBUG")) == 9
    told = {line.partition(": ")[2] for line in levels(lines, "DEBUG")}
    assert told == {"not delivered (cut off at the exit)", "dropped (no time left)"}


def redirecting(location: str) -> Callable[[Any, Heard], None]:
    def answer(connection: Any, _heard: Heard) -> None:
        connection.sendall(
            f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()
        )

    return answer


def test_no_secret_is_ever_in_a_record(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert givenotice.flush(30)
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(givenotice, "TIMEOUT", 0.2)
    secrets = f"?token={SECRET}&token_auth={SECRET}&idsite=1&rec=1#{SECRET}"
    with refusing() as refused, silent() as mute, answering() as fine:
        away = f"http://user:{SECRET}@127.0.0.1:1/{secrets}"
        with (
            answering(redirecting(away)) as moved,
            answering(redirecting(f"ftp://{SECRET}/{secrets}")) as wrong,
        ):
            for base in (refused, mute, fine.base, moved.base, wrong.base, "http://nonexistent.invalid"):
                for uri in (base, base.replace("http:", "https:")):
                    for path in ("/", "/matomo.php"):
                        assert givenotice.push(uri.replace("://", f"://user:{SECRET}@") + path + secrets)
            assert givenotice.flush(30)
    told = [(record.levelname, record.getMessage()) for record in caplog.records]
    assert {level for level, _ in told} >= {"DEBUG", "WARNING"}
    # A test before may have left a line to be written of a notice that push did not take.
    assert len([text for level, text in told if level == "DEBUG" and text.startswith("http")]) == 24
    for record in caplog.records:
        assert SECRET not in repr(vars(record))
    assert SECRET not in caplog.text


def test_each_of_many_origins_and_endpoints_has_its_lines(
    caplog: pytest.LogCaptureFixture,
) -> None:
    origins = [f"http://127.{number // 250}.{number % 250}.9:9" for number in range(1010)]
    for origin in origins:
        assert givenotice.push(origin + "/?idsite=1&rec=1")
    assert givenotice.flush(60)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert sorted(warnings) == sorted(
        f"Notices to {origin} are not delivered: Connection refused." for origin in origins
    )


def test_a_queue_that_fills_again_and_again_is_one_warning() -> None:
    lines = logged(
        """
        givenotice.BACKLOG = 20
        for _ in range(20):
            for _ in range(60):
                givenotice.push(sys.argv[1])
            assert givenotice.flush(30)
        """,
        "http://127.0.0.1:9",
    )
    assert "WARNING The queue of notices is full; new ones are dropped." in lines
    assert len([line for line in levels(lines, "WARNING") if "queue" in line]) == 1


def test_what_push_does_not_take_leaves_room_for_what_it_takes() -> None:
    with answering() as origin:
        ended = script(
            """
            import logging, sys, givenotice
            logging.getLogger("givenotice").setLevel(logging.DEBUG)
            given = 0
            for _ in range(20):
                given += sum(givenotice.push(uri) for uri in [*["x"] * 1000, sys.argv[1]])
                givenotice.flush(30)
            print(given)
            """,
            origin.base,
            GIVENOTICE_BACKLOG="5",
        )
    assert ended.out == "20\n"
    assert len(origin.heard) == 20


def test_the_logger_has_a_null_handler() -> None:
    with refusing() as base:
        assert givenotice.push(base)
        assert givenotice.flush(30)
    handlers = logging.getLogger("givenotice").handlers
    assert [type(handler) for handler in handlers] == [logging.NullHandler]


def test_nothing_is_written_and_logging_is_not_imported() -> None:
    with refusing() as base, answering() as origin:
        ended = script(
            """
            import sys, givenotice
            for uri in (sys.argv[1], sys.argv[2], "", "x", None, 5, sys.argv[1] + "/\\n", "http://nonexistent.invalid/"):
                givenotice.push(uri)
            givenotice.push(sys.argv[2], a=object())
            assert givenotice.flush(30)
            assert givenotice.stats().pushed == 9
            assert "logging" not in sys.modules
            """,
            base,
            origin.base,
        )
    assert ended.out == ""


def test_nothing_is_written_where_logging_is_not_configured() -> None:
    with refusing() as base:
        ended = script(
            """
            import logging, sys, givenotice
            givenotice.push(sys.argv[1])
            assert givenotice.flush(30)
            """,
            base,
        )
    assert ended.out == ""


@pytest.mark.parametrize("error", ["ValueError", "SystemExit", "KeyboardInterrupt"])
def test_a_handler_that_raises_hurts_nobody(error: str) -> None:
    with answering() as origin, refusing() as base:
        ended = script(
            """
            import logging, sys, givenotice

            class Handler(logging.Handler):
                def emit(self, record):
                    raise getattr(__builtins__, sys.argv[3])(record.getMessage())

            logging.basicConfig(handlers=[Handler()], level=logging.DEBUG)
            givenotice.BACKLOG = 8
            taken = [givenotice.push(sys.argv[1]) for _ in range(12)]
            print(givenotice.flush(30), *givenotice.stats())
            for _ in range(3):
                for uri in sys.argv[1:3]:
                    givenotice.push(uri)
            print(givenotice.flush(30), *givenotice.stats())
            """,
            origin.base,
            base,
            error,
        )
    assert ended.out == "True 12 8 0 4 0\nTrue 18 11 3 4 0\n"
