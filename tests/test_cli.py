"""The command line: real processes that send to real servers."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import servers
from programs import HOME, Ended, execute

import givenotice

MODULE = [sys.executable, "-m", "givenotice"]
SCRIPT = shutil.which("givenotice", path=str(Path(sys.executable).parent))
WAYS = {
    "module": MODULE,
    "file": [sys.executable, str(HOME / "givenotice.py")],
    "script": [SCRIPT]
    if SCRIPT
    else [sys.executable, "-c", "import sys, givenotice; sys.exit(givenotice.main())"],
}
SECRET = "c0ffee5ec2e7"


@pytest.fixture
def origin() -> Iterator[servers.Origin]:
    with servers.answering() as found:
        yield found


@pytest.fixture
def missing() -> Iterator[str]:
    """The base of a server that answers 404."""
    answer = servers.answered(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    with servers.answering(answer) as found:
        yield found.base


def cli(*arguments: str, **settings: str) -> Ended:
    return execute([*MODULE, *arguments], **settings)


def quiet(ended: Ended) -> bool:
    return (ended.status, ended.out, ended.err) == (0, "", "")


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_start_it_sends_the_notice(way: str, origin: servers.Origin) -> None:
    assert quiet(execute([*WAYS[way], f"{origin.base}/ping", "a=1"]))
    assert origin.targets == ["/ping?a=1"]


@pytest.mark.parametrize("way", WAYS)
def test_each_way_to_start_it_tells_the_version(way: str) -> None:
    for option in "-V", "--version":
        ended = execute([*WAYS[way], option])
        assert (ended.status, ended.out, ended.err) == (0, f"givenotice {givenotice.__version__}\n", "")


@pytest.mark.parametrize(
    ("arguments", "targets"),
    [
        (["{}/a"], ["/a"]),
        (["{}/a", "x=1", "y=2"], ["/a?x=1&y=2"]),
        (["x=1", "{}/a", "y=2"], ["/a?x=1&y=2"]),
        (["x=1", "y=2", "{}/a"], ["/a?x=1&y=2"]),
        (["x=1", "-t", "20", "{}/a", "-f", "y=2"], ["/a?x=1&y=2"]),
        (["{}/a", "x=1", "x=2"], ["/a?x=1&x=2"]),
        (["{}/a?x=0&y=2", "x=1"], ["/a?x=1&y=2"]),
        (["{}/a", "x="], ["/a?x="]),
        (["{}/a", "x=1=2"], ["/a?x=1%3D2"]),
        (["{}/a", "x=å ß"], ["/a?x=%C3%A5%20%C3%9F"]),
        (["{}/a", "url=http://b.example/?c=d"], ["/a?url=http%3A%2F%2Fb.example%2F%3Fc%3Dd"]),
        (["{}/a", "x=1", "{}/b"], ["/a?x=1", "/b?x=1"]),
    ],
    ids=lambda value: " ".join(value),
)
def test_uris_and_parameters_come_in_any_order(
    arguments: list[str], targets: list[str], origin: servers.Origin
) -> None:
    assert quiet(cli(*[argument.format(origin.base) for argument in arguments]))
    assert sorted(origin.targets) == targets


def test_the_scheme_of_a_uri_may_be_in_capitals(origin: servers.Origin) -> None:
    assert quiet(cli(origin.base.replace("http", "HTTP") + "/a"))
    assert origin.targets == ["/a"]


def test_without_a_uri_parameters_are_set_on_the_one_of_the_environment(origin: servers.Origin) -> None:
    assert quiet(cli("a=1", GIVENOTICE_URI=f"{origin.base}/x?b=2"))
    assert origin.targets == ["/x?b=2&a=1"]


def test_without_arguments_the_uri_of_the_environment_is_sent(origin: servers.Origin) -> None:
    assert quiet(cli(GIVENOTICE_URI=f"{origin.base}/x"))
    assert origin.targets == ["/x"]


def test_a_uri_takes_the_place_of_the_one_in_the_environment(origin: servers.Origin) -> None:
    assert quiet(cli(f"{origin.base}/mine", GIVENOTICE_URI=f"{origin.base}/other"))
    assert origin.targets == ["/mine"]


def test_disabled_sends_nothing_and_succeeds(origin: servers.Origin) -> None:
    assert quiet(cli(f"{origin.base}/a", GIVENOTICE_DISABLED="1"))
    assert origin.connections == 0


def test_disabled_fails_where_delivery_was_demanded(origin: servers.Origin) -> None:
    assert cli("-f", f"{origin.base}/a", GIVENOTICE_DISABLED="1").status == 1


@pytest.mark.parametrize("options", [[], ["-f"]])
def test_a_refused_notice_fails_only_if_asked_to(options: list[str]) -> None:
    with servers.refusing() as base:
        ended = cli(*options, f"{base}/a")
    assert (ended.status, ended.out, ended.err) == (len(options), "", "")


@pytest.mark.parametrize("options", [[], ["--fail"]])
def test_an_answer_of_404_fails_only_if_asked_to(options: list[str], missing: str) -> None:
    ended = cli(*options, f"{missing}/a")
    assert (ended.status, ended.out, ended.err) == (len(options), "", "")


def test_one_failure_among_several_fails_the_run(origin: servers.Origin, missing: str) -> None:
    assert cli("-f", f"{origin.base}/a", f"{missing}/b").status == 1
    assert origin.targets == ["/a"]


def test_delivery_that_was_demanded_succeeds(origin: servers.Origin) -> None:
    assert quiet(cli("-f", f"{origin.base}/a"))


@pytest.mark.parametrize("count", [1, 300])
def test_the_timeout_bounds_the_whole_run(count: int) -> None:
    with servers.silent() as base:
        ended = cli("-f", "-t", "0.5", *[f"{base}/{number}" for number in range(count)])
    assert (ended.status, ended.out, ended.err) == (1, "", "")
    assert 0.5 < ended.seconds < 4.5  # less than one default timeout; the rest is for a noisy machine


def test_a_timeout_of_zero_tries_nothing(origin: servers.Origin) -> None:
    assert cli("-f", "-t", "0", f"{origin.base}/a").status == 1


def test_verbose_writes_a_line_for_each_notice(origin: servers.Origin) -> None:
    ended = cli("-v", f"{origin.base}/a/b?token_auth={SECRET}", f"x={SECRET}")
    assert (ended.status, ended.out) == (0, "")
    assert re.fullmatch(re.escape(f"{origin.base}: delivered (204, ") + r"\d+ ms\)\n", ended.err)


def test_verbose_writes_no_userinfo(origin: servers.Origin) -> None:
    ended = cli("-v", origin.base.replace("//", f"//ada:{SECRET}@") + "/a")
    assert origin.heard[0].headers["authorization"].startswith("Basic ")
    assert re.fullmatch(re.escape(f"{origin.base}: delivered (204, ") + r"\d+ ms\)\n", ended.err)


def test_verbose_writes_the_status_of_a_failure(missing: str) -> None:
    assert cli("-v", f"{missing}/a").err == f"{missing}: not delivered (404)\n"


def test_verbose_writes_the_reason_of_a_refusal() -> None:
    with servers.refusing() as base:
        ended = cli("--verbose", f"{base}/a", f"token_auth={SECRET}")
    assert ended.status == 0
    assert ended.err == f"{base}: not delivered (Connection refused)\n"


def test_verbose_says_that_a_notice_timed_out() -> None:
    with servers.silent() as base:
        ended = cli("-v", "-t", "0.3", f"{base}/a")
    assert ended.err == f"{base}: not delivered (timed out)\n"


def test_verbose_writes_a_line_for_what_was_cut_and_what_was_never_tried() -> None:
    with servers.silent() as base:
        ended = cli("-v", "-t", "0.5", *[f"{base}/{number}" for number in range(150)])
    lines = ended.err.splitlines()
    assert len(lines) == 150
    assert all(re.fullmatch(r"http://[\d.:]+: (not delivered|dropped) \([a-z ]+\)", line) for line in lines)


def test_verbose_writes_a_line_for_what_is_disabled(origin: servers.Origin) -> None:
    ended = cli("-v", f"{origin.base}/a", GIVENOTICE_DISABLED="1")
    assert re.fullmatch(r".+: dropped \(.*disabled\)\n", ended.err)


def test_quiet_writes_nothing(missing: str) -> None:
    for option in "-q", "--quiet":
        assert cli("-v", option, f"{missing}/a").err == ""
        assert quiet(cli(option))


@pytest.mark.parametrize(
    ("arguments", "shown"),
    [
        (["http://127.0.0.1/a?x=1", "y=2"], "http://127.0.0.1/a?x=1&y=2"),
        (["http://127.0.0.1/a", f"token_auth={SECRET}", "y=2"], "http://127.0.0.1/a?token_auth=***&y=2"),
        ([f"http://127.0.0.1/a?token%5fauth={SECRET}"], "http://127.0.0.1/a?token%5fauth=***"),
        ([f"http://127.0.0.1/a?%74oken_auth={SECRET}"], "http://127.0.0.1/a?%74oken_auth=***"),
        ([f"http://ada:{SECRET}@127.0.0.1/a"], "http://***@127.0.0.1/a"),
    ],
)
def test_a_dry_run_prints_the_uri_without_its_secrets(arguments: list[str], shown: str) -> None:
    for option in "-n", "--dry-run":
        ended = cli(option, *arguments)
        assert (ended.status, ended.out, ended.err) == (0, f"{shown}\n", "")


def test_a_dry_run_masks_each_part_of_a_token() -> None:
    ended = cli("-n", "http://a.example/", f"token_auth[]={SECRET}")
    assert ended.out == "http://a.example/?token_auth%5B%5D=***\n"


def test_a_dry_run_masks_secrets_of_the_environment() -> None:
    ended = cli("-n", "x=1", GIVENOTICE_URI=f"https://ada:{SECRET}@a.example/?token_auth={SECRET}")
    assert ended.out == "https://***@a.example/?token_auth=***&x=1\n"


def test_a_dry_run_sends_nothing(origin: servers.Origin) -> None:
    assert cli("-n", f"{origin.base}/a", f"{origin.base}/b").out == f"{origin.base}/a\n{origin.base}/b\n"
    assert origin.connections == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["ping"], "Argument 1 is neither NAME=VALUE nor a URI with http:// or https://."),
        (
            ["hc.example/ping"],
            "Argument 1 is neither NAME=VALUE nor a URI with http:// or https://.",
        ),
        (
            ["htps://a.example/ping?a=1"],
            "Argument 1 is neither NAME=VALUE nor a URI with http:// or https://.",
        ),
        (
            ["http:/a.example?a=1"],
            "Argument 1 is neither NAME=VALUE nor a URI with http:// or https://.",
        ),
        (
            ["a.example?a=1"],
            "Argument 1 is neither NAME=VALUE nor a URI with http:// or https://.",
        ),
        (["-t"], "Option -t requires argument."),
        (["--verbose=x"], "Option --verbose must not have an argument."),
        (["-x", "http://a.example"], "Option -x not recognized."),
        (["-n=5"], "Option -... not recognized."),
        (["--listen", "0", "ping"], "There must be no arguments beside --listen and --demo."),
        (["--demo", "--", "8001"], "There must be no arguments beside --listen and --demo."),
        (["--frob", "http://a.example"], "Option --frob not recognized."),
        (
            ["http://a.example", "--", "-x"],
            "Argument 2 is neither NAME=VALUE nor a URI with http:// or https://.",
        ),
        (["http://"], "The URI has no host, or one that is no valid domain name."),
        (["http://a.example:x/"], "The URI has a port that is no number from 1 to 65535."),
        (["-t", "nan", "http://a.example"], "must be a number of seconds, 0 or more."),
        (["-t", "-1", "http://a.example"], "must be a number of seconds, 0 or more."),
        (["-t", "1e300", "http://a.example"], "must be a number of seconds, 0 or more."),
        (["-t", "soon", "http://a.example"], "must be a number of seconds, 0 or more."),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_usage_is_told_in_a_sentence(arguments: list[str], sentence: str) -> None:
    ended = cli(*arguments)
    assert (ended.status, ended.out) == (2, "")
    assert ended.err.startswith("usage: givenotice ")
    assert "\ngivenotice: error: " in ended.err
    assert ended.err.endswith(f"{sentence}\n")


@pytest.mark.parametrize(
    "arguments",
    [
        [f"http://a.example:x/?token_auth={SECRET}"],
        [f"http://ada:{SECRET}@/"],
        [f"http://a.example/?token_auth={SECRET}", "ping"],
        [f"--token_auth={SECRET}", "http://a.example/"],
        [f"-token_auth={SECRET}", "http://a.example/"],
        [f"htps://a.example/?token_auth={SECRET}"],
        [f"htps://ada:{SECRET}@a.example/"],
        [f"htps://ada:{SECRET}@a.example/?a=b"],
        [f"ada:{SECRET}@a.example"],
        [f"-xhttp://ada:{SECRET}@a.example/"],
        [f"-vxhttp://ada:{SECRET}@a.example/"],
        [f"--verbose=http://ada:{SECRET}@a.example/"],
        [f"--listen=http://ada:{SECRET}@a.example/"],
        [f"--timeout={SECRET}"],
        [SECRET],
        ["http://a.example/", SECRET],
    ],
)
def test_wrong_usage_shows_no_secret(arguments: list[str]) -> None:
    ended = cli(*arguments)
    assert ended.status == 2
    assert "givenotice: error: " in ended.err
    assert SECRET not in ended.err


@pytest.mark.skipif(os.name == "nt", reason="its arguments are no bytes")
@pytest.mark.parametrize(
    ("arguments", "target"),
    [
        (["{}/a", b"x=caf\xe9 %&+"], "/a?x=caf%E9%20%25%26%2B"),
        ([" \t{}/a", "x=1"], "/a?x=1"),
        (["{}/a?x=0#end", b"x=\xff", "y=2", "x=å"], "/a?x=%FF&x=%C3%A5&y=2"),
        ([b"{}/\xe9?x=\xff"], "/%E9?x=%FF"),
    ],
)
def test_bytes_that_are_not_utf_8_are_sent_as_they_are(
    arguments: list[str | bytes], target: str, origin: servers.Origin
) -> None:
    words = [os.fsdecode(word).replace("{}", origin.base) for word in arguments]
    assert quiet(cli("-f", *words, PYTHONUTF8="1"))
    assert quiet(cli("-f", *words[1:], GIVENOTICE_URI=words[0], PYTHONUTF8="1"))
    assert origin.targets == [target] * 2


def test_after_two_dashes_everything_is_an_argument(origin: servers.Origin) -> None:
    assert quiet(cli("-f", "x=1", "--", "-t=2", f"{origin.base}/a", "--listen=3"))
    assert origin.targets == ["/a?x=1&-t=2&--listen=3"]


@pytest.mark.parametrize("arguments", [[], ["a=1"], ["-v"], ["-n", "a=1"]])
@pytest.mark.parametrize(
    ("setting", "fault"),
    [
        (None, "is not set."),
        ("", "is not set."),
        (
            f"hc.example/{SECRET}",
            "is malformed: The URI must be absolute and begin with http:// or https://.",
        ),
        (
            f"http://a.example:x/{SECRET}",
            "is malformed: The URI has a port that is no number from 1 to 65535.",
        ),
    ],
)
def test_a_setting_that_is_missing_or_malformed_ends_no_script(
    arguments: list[str], setting: str | None, fault: str
) -> None:
    settings = {} if setting is None else {"GIVENOTICE_URI": setting}
    ended = cli(*arguments, **settings)
    line = f"givenotice: GIVENOTICE_URI {fault} Nothing is sent.\n"
    assert (ended.status, ended.out, ended.err) == (0, "", line)
    assert cli("-f", *arguments, **settings).status == 1


@pytest.mark.skipif(os.name == "nt", reason="there are no such files")
def test_a_copied_file_is_a_command(tmp_path: Path, origin: servers.Origin) -> None:
    command = tmp_path / "givenotice"
    shutil.copy(HOME / "givenotice.py", command)
    command.chmod(0o755)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    assert quiet(execute(["sh", "-c", f'"{command}" -f {origin.base}/a'], PATH=path))
    assert origin.targets == ["/a"]


def test_a_name_that_is_not_utf_8_is_refused_in_a_sentence(origin: servers.Origin) -> None:
    ended = cli(f"{origin.base}/a", os.fsdecode(b"\xff=x"), PYTHONUTF8="1")
    assert ended.status == 2
    assert "must not contain a lone surrogate" in ended.err


def test_the_c_locale_sends_utf_8(origin: servers.Origin) -> None:
    assert quiet(cli(f"{origin.base}/a", "x=å", LC_ALL="C", PYTHONCOERCECLOCALE="0"))
    assert origin.targets == ["/a?x=%C3%A5"]


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C is another thing there")
def test_ctrl_c_ends_it_quietly_with_130() -> None:
    with servers.gated() as (origin, _gate):
        command = [*MODULE, "-t", "60", f"{origin.base}/a"]
        environment = {**os.environ, "PYTHONPATH": str(HOME)}
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, env=environment, **pipes) as process:  # type: ignore[call-overload]
            assert servers.until(lambda: origin.heard)
            process.send_signal(signal.SIGINT)
            out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err) == (130, b"", b"")


def shell(script: str, **settings: str) -> Ended:
    python = f"{sys.executable} -m givenotice"
    return execute(["bash", "-c", f'set -eu\ngivenotice() {{ {python} "$@"; }}\n{script}'], **settings)


def test_a_script_under_set_e_goes_on_when_nobody_listens() -> None:
    with servers.refusing() as base:
        ended = shell('givenotice "$BASE/a" x=1\necho done', BASE=base)
    assert (ended.status, ended.out, ended.err) == (0, "done\n", "")


def test_a_script_under_set_e_ends_where_delivery_is_demanded() -> None:
    with servers.refusing() as base:
        ended = shell('givenotice -f "$BASE/a"\necho done', BASE=base)
    assert (ended.status, ended.out, ended.err) == (1, "", "")


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_it_sends_where_standard_streams_are_closed(closed: str, origin: servers.Origin) -> None:
    ended = shell(f'givenotice -v "$BASE/a" {closed}', BASE=origin.base)
    assert (ended.status, ended.out) == (0, "")
    assert "Error" not in ended.err
    assert origin.targets == ["/a"]


@pytest.mark.parametrize("option", ["-n", "--version", "--help"])
def test_a_closed_stdout_is_no_error(option: str) -> None:
    ended = shell(f"givenotice {option} http://127.0.0.1/ >&-")
    assert (ended.status, ended.out) == (0, "")
    assert "Error" not in ended.err


@pytest.mark.parametrize("arguments", ["ping", "-t", "-vx", "--verbose=x", "--no-such-option"])
def test_wrong_usage_without_stderr_is_still_an_error(arguments: str) -> None:
    ended = shell(f"givenotice {arguments} 2>&-")
    assert (ended.status, ended.out) == (2, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_wrong_usage_with_a_full_stderr_is_still_an_error(unbuffered: str) -> None:
    ended = shell("givenotice ping 2>/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert (ended.status, ended.out) == (2, "")


PRINTING = ["-n http://127.0.0.1/", "--version", "--help", "--demo"]


@pytest.mark.parametrize("arguments", PRINTING)
def test_it_ends_quietly_when_nobody_reads_on(arguments: str) -> None:
    # PIPESTATUS is of the command, not of the reader.
    ended = shell(f"set +e; givenotice {arguments} | true; exit ${{PIPESTATUS[0]}}", PYTHONUNBUFFERED="")
    assert ended.status in (0, 1)  # 0 if it wrote before the reader had left
    assert (ended.out, ended.err) == ("", "")


@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    # argparse, which prints two of them, ignores an error that it sees itself
    [*((arguments, "") for arguments in PRINTING), (PRINTING[0], "1"), (PRINTING[-1], "1")],
)
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_what_cannot_be_printed_is_told_in_a_sentence(arguments: str, unbuffered: str) -> None:
    ended = shell(f"givenotice {arguments} >/dev/full", PYTHONUNBUFFERED=unbuffered)
    assert ended.status == 1
    assert ended.err == "givenotice: error: Cannot write: No space left on device.\n"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_full_stderr_keeps_nothing_from_being_sent(unbuffered: str, origin: servers.Origin) -> None:
    ended = shell('givenotice -v "$BASE/a" 2>/dev/full', BASE=origin.base, PYTHONUNBUFFERED=unbuffered)
    assert (ended.status, ended.out) == (0, "")
    assert origin.targets == ["/a"]


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_the_help_fits_a_terminal_and_names_all_there_is(option: str) -> None:
    ended = cli(option)
    assert (ended.status, ended.err) == (0, "")
    assert max(map(len, ended.out.splitlines())) < 80
    source = (HOME / "givenotice.py").read_text(encoding="utf-8")
    assert set(re.findall(r"GIVENOTICE_[A-Z_]+", source)) == set(re.findall(r"GIVENOTICE_[A-Z_]+", ended.out))
    assert all(f"\n  {status} " in ended.out for status in (0, 1, 2, 130))
    assert f"(default: {givenotice.TIMEOUT:g})" in ended.out
    assert f"(default: {givenotice.BACKLOG:,})" in ended.out
    assert "(default: 127.0.0.1:8000)" in ended.out


def test_main_gives_its_exit_status(origin: servers.Origin) -> None:
    program = f"import givenotice; raise SystemExit(givenotice.main(['{origin.base}/a']) + 7)"
    assert execute([sys.executable, "-c", program]).status == 7
