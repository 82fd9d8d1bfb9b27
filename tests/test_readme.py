"""The blocks of README.md are run against servers on loopback; its figures are those of the reports."""

from __future__ import annotations

import ast
import doctest
import os
import re
import runpy
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import servers
from programs import HOME, TREE, Ended, commands, execute
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

README = (TREE / "README.md").read_text(encoding="utf-8")
LANGUAGES = "pycon", "python", "sh", "toml"
LOOPBACK = ("https://hc.example", "https://matomo.example.com")  # stand for the server on loopback
WALK = (
    "python3 -m venv ~",
    "cat > ",
    "givenotice --listen",
    "echo ",
)  # how the blocks of the quick start begin
NOT_RUN = ("$(command -v sudo) apt-get ",)  # install packages, and run these tests
SERVICES = {  # addresses that exist
    "api.telegram.org",
    "cronitor.link",
    "developer.matomo.org",
    "hc-ping.com",
    "maker.ifttt.com",
    "nosnch.in",
    "ntfy.sh",
    "uptime.betterstack.com",
}


class Block(NamedTuple):
    heading: str
    language: str
    text: str


def read_blocks() -> list[Block]:
    parsers = [CodeBlockParser(language, lambda _: None) for language in LANGUAGES]
    document = Document.parse(str(TREE / "README.md"), *parsers)
    blocks, heading, end = [], "", 0
    for region in (example.region for example in document.examples()):
        heading = re.findall(r"^#+ (.+)$", f"# {heading}\n{README[end : region.start]}", re.M)[-1]
        blocks.append(Block(heading, region.lexemes["arguments"], str(region.parsed)))
        end = region.end
    return blocks


def read_files() -> dict[str, str]:
    """The reader's files: those that a shell block writes, and the blocks with a name in the first line."""
    files: dict[str, str] = {}
    for block in BLOCKS:
        files.update(re.findall(r"^cat > (\S+) <<'END'\n(.*?)^END$", block.text, re.M | re.S))
        files.update((name, block.text) for name in re.findall(r"\A# (\w+\.py)\n", block.text))
    return files


BLOCKS = read_blocks()
FILES = read_files()
PROGRAMS = [block for block in BLOCKS if block.language == "python" and block.text not in FILES.values()]
SCRIPTS = [
    block for block in BLOCKS if block.language == "sh" and not block.text.startswith((*WALK, *NOT_RUN))
]


@pytest.fixture
def origin() -> Iterator[servers.Origin]:
    with servers.answering() as found:
        yield found


@pytest.fixture
def project(tmp_path: Path, origin: servers.Origin) -> Path:
    """The reader's folder: the files of README.md, givenotice.py, and commands in reach."""
    for name, text in FILES.items():
        (tmp_path / name).write_text(on_loopback(text, origin), encoding="utf-8")
    # No copy: coverage would count it as a file of its own.
    (tmp_path / "givenotice.py").symlink_to(HOME / "givenotice.py")
    commands(tmp_path / "bin")
    return tmp_path


def on_loopback(text: str, origin: servers.Origin) -> str:
    for host in LOOPBACK:
        text = text.replace(host, origin.base)
    return text


def in_project(project: Path, origin: servers.Origin, *command: str) -> Ended:
    script = 'cd "$0" && PATH="$0/bin:$PATH" && "$@"'
    return execute(
        ["bash", "-c", script, str(project), *command],
        GIVENOTICE_URI=f"{origin.base}/default",
        GIVENOTICE_EXIT_TIMEOUT="20",  # for machines with more to do than cores
        PYTEST_DISABLE_PLUGIN_AUTOLOAD="1",
    )


def ids(block: Block) -> str:
    return f"{block.heading}: {block.text.splitlines()[0]}"


def test_the_readme_has_at_most_350_lines() -> None:
    assert README.count("\n") <= 350


def test_each_block_is_of_a_language_that_is_checked_here() -> None:
    assert {block.language for block in BLOCKS} == set(LANGUAGES)
    assert 2 * len(BLOCKS) == len(re.findall("^```", README, re.M))


@pytest.mark.parametrize("begin", [*WALK, *NOT_RUN])
def test_each_block_that_is_not_run_by_itself_is_still_in_the_readme(begin: str) -> None:
    assert [block for block in BLOCKS if block.language == "sh" and block.text.startswith(begin)]


def test_each_host_that_loopback_stands_for_is_still_in_the_readme() -> None:
    assert all(host in README for host in LOOPBACK)


@pytest.mark.parametrize("block", PROGRAMS, ids=ids)
def test_a_program_sends_its_notices_and_prints_nothing(
    block: Block, project: Path, origin: servers.Origin
) -> None:
    (project / "program.py").write_text(on_loopback(block.text, origin), encoding="utf-8")
    ended = in_project(project, origin, "python3", "program.py")
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert len(origin.heard) == len(re.findall(r"^ *givenotice\.push\(", block.text, re.M)) > 0


@pytest.mark.parametrize("block", SCRIPTS, ids=ids)
def test_a_shell_block_succeeds(block: Block, project: Path, origin: servers.Origin) -> None:
    ended = in_project(project, origin, "bash", "-euc", on_loopback(block.text, origin))
    assert ended.status == 0, ended.err
    assert "Traceback" not in ended.err
    assert len(origin.heard) == len(re.findall(r"^givenotice (?!-n)", block.text, re.M))


def walk(port: int) -> str:
    """What a new user pastes, from the installation to the line for cron, which is then run as cron does."""
    *blocks, cron = [b.text for b in BLOCKS if b.language == "sh" and b.text.startswith(WALK)]
    script = "".join(blocks)
    # The package index is out of reach: pytest and the build backend are those of this environment.
    script = script.replace("pip install .", "pip install --no-index --no-build-isolation .")
    script = script.replace(
        "& sleep 1\n", ">received & trap 'kill %1' EXIT; until [ -s received ]; do sleep 0.1; done\n"
    )
    script += f'line=$(\n{cron})\nenv -i PATH=/usr/bin:/bin sh -c "${{line#* * * * * }}"\ncat received\n'
    return script.replace("8000", str(port))


@pytest.mark.skipif(sys.platform == "win32", reason="an environment has other folders there")
def test_what_a_new_user_pastes_shows_an_event_its_test_and_the_notice_of_a_cron_job(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIVENOTICE_")}
    environment.update(
        HOME=str(tmp_path),
        PATH=commands(tmp_path / "bin"),
        PYTHONPATH=sysconfig.get_path("purelib"),
        PYTEST_ADDOPTS="-p no:asyncio",
        GIVENOTICE_EXIT_TIMEOUT="20",
    )
    ended = subprocess.run(
        ["bash", "-euc", walk(port)],
        cwd=TREE,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,  # seconds: pip alone takes ten on a busy machine
        encoding="utf-8",
    )
    assert ended.returncode == 0, ended.stdout
    assert re.search(r"\b1 passed in", ended.stdout)
    received = ended.stdout.partition(" passed in ")[2]
    assert re.findall(r"\be_[can]\s+(\w+)", received) == ["user", "signup", "ada", "cron", "backup"]
    assert "GET /ping/9f2c" in received


@pytest.mark.skipif(sys.platform == "win32", reason="a file is no command there")
def test_the_copied_file_is_a_command(tmp_path: Path) -> None:
    (command,) = re.findall(r"`(install -m 755 .+?)`", README)
    command = command.replace("givenotice.py", str(HOME / "givenotice.py")).replace("/usr/local/bin", "$0")
    script = f'{command}; export PATH="$0:/usr/bin:/bin"; givenotice --version'
    ended = execute(["bash", "-euc", script, str(tmp_path)])
    assert (ended.status, ended.err) == (0, "")
    assert ended.out.startswith("givenotice ")


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "pycon"], ids=ids)
def test_a_session_shows_what_python_answers(block: Block) -> None:
    examples = doctest.DocTestParser().get_doctest(block.text, {}, block.heading, "README.md", 0)
    results = doctest.DocTestRunner(verbose=False).run(examples)
    assert results.attempted > 1
    assert results.failed == 0


def test_the_setting_for_mypy_is_valid() -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.11 and later have it")
    (text,) = (block.text for block in BLOCKS if block.language == "toml")
    override = {"module": "givenotice", "follow_untyped_imports": True}
    assert tomllib.loads(text) == {"tool": {"mypy": {"overrides": [override]}}}


@pytest.mark.parametrize("name", [name for name in FILES if name.startswith("test_")])
def test_a_test_passes_and_sends_nothing(name: str, project: Path, origin: servers.Origin) -> None:
    ended = in_project(project, origin, "python3", "-m", "pytest", "-p", "givenotice", name)
    assert ended.status == 0, ended.out + ended.err
    assert re.search(r"\b1 passed in", ended.out)
    assert origin.connections == 0


def test_a_vendored_copy_records(project: Path, origin: servers.Origin) -> None:
    package = project / "myapp"
    package.mkdir()
    (project / "givenotice.py").rename(package / "givenotice.py")
    (line,) = re.findall(r"`(pytest_plugins = .*)`", README)
    (project / "conftest.py").write_text(line)
    (project / "test_vendored.py").write_text(
        "from myapp import givenotice\n\n"
        "def test_the_vendored_copy_records(notices):\n"
        f"    givenotice.push('{origin.base}/ping')\n"
        "    assert len(notices) == 1\n"
    )
    ended = in_project(project, origin, "python3", "-m", "pytest", "test_vendored.py")
    assert re.search(r"\b1 passed in", ended.out), ended.out + ended.err
    assert origin.connections == 0


def test_the_plugin_off_sends_for_real(project: Path, origin: servers.Origin) -> None:
    assert "`pytest -p no:givenotice`" in README
    (project / "test_real.py").write_text("from app import sign_up\ndef test_it(): sign_up('ada')\n")
    ended = in_project(project, origin, "python3", "-m", "pytest", "-p", "no:givenotice", "test_real.py")
    assert ended.status == 0, ended.out
    assert origin.targets == ["/default?e_c=user&e_a=signup&e_n=ada"]


def test_copies_of_different_versions_send_side_by_side(project: Path, origin: servers.Origin) -> None:
    text = (HOME / "givenotice.py").read_text("utf-8")
    (current,) = re.findall(r'(?m)^__version__ = "(.+)"', text)
    (project / "myapp").mkdir()
    (project / "myapp" / "givenotice.py").write_text(text.replace(f'"{current}"', '"0.1"'), encoding="utf-8")
    program = "import givenotice; from myapp import givenotice as own; givenotice.push(a=1); own.push(a=2)"
    ended = in_project(project, origin, "python3", "-c", program)
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    sent = {heard.target: heard.headers["user-agent"] for heard in origin.heard}
    assert sent == {"/default?a=1": f"givenotice/{current}", "/default?a=2": "givenotice/0.1"}


def test_the_table_of_settings_has_the_defaults() -> None:
    table = re.findall(r"^\| `GIVENOTICE_(\w+)` \| *(\w*) *\|", README, re.M)
    constants = {name: float(value) for name, value in table if value}
    program = f"import givenotice; print({{name: getattr(givenotice, name) for name in {list(constants)}}})"
    assert ast.literal_eval(execute([sys.executable, "-c", program]).out) == constants
    assert [name for name, value in table if not value] == ["URI", "DISABLED"]


@pytest.mark.parametrize("option", ["-t", "-v", "-f", "-n", "-q", "-V", "--listen", "--demo"])
def test_each_option_that_the_readme_names_is_in_the_help(option: str) -> None:
    assert re.search(rf"(?<![\w-]){option}\b", README)
    shown = execute([sys.executable, str(HOME / "givenotice.py"), "--help"]).out
    assert re.search(rf"(?m)^  (-\w, )?{option}\b", shown)


def cells(text: str) -> list[list[str]]:
    """The rows of all tables in *text*."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")] for line in re.findall(r"^\|.*\|$", text, re.M)
    ]


def marked(name: str) -> str:
    """What a script wrote into README.md."""
    return README.partition(f"<!-- {name} -->\n")[2].partition(f"<!-- /{name} -->\n")[0]


def test_the_figures_are_those_of_the_report() -> None:
    report = (TREE / "tests" / "bench" / "figures.md").read_text(encoding="utf-8")
    measured = {row[0]: row[2] for row in cells(report) if len(row) == 5}
    shown = {row[0]: row[1] for row in cells(marked("figures"))[2:]}
    assert len(shown) == 4
    assert shown == {what: measured[what] for what in shown}


def test_the_numbers_of_modules_are_those_of_the_report() -> None:
    report = (TREE / "tests" / "bench" / "figures.md").read_text(encoding="utf-8")
    table = report.partition("## Import\n")[2].partition("\n## ")[0]
    counts = {row[0]: row[2] for row in cells(table)[2:]}
    own = counts.pop("**givenotice**")
    peers = sorted(int(counts[name]) for name in counts if name.isalpha())
    assert f"loads {own} modules; the other clients load {peers[0]} to {peers[-1]}." in marked("figures")


def test_the_line_of_the_matrix_is_the_sum_of_its_table() -> None:
    matrix = runpy.run_path(str(TREE / "tests" / "trust" / "matrix.py"))
    rows = matrix["written"](matrix["TABLE"].read_text(encoding="utf-8"))
    assert rows
    assert marked("matrix") == matrix["summary"](rows)


def texts() -> dict[Path, str]:
    """What speaks to users: the product, its metadata, and all that is written in Markdown or a workflow."""
    paths = [HOME / "givenotice.py", TREE / "pyproject.toml", TREE / "README.md"]
    for pattern in ("tests/recipes/*", "tests/*/*.md", ".github/**/*.yml", ".ci/*"):
        paths += [path for path in TREE.glob(pattern) if path.is_file()]
    return {path: path.read_text(encoding="utf-8") for path in paths}


def test_each_address_is_that_of_a_service_or_reserved_for_examples() -> None:
    reserved = r"127\.0\.0\.1|localhost|[A-Z]+|([a-z.-]+\.)?example(\.com)?"
    unknown = {
        (path.name, host)
        for path, text in texts().items()
        for host in re.findall(r"https?://(?:[^\s/@]+@)?([A-Za-z0-9][\w.-]*)", text)
        if host not in SERVICES and not re.fullmatch(reserved, host)
    }
    assert unknown == set()


def headings(text: str) -> set[str]:
    """The anchors of *text*, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("name", ["README.md", "tests/recipes/README.md", "tests/trust/README.md"])
def test_each_link_leads_to_a_file_and_a_heading(name: str) -> None:
    path = TREE / name
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", path.read_text(encoding="utf-8"))
    assert links or "trust" in name
    for target, anchor in links:
        found = (path.parent / target) if target else path
        assert found.exists(), target
        assert not anchor or anchor in headings(found.read_text(encoding="utf-8")), anchor
