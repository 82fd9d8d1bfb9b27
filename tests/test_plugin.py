"""Under pytest: nothing leaves, everything is recorded, whichever way the plugin is loaded."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from multiprocessing import get_all_start_methods
from pathlib import Path
from textwrap import dedent

import pytest
from programs import HOME, Ended, run
from pytest_httpserver import HTTPServer

import givenotice

APP = """
    import atexit, threading
    from givenotice import push

    push(at="import")
    atexit.register(push, at="exit")

    def sign_up(name):
        return push(e_c="user", e_a="signup", e_n=name)
"""
TESTS = """
    import app, pytest

    @pytest.fixture(scope="session", autouse=True)
    def session():
        app.push(at="session")
        yield
        app.push(at="end")

    def test_signup(notices):
        assert app.sign_up("ada") is True
        assert notices.assert_one(e_c="user", e_a="signup").params["e_n"] == "ada"

    def test_without_the_fixture():
        assert app.sign_up("bob") is True

    def test_nothing_is_left_of_other_tests(notices):
        assert notices == []
"""
INSIDE = "runpytest_inprocess"
OUTSIDE = "runpytest_subprocess"
QUIET = ("-p", "no:cacheprovider", "-p", "no:asyncio", "-W", "error")
both = pytest.mark.parametrize("runner", [INSIDE, OUTSIDE])


@pytest.fixture(scope="module", autouse=True)
def server() -> Iterator[HTTPServer]:
    """During all of this file GIVENOTICE_URI points to it, and nothing may arrive."""
    with HTTPServer(threaded=True) as server, pytest.MonkeyPatch.context() as patch:
        server.expect_request(re.compile(".*")).respond_with_data(status=204)
        patch.setenv("GIVENOTICE_URI", server.url_for("/"))
        patch.delenv("GIVENOTICE_DISABLED", raising=False)
        yield server
        assert arrived(server) == []


@pytest.fixture(autouse=True)
def nothing_arrives(server: HTTPServer) -> Iterator[None]:
    server.clear_log()
    yield
    assert arrived(server) == []


@pytest.fixture(autouse=True)
def project(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    """A pytest that runs inside this one imports the file anew, as it would in a process of its own."""
    monkeypatch.delitem(sys.modules, "givenotice")
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    monkeypatch.setenv("PYTEST_PLUGINS", "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(pytester.path), str(HOME)]))
    pytester.syspathinsert()
    pytester.makepyfile(app=APP)


@pytest.fixture
def reached(httpserver: HTTPServer, monkeypatch: pytest.MonkeyPatch) -> HTTPServer:
    """A server that something is to reach."""
    httpserver.expect_request(re.compile(".*")).respond_with_data(status=204)
    monkeypatch.setenv("GIVENOTICE_URI", httpserver.url_for("/"))
    return httpserver


def arrived(server: HTTPServer) -> list[str]:
    return [request.full_path for request, _ in server.log]


def install(pytester: pytest.Pytester) -> None:
    """The entry point, as an installer writes it; pytest looks for it."""
    del os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"]
    info = pytester.mkdir("givenotice-1.0.dist-info")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: givenotice\nVersion: 1.0\n")
    (info / "RECORD").write_text("givenotice.py,,\n")
    (info / "entry_points.txt").write_text("[pytest11]\ngivenotice = givenotice\n")


def vendor(pytester: pytest.Pytester, app: bool = True) -> None:
    """A copy of the file in a package of the user's own; the app uses it."""
    package = pytester.mkpydir("myapp")
    (package / "givenotice.py").write_text(
        Path(givenotice.__file__).read_text(encoding="utf-8"), encoding="utf-8"
    )
    if app:
        source = dedent(APP).replace("from givenotice", "from myapp.givenotice")
        pytester.path.joinpath("app.py").write_text(source)


def passing(pytester: pytest.Pytester, runner: str, *options: str, passed: int = 3) -> pytest.RunResult:
    """Run the tests; that many pass, and all else is well."""
    result: pytest.RunResult = getattr(pytester, runner)(*QUIET, *options)
    result.assert_outcomes(passed=passed)
    assert result.ret == 0
    return result


# Each way to load it


def by_entry_point(pytester: pytest.Pytester) -> tuple[str, ...]:
    install(pytester)
    return ()


def by_option(pytester: pytest.Pytester) -> tuple[str, ...]:
    return "-p", "givenotice"


def by_entry_point_and_option(pytester: pytest.Pytester) -> tuple[str, ...]:
    install(pytester)
    return "-p", "givenotice"


def by_conftest(pytester: pytest.Pytester) -> tuple[str, ...]:
    pytester.makeconftest("pytest_plugins = ['givenotice']")
    return ()


def by_environment(pytester: pytest.Pytester) -> tuple[str, ...]:
    os.environ["PYTEST_PLUGINS"] = "givenotice"
    return ()


def vendored_by_conftest(pytester: pytest.Pytester) -> tuple[str, ...]:
    vendor(pytester)
    pytester.makeconftest("pytest_plugins = ['myapp.givenotice']")
    return "-p", "no:givenotice"


def vendored_by_option(pytester: pytest.Pytester) -> tuple[str, ...]:
    vendor(pytester)
    return "-p", "no:givenotice", "-p", "myapp.givenotice"


def vendored_beside_an_installed_one(pytester: pytest.Pytester) -> tuple[str, ...]:
    install(pytester)
    return vendored_by_conftest(pytester)[2:]


def vendored_by_option_beside_an_installed_one(pytester: pytest.Pytester) -> tuple[str, ...]:
    install(pytester)
    return vendored_by_option(pytester)[2:]


WAYS = [
    by_entry_point,
    by_option,
    by_entry_point_and_option,
    by_conftest,
    by_environment,
    vendored_by_conftest,
    vendored_by_option,
    vendored_beside_an_installed_one,
    vendored_by_option_beside_an_installed_one,
]


@both
@pytest.mark.parametrize("way", WAYS)
def test_nothing_is_sent_and_the_fixture_has_it(
    pytester: pytest.Pytester, runner: str, way: Callable[[pytest.Pytester], tuple[str, ...]]
) -> None:
    pytester.makepyfile(test_app=TESTS)
    passing(pytester, runner, *way(pytester))


@pytest.mark.parametrize("way", WAYS)
def test_an_import_before_pytest_main_gives_no_warning(
    pytester: pytest.Pytester, way: Callable[[pytest.Pytester], tuple[str, ...]]
) -> None:
    pytester.makepyfile(test_app=TESTS)
    options = way(pytester)
    module = "myapp.givenotice" if "vendored" in way.__name__ else "givenotice"
    ended = main(f"import {module}", *options)
    assert "3 passed" in ended.out
    assert (ended.status, ended.err) == (0, "")


def main(before: str, *options: str, after: str = "") -> Ended:
    """A program that runs pytest, and something before and after."""
    program = f"""
    import sys
    {before}
    import pytest
    status = pytest.main(sys.argv[1:])
    {after}
    sys.exit(status)
    """
    return run(program, *QUIET, *options, GIVENOTICE_URI=os.environ["GIVENOTICE_URI"])


def test_nothing_is_sent_after_pytest_main(pytester: pytest.Pytester) -> None:
    install(pytester)
    pytester.makepyfile(test_app=TESTS)
    ended = main("", after="import givenotice; print(givenotice.push(at='after'), givenotice.flush())")
    assert ended.status == 0 and ended.out.endswith("False True\n")


@both
def test_nothing_is_sent_when_conftest_py_pushes_at_its_import(
    pytester: pytest.Pytester, runner: str
) -> None:
    install(pytester)
    pytester.makeconftest("import app")
    pytester.makepyfile(test_app=TESTS)
    passing(pytester, runner)


def test_without_the_plugin_the_same_tests_reach_the_server(
    pytester: pytest.Pytester, reached: HTTPServer
) -> None:
    install(pytester)
    pytester.makepyfile(test_app=TESTS)
    result = pytester.runpytest_subprocess("-p", "no:givenotice", "-p", "no:asyncio")
    result.assert_outcomes(passed=1, errors=2)
    result.stdout.fnmatch_lines(["*fixture 'notices' not found*"])
    paths = ["/?at=import", "/?at=session", "/?at=end", "/?at=exit", "/?e_c=user&e_a=signup&e_n=bob"]
    assert sorted(arrived(reached)) == sorted(paths)


def test_without_the_plugin_processes_of_tests_reach_the_server(
    pytester: pytest.Pytester, reached: HTTPServer
) -> None:
    pytester.makepyfile(test_processes=PROCESSES)
    pytester.runpytest_subprocess("-p", "no:givenotice", "-k", "program")
    assert arrived(reached) == ["/?at=program"]


# Copies beside each other


@both
@pytest.mark.parametrize("early", [True, False])
@pytest.mark.parametrize("plugin", ["givenotice", "myapp.givenotice"])
def test_the_fixture_is_that_of_one_copy_and_the_other_sends_nothing(
    pytester: pytest.Pytester, runner: str, plugin: str, early: bool
) -> None:
    vendor(pytester)
    other = {"givenotice": "myapp.givenotice", "myapp.givenotice": "givenotice"}[plugin]
    pytester.makepyfile(
        early=f"import {other}",
        test_copies=f"""
        import {plugin} as ours, {other} as other

        def test_recorded(notices):
            assert ours.push("https://hc.example/ping", n=1) is True
            assert other.push("https://hc.example/ping", n=2) is False
            assert notices == ["https://hc.example/ping?n=1"]

        def test_silent():
            assert other.push("nonsense") is False
            assert other.flush()
            assert other.stats().dropped == other.stats().pushed > 0
        """,
    )
    passing(pytester, runner, *["-p", "early"] * early, "-p", plugin, passed=2)


@both
@pytest.mark.parametrize("first", [True, False])
def test_of_two_plugins_the_vendored_one_has_the_fixture(
    pytester: pytest.Pytester, runner: str, first: bool
) -> None:
    vendor(pytester)
    pytester.makepyfile(
        """
        import app, givenotice, myapp.givenotice, pytest

        def test_recorded(notices):
            app.sign_up("ada")
            givenotice.push(e_n="bob")
            assert type(notices) is myapp.givenotice.Recorder
            assert notices.assert_one().params["e_n"] == "ada"

        @pytest.mark.parametrize("module", [givenotice, myapp.givenotice])
        def test_loud(module):
            with pytest.raises(ValueError, match="absolute"):
                module.push("nonsense")
        """
    )
    plugins = ["myapp.givenotice", "givenotice"]
    options = [word for plugin in plugins[:: 1 if first else -1] for word in ("-p", plugin)]
    passing(pytester, runner, *options)


def test_a_copy_that_a_test_imports_first_sends_nothing(pytester: pytest.Pytester) -> None:
    vendor(pytester)
    pytester.makepyfile(
        """
        def test(notices):
            import app

            assert app.sign_up("ada") is False
        """
    )
    passing(pytester, OUTSIDE, "-p", "givenotice", passed=1)


# What the fixture has


@both
def test_the_order_of_fixtures_does_not_matter(pytester: pytest.Pytester, runner: str) -> None:
    pytester.makepyfile(
        """
        import app, givenotice, pytest

        @pytest.fixture(scope="session", autouse=True)
        def session():
            app.push(at="session")

        @pytest.fixture(scope="module", autouse=True)
        def module():
            app.push(at="module")
            with givenotice.recording() as notices:
                yield notices

        @pytest.fixture(autouse=True)
        def always():
            app.push(at="always")
            yield
            app.push(at="end")

        @pytest.fixture
        def named():
            app.push(at="named")

        def test_first(named, notices):
            assert [notice.params["at"] for notice in notices] == ["always", "named"]

        def test_last(notices, named):
            assert [notice.params["at"] for notice in notices] == ["always", "named"]

        def test_without(named, module):
            assert [notice.params["at"] for notice in module] == ["always", "named"]

        def test_by_name(request, named):
            assert request.getfixturevalue("notices") == []
            app.push(at="test")
            assert request.getfixturevalue("notices") == ["?at=test"]

        class TestMethods:
            def setup_method(self):
                app.push(at="setup")

            def test(self, notices):
                assert [notice.params["at"] for notice in notices] == ["always", "setup"]
        """
    )
    passing(pytester, runner, "-p", "givenotice", passed=5)


def test_a_fixture_of_the_same_name_may_use_it(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import app, pytest

        @pytest.fixture
        def signed_up():
            app.sign_up("ada")

        @pytest.fixture
        def notices(signed_up, notices):
            yield notices
            assert len(notices) == 2

        def test(notices):
            app.sign_up("bob")
        """
    )
    passing(pytester, OUTSIDE, "-p", "givenotice", passed=1)


def test_what_nobody_can_read_is_not_kept(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import app, tracemalloc

        def test_without_the_fixture():
            app.push(n=1)
            tracemalloc.start()
            for number in range(20_000):
                assert app.push(n=number)
            assert tracemalloc.get_traced_memory()[0] < 200_000
            tracemalloc.stop()
        """
    )
    passing(pytester, OUTSIDE, "-p", "givenotice", passed=1)


# Each kind of test


@both
def test_the_fixture_has_a_docstring(pytester: pytest.Pytester, runner: str) -> None:
    result = getattr(pytester, runner)("-p", "givenotice", "--fixtures")
    lines = [line for line in result.outlines if line.strip()]
    at = next(number for number, line in enumerate(lines) if line.startswith("notices"))
    assert "nothing is sent" in lines[at + 1]


def test_four_xdist_workers_record_each_their_own(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        test_xdist="""
        import app, pytest

        @pytest.mark.parametrize("n", range(12))
        def test(n, notices):
            app.push(n=n)
            assert [notice.params for notice in notices] == [{"n": str(n)}]
        """
    )
    passing(pytester, OUTSIDE, "-p", "givenotice", "-p", "xdist.plugin", "-n", "4", passed=12)


@both
def test_unittest_classes(pytester: pytest.Pytester, runner: str) -> None:
    pytester.makepyfile(
        test_classes="""
        import app, pytest, unittest
        from givenotice import recording

        class WithRecording(unittest.TestCase):
            def test_signup(self):
                with recording() as notices:
                    app.sign_up("ada")
                self.assertEqual(notices.assert_one().params["e_n"], "ada")
                app.sign_up("bob")
                self.assertEqual(len(notices), 1)

        class WithFixture(unittest.TestCase):
            @pytest.fixture(autouse=True)
            def take(self, notices):
                self.notices = notices

            def test_signup(self):
                app.sign_up("ada")
                self.notices.assert_one(e_n="ada")

        class TestOfPytest:
            def test_signup(self, notices):
                app.sign_up("ada")
                notices.assert_one(e_n="ada")
        """
    )
    passing(pytester, runner, "-p", "givenotice")


@pytest.mark.parametrize(
    ("mark", "options"),
    [
        ("asyncio", ("-p", "pytest_asyncio.plugin", "-o", "asyncio_default_fixture_loop_scope=function")),
        ("anyio", ("-p", "anyio.pytest_plugin")),
    ],
)
def test_async_tests(pytester: pytest.Pytester, mark: str, options: tuple[str, ...]) -> None:
    pytester.makepyfile(
        f"""
        import app, asyncio, pytest

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.{mark}
        async def test_signup(notices):
            async def sign_up(name):
                await asyncio.sleep(0)
                app.sign_up(name)

            await asyncio.gather(sign_up("ada"), sign_up("bob"))
            await asyncio.get_running_loop().run_in_executor(None, app.sign_up, "cyd")
            assert [notice.params["e_n"] for notice in notices] == ["ada", "bob", "cyd"]
        """
    )
    passing(pytester, OUTSIDE, "-p", "givenotice", *options, passed=1)


@both
def test_threads_that_push(pytester: pytest.Pytester, runner: str) -> None:
    pytester.makepyfile(
        """
        import app, sys, threading

        def test_threads(notices):
            before = len(sys._current_frames())
            threads = [threading.Thread(target=lambda: [app.push(n=n) for n in range(200)]) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert len(notices) == 1_600
            assert len(notices.matching(n=7)) == 8
            assert len(sys._current_frames()) <= before  # nor did a worker start
        """
    )
    passing(pytester, runner, "-p", "givenotice", passed=1)


PROCESSES = """
    import multiprocessing, os, subprocess, sys
    import givenotice, pytest

    def child():
        givenotice.push(at="child")
        givenotice.flush()

    @pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
    def test_multiprocessing(method, notices):
        process = multiprocessing.get_context(method).Process(target=child)
        process.start()
        process.join()
        assert process.exitcode == 0
        assert notices == []

    @pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
    def test_fork(notices):
        pid = os.fork()
        if not pid:
            child()
            os._exit(len(notices))
        assert os.waitpid(pid, 0)[1] >> 8 == 1  # it records for itself
        assert notices == []

    def test_program():
        program = "import givenotice; print(givenotice.push(at='program'), givenotice.stats().dropped)"
        done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        assert done.stdout == "False 1\\n"
"""


def test_processes_that_tests_start_send_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_processes=PROCESSES)
    passing(pytester, OUTSIDE, "-p", "givenotice", passed=2 + len(get_all_start_methods()))


def test_a_module_that_a_test_removes_records_in_the_next(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import app, sys

        def test_removes():
            del sys.modules["givenotice"]

        def test_next(notices):
            app.sign_up("ada")
            notices.assert_one(e_n="ada")
        """
    )
    passing(pytester, OUTSIDE, "-p", "givenotice", passed=2)


def test_the_tests_of_a_switched_off_environment_record(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIVENOTICE_DISABLED", "1")
    pytester.makepyfile(test_app=TESTS)
    passing(pytester, OUTSIDE, "-p", "givenotice")


@both
def test_what_is_malformed_raises_at_the_push(pytester: pytest.Pytester, runner: str) -> None:
    pytester.makepyfile(
        """
        import givenotice, pytest

        @pytest.mark.parametrize("fixture", ["notices", "tmp_path"])
        def test_loud(fixture, request):
            request.getfixturevalue(fixture)
            with pytest.raises(ValueError, match="absolute"):
                givenotice.push("hc.example/ping")
            with pytest.raises(TypeError, match="'a'"):
                givenotice.push(a={})
        """
    )
    passing(pytester, runner, "-p", "givenotice", passed=2)


@both
@pytest.mark.parametrize("setting", [True, False])
def test_tests_see_no_setting_but_their_own(
    pytester: pytest.Pytester, runner: str, setting: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not setting:
        monkeypatch.delenv("GIVENOTICE_URI")
    pytester.makepyfile(
        """
        import app

        def test_recorded(notices):
            assert app.sign_up("ada") is True
            assert notices == ["?e_c=user&e_a=signup&e_n=ada"]

        def test_neither_uri_nor_parameters(notices):
            assert app.push() is False
            assert notices == []

        def test_their_own(notices, monkeypatch):
            monkeypatch.setenv("GIVENOTICE_URI", "https://hc.example/ping")
            assert app.push(a=1) is True
            assert notices == ["https://hc.example/ping?a=1"]
        """
    )
    before = os.environ.get("GIVENOTICE_URI")
    passing(pytester, runner, "-p", "givenotice")
    assert os.environ.get("GIVENOTICE_URI") == before


# What it leaves behind


@pytest.mark.parametrize("before", [None, "", "0", "1"])
def test_the_environment_is_as_before(
    pytester: pytest.Pytester, before: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if before is not None:
        monkeypatch.setenv("GIVENOTICE_DISABLED", before)
    vendor(pytester, app=False)
    pytester.makepyfile("import os\ndef test(): assert os.environ['GIVENOTICE_DISABLED'] == '1'")
    passing(pytester, INSIDE, "-p", "myapp.givenotice", "-p", "givenotice", passed=1)
    assert os.environ.get("GIVENOTICE_DISABLED") == before


@both
def test_a_test_that_clears_the_environment_does_not_end_the_run(
    pytester: pytest.Pytester, runner: str
) -> None:
    pytester.makepyfile("import os\ndef test(): del os.environ['GIVENOTICE_DISABLED']")
    passing(pytester, runner, "-p", "givenotice", passed=1)


def test_pytest_within_pytest_gives_back_what_it_took(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "givenotice", givenotice)
    monkeypatch.setattr(givenotice, "DISABLED", False)
    monkeypatch.setenv("GIVENOTICE_DISABLED", "1")
    pytester.makepyfile(test_app=TESTS)
    with givenotice.recording() as notices:
        givenotice.push(n=1)
        passing(pytester, INSIDE, "-p", "givenotice")
        givenotice.push(n=2)
    assert [notice.params["n"] for notice in notices] == ["1", "2"]
    assert os.environ["GIVENOTICE_DISABLED"] == "1"


@pytest.mark.filterwarnings("ignore:A plugin raised an exception")  # pytest 7 beside a newer pluggy
@pytest.mark.parametrize("outcome", ["no tests", "usage error", "broken conftest"])
def test_a_run_without_tests_restores_the_environment(pytester: pytest.Pytester, outcome: str) -> None:
    if outcome == "broken conftest":
        pytester.makeconftest("1 / 0")
    result = pytester.runpytest_inprocess("-p", "givenotice", *["--nonsense"] * (outcome == "usage error"))
    assert result.ret in (4, 5)
    assert "GIVENOTICE_DISABLED" not in os.environ


# What a failure looks like

FAILING = """
    import givenotice

    def push_secrets():
        givenotice.push("https://ada:sekret@matomo.example.com/", token_auth="sekret", e_n="ada")
        givenotice.push("https://matomo.example.com/" + "p" * 90, **{"n" * 90: "v" * 90}, e_n="bob")
"""
FAILED = """
    from failing import push_secrets

    class TestSignup:
        def test_signup(self, notices):
            push_secrets()
            notices.assert_one(e_n="cyd", token_auth="t", long="u" * 50)
"""


def shown(pytester: pytest.Pytester, *options: str) -> list[str]:
    pytester.makepyfile(failing=FAILING, test_failed=FAILED)
    result = pytester.runpytest_subprocess("-p", "givenotice", *options)
    result.assert_outcomes(failed=1)
    return result.outlines


def test_a_failure_shows_neither_token_nor_password(pytester: pytest.Pytester) -> None:
    assert "sekret" not in "\n".join(shown(pytester, "-vv", "--showlocals"))


@pytest.mark.parametrize("option", ["--assert=plain", "--assert=rewrite"])
@pytest.mark.parametrize(
    "line",
    [
        "assert notices == ['https://other.example/']",
        "assert not notices[0] < 'z'",
        "assert notices[0].params == {}",
        "assert givenotice.push(notices[0] + chr(10) + 'a')",
        "givenotice.push(notices[0], x={})",
        "givenotice.build_uri(notices[0], x={})",
    ],
)
def test_no_other_failure_shows_them_either(pytester: pytest.Pytester, line: str, option: str) -> None:
    test = f"""
    import givenotice
    from failing import push_secrets

    def test_failed(notices):
        push_secrets()
        {line}
    """
    pytester.makepyfile(failing=FAILING, test_failed=test)
    result = pytester.runpytest_subprocess("-p", "givenotice", "-vv", option)
    result.assert_outcomes(failed=1)
    assert "sekret" not in result.stdout.str()
    assert f">       {line}" in result.outlines
    assert "test_failed.py:6: " in result.stdout.str()


def test_a_failure_message_fits_in_80_columns(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    message = [line for line in shown(pytester) if line.startswith("E ")]
    assert len(message) > 10
    assert max(map(len, message)) <= 80


def test_a_failure_points_to_the_line_of_the_test(pytester: pytest.Pytester) -> None:
    lines = shown(pytester)
    assert '>       notices.assert_one(e_n="cyd", token_auth="t", long="u" * 50)' in lines
    assert "test_failed.py:6: AssertionError" in lines


@pytest.mark.parametrize("option", ["--assert=plain", "--assert=rewrite"])
def test_a_failure_reads_the_same_in_each_pytest(pytester: pytest.Pytester, option: str) -> None:
    message = """
    AssertionError: None of 2 notices match; expected one with
        e_n = 'cyd'
        token_auth = ***
        long = 'uuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuuu'
    Pushed, nearest first; ! marks what differs:
      https://***@matomo.example.com/
      ! e_n = 'ada'
      ! token_auth = ***
      ! long = (absent)
      https://matomo.example.com/pppp...pppppppppppppppppppppppppppppppp
      ! e_n = 'bob'
      ! token_auth = (absent)
      ! long = (absent)
        nnnnnnnnnn...nnnnnnnnnnn = 'vvvvvvvvvvvvvvv...vvvvvvvvvvvvvvvv'
    """
    lines = [line for line in shown(pytester, option) if line.startswith("E ")]
    assert lines == [f"E       {line}" for line in dedent(message).strip().splitlines()]
