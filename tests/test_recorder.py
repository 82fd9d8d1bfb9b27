"""The recorder: what a test sees of the notices that its code pushed."""

from __future__ import annotations

import doctest
import os
import re
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from decimal import Decimal
from enum import Enum
from threading import Event, Thread
from typing import Any
from uuid import UUID

import pytest
from programs import run
from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

import givenotice
from givenotice import Notice, Recorder, flush, push, recording

URI = "https://hc.example/ping"
TRACKER = "https://matomo.example.com/matomo.php"


class Color(Enum):
    RED = "red"


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(threaded=True) as server:
        server.expect_request(re.compile(".*")).respond_with_data(status=204)
        yield server


@pytest.fixture
def notices(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    monkeypatch.delenv("GIVENOTICE_URI", raising=False)
    with recording() as notices:
        yield notices


def paths(server: HTTPServer) -> list[str]:
    """What arrived, when all that was pushed is sent."""
    assert flush(10)
    return [request.full_path.rstrip("?") for request, _ in server.log]


def failure(notices: Recorder, uri: str | None = None, /, **params: Any) -> str:
    with pytest.raises(AssertionError) as raised:
        notices.assert_one(uri, **params)
    return str(raised.value)


# What is recorded


def test_a_recorder_is_the_list_of_what_was_pushed(notices: Recorder) -> None:
    assert notices == []
    assert push(URI) is True
    assert push(URI, state="done") is True
    assert notices == [URI, f"{URI}?state=done"]
    assert (len(notices), notices[0]) == (2, URI)
    first, second = notices
    assert isinstance(first, str) and isinstance(second, Notice)


@pytest.mark.parametrize(
    ("query", "params"),
    [
        ("", {}),
        ("?a=1&b=2", {"a": "1", "b": "2"}),
        ("?a=1&b=2&a=3", {"a": ["1", "3"], "b": "2"}),
        ("?a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        ("?a=&b", {"a": "", "b": ""}),
        ("?dimension%5B1%5D=x%20y+z%C3%A9#part", {"dimension[1]": "x y zé"}),
    ],
)
def test_a_notice_has_its_parameters_decoded(query: str, params: dict[str, Any]) -> None:
    assert Notice(URI + query).params == params


def test_parameters_are_recorded_without_any_uri(notices: Recorder) -> None:
    assert push(action_name="worker-job") is True
    assert notices == ["?action_name=worker-job"]
    assert notices[0].params == {"action_name": "worker-job"}


def test_parameters_are_recorded_on_the_uri_of_the_environment(
    notices: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVENOTICE_URI", f"{URI}?idsite=1")
    push(action_name="worker-job")
    push()
    assert notices == [f"{URI}?idsite=1&action_name=worker-job", f"{URI}?idsite=1"]


@pytest.mark.parametrize("setting", [None, ""])
def test_a_push_with_neither_uri_nor_parameters_is_not_recorded(
    notices: Recorder, monkeypatch: pytest.MonkeyPatch, setting: str | None
) -> None:
    if setting is not None:
        monkeypatch.setenv("GIVENOTICE_URI", setting)
    assert push() is False
    assert notices == []


MALFORMED = [
    ("hc.example/ping", {}, ValueError, "absolute"),
    ("ftp://hc.example/", {}, ValueError, "http"),
    ("http://hc.example:99999/", {"a": 1}, ValueError, "port"),
    ("http://hc.example/\n/a", {}, ValueError, "control"),
    (7, {}, TypeError, "int"),
    (URI, {"a": {}}, TypeError, "'a'.*json"),
    (None, {"at": datetime(2026, 1, 1)}, ValueError, "'at'.*time zone"),
    (None, {"x": float("nan")}, ValueError, "'x'.*finite"),
]


@pytest.mark.parametrize(("uri", "params", "error", "culprit"), MALFORMED)
def test_what_is_malformed_raises_at_the_push(
    notices: Recorder, uri: Any, params: dict[str, Any], error: type[Exception], culprit: str
) -> None:
    with pytest.raises(error, match=culprit):
        push(uri, **params)
    assert notices == []


@pytest.mark.parametrize("params", [{}, {"a": 1}])
def test_an_empty_uri_raises_at_the_push(notices: Recorder, params: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="absolute"):
        push("", **params)
    assert notices == []


@pytest.mark.parametrize(("uri", "params"), [case[:2] for case in MALFORMED])
def test_what_is_malformed_is_silent_outside_of_tests(uri: Any, params: dict[str, Any]) -> None:
    with recording():
        pass
    assert push(uri, **params) is False


# Asserting


VALUES = [
    ("ada", "ada"),
    (b"ada", "ada"),
    (7, "7"),
    (7, 7),
    (True, True),
    (True, 1),
    (False, "0"),
    (1.5, 1.5),
    (Decimal("1.50"), "1.50"),
    (Color.RED, Color.RED),
    (Color.RED, "red"),
    (UUID(int=7), UUID(int=7)),
    (datetime(2026, 1, 1, tzinfo=timezone.utc), datetime(2026, 1, 1, tzinfo=timezone.utc)),
    (datetime(2026, 1, 1, tzinfo=timezone.utc), 1767225600),
    (["a", "b"], ["a", "b"]),
    (("a", 1), ["a", "1"]),
    (["a"], "a"),
    ("é &=+%", "é &=+%"),
    ("", ""),
    (None, None),
    ([], None),
]


@pytest.mark.parametrize(("pushed", "expected"), VALUES)
def test_a_value_matches_as_it_was_pushed_and_as_it_is_sent(
    notices: Recorder, pushed: Any, expected: Any
) -> None:
    push(URI, other=1, x=pushed)
    assert notices.matching(x=expected) == notices
    assert notices.assert_one(x=expected) is notices[0]


@pytest.mark.parametrize(
    ("pushed", "expected"),
    [
        ("ada", "bob"),
        (1, 2),
        (["a", "b"], ["b", "a"]),
        (["a", "b"], "a"),
        ("", None),
        (None, ""),
        ("1", None),
    ],
)
def test_another_value_does_not_match(notices: Recorder, pushed: Any, expected: Any) -> None:
    push(URI, x=pushed)
    assert notices.matching(x=expected) == []


def test_matching_gives_those_with_all_given_parameters_in_order(notices: Recorder) -> None:
    for name in ("ada", "bob", "cyd"):
        push(URI, e_c="user", e_n=name, **({"uid": 7} if name == "cyd" else {}))
    assert [notice.params["e_n"] for notice in notices.matching(e_c="user", uid=None)] == ["ada", "bob"]
    assert notices.matching() == notices
    assert notices.matching(e_c="user", e_n="dan") == []


def test_assert_one_returns_the_notice(notices: Recorder) -> None:
    push(URI, e_n="ada")
    push(URI, e_n="bob")
    assert notices.assert_one(e_n="bob").params == {"e_n": "bob"}


@pytest.mark.parametrize("value", [{}, datetime(2026, 1, 1), float("inf")])
def test_what_could_never_be_pushed_cannot_be_expected(notices: Recorder, value: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="'x'"):
        notices.assert_one(x=value)


PUSHED = "https://ada:sekret@hc.example/ping?a=1&b=2&b=3#part"


@pytest.mark.parametrize(
    ("uri", "params"),
    [
        ("https://hc.example/ping", {}),
        ("https://hc.example/ping", {"a": 1, "c": None}),
        ("HTTPS://HC.example/ping?b=2&b=3#other", {"a": "1"}),
        ("https://bob:other@hc.example/ping?a=0", {"a": 1}),
        ("https://hc.example/ping?c=1", {"c": None}),
        (PUSHED, {}),
        (None, {"a": 1}),
        (None, {}),
    ],
)
def test_a_uri_matches_its_address_and_what_its_query_has(
    notices: Recorder, uri: str | None, params: dict[str, Any]
) -> None:
    push(PUSHED)
    assert notices.matching(uri, **params) == notices
    assert notices.assert_one(uri, **params) is notices[0]


@pytest.mark.parametrize(
    "uri",
    [
        "http://hc.example/ping",
        "https://hc.example/ping/",
        "https://hc.example/pin",
        "https://hc.example:8443/ping",
        "https://www.hc.example/ping",
        "https://hc.example/ping?a=2",
        "https://hc.example/ping?a=1&c",
        "https://hc.example/ping?b=3",
    ],
)
def test_another_uri_does_not_match(notices: Recorder, uri: str) -> None:
    push(PUSHED)
    push(a=1)
    assert notices.matching(uri) == []


@pytest.mark.parametrize("uri", ["", "hc.example/ping", 7])
def test_a_uri_that_could_never_be_pushed_cannot_be_expected(notices: Recorder, uri: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="The URI must be"):
        notices.matching(uri)


# The message of a failure


def test_a_failure_names_the_uri_that_was_expected(notices: Recorder) -> None:
    push(PUSHED, token_auth="sekret")
    push("https://hc.example/ping/fail", a=2)
    push(a=2)
    assert failure(
        notices, "https://bob:sekret@hc.example/ping/fail?token_auth=sekret", a=2
    ).splitlines() == [
        "None of 3 notices match; expected one to",
        "  https://***@hc.example/ping/fail",
        "    token_auth = ***",
        "    a = '2'",
        "Pushed, nearest first; ! marks what differs:",
        "  https://hc.example/ping/fail",
        "  ! token_auth = (absent)",
        "    a = '2'",
        "! https://***@hc.example/ping",
        "    token_auth = ***",
        "  ! a = '1'",
        "    b = ['2', '3']",
        "! ($GIVENOTICE_URI)",
        "  ! token_auth = (absent)",
        "    a = '2'",
    ]


def test_a_uri_that_differs_is_shown_in_full(notices: Recorder) -> None:
    push(f"{URI}/{'p' * 200}/a")
    text = failure(notices, f"{URI}/{'p' * 200}/b")
    assert f"  {URI}/{'p' * 200}/b\n" in text
    assert f"! {URI}/{'p' * 200}/a" in text


def test_a_failure_shows_what_was_expected_and_what_was_pushed(notices: Recorder) -> None:
    push(TRACKER, e_c="user", e_a="login", tag=["a", "b"])
    text = failure(notices, e_a="signup", e_c="user", uid=7)
    expected, pushed = text.split(f"  {TRACKER}\n")
    assert expected.splitlines()[1:4] == ["    e_a = 'signup'", "    e_c = 'user'", "    uid = '7'"]
    assert pushed.splitlines() == [
        "  ! e_a = 'login'",
        "    e_c = 'user'",
        "  ! uid = (absent)",
        "    tag = ['a', 'b']",
    ]


def test_a_failure_shows_what_should_have_been_absent(notices: Recorder) -> None:
    push(URI, uid=7)
    text = failure(notices, uid=None)
    assert "    uid = (absent)" in text.splitlines()
    assert "  ! uid = '7'" in text.splitlines()


def test_a_failure_shows_the_nearest_first(notices: Recorder) -> None:
    for number, matches in enumerate([0, 2, 1, 3, 2]):
        push(f"{URI}/{number}", **dict.fromkeys("abcd"[:matches], "x"))
    text = failure(notices, a="x", b="x", c="x", d="x")
    assert re.findall(f"{URI}/([0-9])", text) == ["3", "1", "4", "2", "0"]


def test_a_failure_shows_all_that_match_when_there_are_several(notices: Recorder) -> None:
    for number, name in enumerate(["ada", "bob", "ada"]):
        push(f"{URI}/{number}", e_n=name)
    text = failure(notices, e_n="ada")
    assert re.findall(f"{URI}/([0-9])", text) == ["0", "2"]
    assert "!" not in text


@pytest.mark.parametrize(
    ("count", "shown", "last"), [(10, 10, "x"), (11, 10, "and 1 more"), (25, 10, "and 15 more")]
)
@pytest.mark.parametrize("expected", ["x", "y"])
def test_a_failure_shows_ten_notices_at_most(
    notices: Recorder, count: int, shown: int, last: str, expected: str
) -> None:
    for _ in range(count):
        push(URI, a="x")
    text = failure(notices, a=expected)
    assert text.count(URI) == shown
    assert last in text.splitlines()[-1]


def test_a_failure_counts_what_matches(notices: Recorder) -> None:
    assert "Nothing was pushed" in failure(notices, a=1)
    push(URI, a=2)
    assert "None of 1 notices match" in failure(notices, a=1)
    push(URI, a=1)
    push(URI, a=1)
    assert "2 of 3 notices match" in failure(notices, a=1)
    assert "3 of 3 notices match" in failure(notices)


def test_a_failure_names_a_notice_without_uri(notices: Recorder) -> None:
    push(e_n="ada")
    assert "  ($GIVENOTICE_URI)" in failure(notices, e_n="bob").splitlines()


def test_a_failure_shows_neither_token_nor_password(notices: Recorder) -> None:
    push("https://ada:sekret@matomo.example.com/", token_auth="sekret", a=1)
    push(token_auth=["sekret1", "sekret2"])
    push(f"{URI}?token%5Fauth=sekret")
    for expected in ("sekret", "sekret3"):
        text = failure(notices, token_auth=expected, a=2)
        assert "sekret" not in text and "ada" not in text
        assert "token_auth = ***" in text
        assert "https://***@matomo.example.com/" in text


def test_the_repr_shows_neither_token_nor_password(notices: Recorder) -> None:
    push("https://ada:sekret@matomo.example.com/", token_auth="sekret", a=1)
    assert repr(notices) == "['https://***@matomo.example.com/?token_auth=***&a=1']"
    assert notices == ["https://ada:sekret@matomo.example.com/?token_auth=sekret&a=1"]


def test_what_differs_is_shown_in_full(notices: Recorder) -> None:
    same = "https://myapp.example.com/worker/" + "w" * 200
    push(URI, url=f"{same}/jobs/{same}")
    text = failure(notices, url=f"{same}/job/{same}")
    assert f"    url = '{same}/job/{same}'" in text.splitlines()
    assert f"  ! url = '{same}/jobs/{same}'" in text.splitlines()


def test_long_names_and_what_does_not_differ_are_shortened(notices: Recorder) -> None:
    push(f"{URI}/{'p' * 200}", **{"n" * 200: "v" * 200, "several": ["w" * 50] * 20, "same": "s" * 200})
    lines = failure(notices, absent="u", same="s" * 200).splitlines()
    assert f"    same = '{'s' * 200}'" in lines  # as it is expected
    lines.remove(f"    same = '{'s' * 200}'")
    assert max(map(len, lines)) <= 68  # pytest puts 12 characters before it, in a method of a class


@pytest.mark.parametrize("name", ["self", "uri", "params", "expected", "recorder"])
def test_any_name_may_be_that_of_a_parameter(notices: Recorder, name: str) -> None:
    push(URI, **{name: "x"})
    assert notices.matching(**{name: "x"}) == notices
    assert notices.matching(**{name: "y"}) == []
    assert notices.assert_one(**{name: "x"}) == notices[0]


def test_each_part_of_a_token_is_masked(notices: Recorder) -> None:
    push(f"{URI}?token_auth[]=sekret&token_auth%5B%5D=sekret")
    assert "sekret" not in failure(notices, a=1)
    assert "sekret" not in repr(notices)
    assert "sekret" not in repr(notices[0].params)


def test_long_values_that_differ_at_their_ends_are_told_apart(notices: Recorder) -> None:
    url = "https://myapp.example.com/a/rather/long/path/of/a/page/"
    push(TRACKER, url=url + "1")
    text = failure(notices, url=url + "2")
    first, second = re.findall("url = .*", text)
    assert first != second


# The context manager


def test_what_is_pushed_before_and_after_is_sent(server: HTTPServer) -> None:
    uri = server.url_for("/")
    push(uri + "before")
    assert flush(10)
    with recording() as notices:
        push(uri + "during")  # the worker that sent the first is still there
    push(uri + "after")
    assert notices == [uri + "during"]
    assert paths(server) == ["/before", "/after"]


def test_nothing_is_sent_while_a_worker_is_busy(server: HTTPServer) -> None:
    arrived, go = Event(), Event()

    def handle(request: Request) -> Response:
        arrived.set()
        go.wait(20)
        return Response(status=204)

    server.clear()
    server.expect_request(re.compile(".*")).respond_with_handler(handle)
    uri = server.url_for("/")
    push(uri + "before")
    assert arrived.wait(20)
    with recording() as notices:
        push(uri + "1")
        go.set()
        assert flush(10)
        push(uri + "2")
    assert notices == [uri + "1", uri + "2"]
    assert paths(server) == ["/before"]


def test_the_innermost_recorder_gets_the_notice() -> None:
    with recording() as outer:
        push(a=1)
        with recording() as inner:
            push(a=2)
        push(a=3)
    assert (outer, inner) == (["?a=1", "?a=3"], ["?a=2"])


def test_recorders_may_end_in_any_order(server: HTTPServer) -> None:
    uri = server.url_for("/")
    first, second = recording(), recording()
    with ExitStack() as later:
        with first as outer:
            inner = later.enter_context(second)
            push(a=1)
        push(a=2)
    push(uri + "after")
    assert (outer, inner) == ([], ["?a=1", "?a=2"])
    assert paths(server) == ["/after"]


def test_one_object_may_record_more_than_once(server: HTTPServer) -> None:
    again = recording()
    with again as outer:
        push(a=1)
        with again as inner:
            push(a=2)
        push(a=3)
    with again as later:
        push(a=4)
    push(server.url_for("/after"))
    assert (outer, inner, later) == (["?a=1", "?a=3"], ["?a=2"], ["?a=4"])
    assert paths(server) == ["/after"]


def test_a_recording_may_end_while_a_notice_is_made() -> None:
    class Last(list[str]):
        def __iter__(self) -> Iterator[str]:
            recorded.__exit__()
            return super().__iter__()

    recorded = recording()
    notices = recorded.__enter__()
    assert not push(URI, a=Last("x"))
    assert notices == []


def test_an_exception_passes_and_ends_the_recording(server: HTTPServer) -> None:
    with pytest.raises(RuntimeError, match="mine"), recording():
        raise RuntimeError("mine")
    push(server.url_for("/after"))
    assert paths(server) == ["/after"]


def test_threads_are_recorded_without_loss() -> None:
    with recording() as notices:
        threads = [Thread(target=lambda: [push(n=n) for n in range(500)]) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert sorted(int(notice.params["n"]) for notice in notices) == sorted(list(range(500)) * 8)


def test_recorders_that_come_and_go_beside_a_pushing_thread_never_raise() -> None:
    stop = Event()
    errors: list[Exception] = []

    def work() -> None:
        while not stop.is_set():
            try:
                push(a=1)
            except Exception as error:
                errors.append(error)

    thread = Thread(target=work)
    thread.start()
    for _ in range(2_000):
        with recording():
            pass
    stop.set()
    thread.join()
    assert errors == []


def test_recordings_of_several_threads_neither_vanish_nor_stay() -> None:
    def work() -> None:
        for _ in range(3_000):
            with recording():
                pass

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with recording() as notices:
            threads = [Thread(target=work) for _ in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            del notices[:]
            assert push(n=1)
            assert [notice.params for notice in notices] == [{"n": "1"}]
    finally:
        sys.setswitchinterval(interval)


def test_no_thread_is_started(server: HTTPServer) -> None:
    program = """
    import sys, givenotice
    with givenotice.recording() as notices:
        for n in range(100):
            givenotice.push(sys.argv[1], n=n)
        print(len(notices), len(sys._current_frames()), givenotice.flush(), givenotice.stats().pushed)
    """
    ended = run(program, server.url_for("/"))
    assert (ended.out, ended.err, ended.status) == ("100 1 True 0\n", "", 0)
    assert server.log == []


def test_a_switched_off_process_records_all_the_same() -> None:
    program = """
    import givenotice
    with givenotice.recording() as notices:
        print(givenotice.push(a=1), notices)
    print(givenotice.push("http://127.0.0.1:1/"))
    """
    ended = run(program, GIVENOTICE_DISABLED="1")
    assert (ended.out, ended.err) == ("True ['?a=1']\nFalse\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_child_sends_nothing(server: HTTPServer) -> None:
    program = """
    import os, sys, givenotice
    with givenotice.recording() as notices:
        givenotice.push(a="parent")
        child = os.fork()
        if not child:
            givenotice.push(a="child")
            print(notices, givenotice.flush(), flush=True)
            sys.exit()
        os.waitpid(child, 0)
    print(notices)
    """
    ended = run(program, GIVENOTICE_URI=server.url_for("/"))
    assert ended.out.count("a=child") == 1 and ended.out.count("a=parent") == 2
    assert (ended.err, ended.status, server.log) == ("", 0, [])


def test_a_doctest_shows_the_notices() -> None:
    text = """
    >>> with recording() as notices:
    ...     push("https://hc.example/ping", state="done")
    True
    >>> notices
    ['https://hc.example/ping?state=done']
    >>> notices.assert_one(state="begun")
    Traceback (most recent call last):
    AssertionError: ...
    """
    test = doctest.DocTestParser().get_doctest(text, dict(vars(givenotice)), "recording", None, 0)
    results = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test)
    assert (results.attempted, results.failed) == (3, 0)


def test_unittest_needs_no_pytest() -> None:
    program = """
    import sys, unittest
    from givenotice import push, recording

    class Test(unittest.TestCase):
        def setUp(self):
            context = recording()
            self.notices = context.__enter__()
            self.addCleanup(context.__exit__, None, None, None)

        def test_signup(self):
            push(e_a="signup")
            self.assertEqual(self.notices.assert_one().params, {"e_a": "signup"})

        def test_empty(self):
            self.assertEqual(self.notices, [])

    program = unittest.main(exit=False, verbosity=0)
    print(program.result.testsRun, program.result.wasSuccessful(), "pytest" in sys.modules)
    """
    assert run(program).out == "2 True False\n"
