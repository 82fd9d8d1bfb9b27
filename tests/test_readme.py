"""What README.md shows, works: each of its blocks is run against a server on loopback."""

from __future__ import annotations

import ast
import doctest
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import servers
from programs import HOME, TREE, Ended, commands, execute
from sybil.document import Document
from sybil.parsers.markdown import CodeBlockParser

import givenotice

README = (TREE / "README.md").read_text(encoding="utf-8")
LANGUAGES = "ini", "pycon", "python", "sh", "text", "toml"
RECIPES = [path.read_text("utf-8") for path in (TREE / "tests" / "recipes").iterdir() if path.is_file()]
LOOPBACK = ("https://hc.example", "https://matomo.example.com")  # stand for the server on loopback
NOT_RUN = {
    "pip install .": "needs the package index",
    "python3 -m venv .venv && .venv/bin/pip install tox && .venv/bin/tox run -e py": "would run these tests",
}


class Block(NamedTuple):
    heading: str
    language: str
    text: str

    @property
    def file(self) -> str:
        """The name in the first line, if the block is a file of the reader's."""
        found = re.match(r"# (\w+\.py)\n", self.text)
        return found[1] if found else ""


def read_blocks() -> list[Block]:
    parsers = [CodeBlockParser(language, lambda _: None) for language in LANGUAGES]
    document = Document.parse(str(TREE / "README.md"), *parsers)
    blocks, heading, end = [], "", 0
    for region in (example.region for example in document.examples()):
        heading = re.findall(r"^#+ (.+)$", f"# {heading}\n{README[end : region.start]}", re.M)[-1]
        blocks.append(Block(heading, region.lexemes["arguments"], str(region.parsed)))
        end = region.end
    return blocks


BLOCKS = read_blocks()
FILES = {block.file: block.text for block in BLOCKS if block.file}
PROGRAMS = [
    block
    for block in BLOCKS
    if block.language == "python"
    and block.text not in RECIPES
    and not block.file.startswith(("test_", "conf"))
]
SCRIPTS = [
    block
    for block in BLOCKS
    if block.language == "sh"
    and block.text not in RECIPES
    and not NOT_RUN.keys() >= set(block.text.splitlines())
]
TESTS = [name for name in FILES if name.startswith("test_") and name != "test_vendored.py"]


@pytest.fixture
def origin() -> Iterator[servers.Origin]:
    with servers.answering() as found:
        yield found


@pytest.fixture
def project(tmp_path: Path, origin: servers.Origin) -> Path:
    """The reader's folder: the files of README.md, givenotice.py, and commands in reach."""
    for name in ("app.py", *TESTS):
        (tmp_path / name).write_text(on_loopback(FILES[name], origin), encoding="utf-8")
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


def lines_to_run(block: Block) -> str:
    return "".join(f"{line}\n" for line in block.text.splitlines() if line not in NOT_RUN)


def ids(block: Block) -> str:
    return f"{block.heading} {block.file}".strip()


def test_each_block_is_of_a_language_that_is_checked_here() -> None:
    assert {block.language for block in BLOCKS} == set(LANGUAGES)
    assert 2 * len(BLOCKS) == len(re.findall("^```", README, re.M))


def test_each_text_and_unit_is_a_recipe_or_what_the_demonstration_prints() -> None:
    others = [block for block in BLOCKS if block.language in ("ini", "text") and block.text not in RECIPES]
    assert len(others) == 1
    shown = execute([sys.executable, str(HOME / "givenotice.py"), "--demo"]).out
    assert without_figures(others[0].text) == without_figures(shown)


def without_figures(text: str) -> str:
    """The text without port, times and counts, which differ from run to run."""
    return re.sub(r"(?<=:)\d+(?=/; )|\d\d:\d\d:\d\d|[\d.]+(?= ms| requests)", "N", text)


def test_what_is_not_run_is_still_in_the_readme() -> None:
    shown = [line for block in BLOCKS if block.language == "sh" for line in block.text.splitlines()]
    assert [line for line in NOT_RUN if line not in shown] == []


def test_each_host_that_loopback_stands_for_is_still_in_the_readme() -> None:
    assert all(host in README for host in LOOPBACK)


@pytest.mark.parametrize("block", PROGRAMS, ids=ids)
def test_a_program_gives_its_notices_and_is_silent(
    block: Block, project: Path, origin: servers.Origin
) -> None:
    (project / "program.py").write_text(on_loopback(block.text, origin), encoding="utf-8")
    ended = in_project(project, origin, "python3", "program.py")
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert len(origin.heard) == block.text.count("\n    sign_up(") + len(
        re.findall(r"^ *givenotice\.push\((?!e_c=\"user\")", block.text, re.M)
    )


@pytest.mark.parametrize("block", SCRIPTS, ids=ids)
def test_a_shell_block_succeeds(block: Block, project: Path, origin: servers.Origin) -> None:
    script = lines_to_run(block)
    ended = in_project(project, origin, "bash", "-euc", on_loopback(script, origin))
    assert ended.status == 0, ended.err
    assert "Traceback" not in ended.err
    wanted = len(re.findall(r"^(?:trap ')?givenotice (?!-n)", script, re.M)) + 2 * script.count("app.py")
    assert len(origin.heard) == wanted


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "pycon"], ids=ids)
def test_a_session_shows_what_python_answers(block: Block) -> None:
    examples = doctest.DocTestParser().get_doctest(block.text, {}, block.heading, "README.md", 0)
    results = doctest.DocTestRunner(verbose=False).run(examples)
    assert results.attempted > 1
    assert results.failed == 0


@pytest.mark.parametrize("name", TESTS)
def test_a_test_passes_and_sends_nothing(name: str, project: Path, origin: servers.Origin) -> None:
    ended = in_project(project, origin, "python3", "-m", "pytest", "-p", "givenotice", name)
    assert ended.status == 0, ended.out + ended.err
    assert re.search(r"\b1 passed in", ended.out)
    assert origin.connections == 0


def test_the_unittest_passes_without_pytest(project: Path, origin: servers.Origin) -> None:
    ended = in_project(project, origin, "python3", "-m", "unittest", "test_with_unittest")
    assert "Ran 1 test" in ended.err
    assert ended.status == 0
    assert origin.connections == 0


def test_a_vendored_copy_records(project: Path, origin: servers.Origin) -> None:
    package = project / "myapp"
    package.mkdir()
    (project / "givenotice.py").rename(package / "givenotice.py")
    for name in ("conftest.py", "test_vendored.py"):
        (project / name).write_text(on_loopback(FILES[name], origin), encoding="utf-8")
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
    copied = re.sub(
        r"(?m)^__version__ = .*", '__version__ = "0.1"', (HOME / "givenotice.py").read_text("utf-8")
    )
    (project / "myapp").mkdir()
    (project / "myapp" / "givenotice.py").write_text(copied, encoding="utf-8")
    program = "import givenotice; from myapp import givenotice as own; givenotice.push(a=1); own.push(a=2)"
    ended = in_project(project, origin, "python3", "-c", program)
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    sent = {heard.target: heard.headers["user-agent"] for heard in origin.heard}
    current = f"givenotice/{givenotice.__version__}"
    assert sent == {"/default?a=1": current, "/default?a=2": "givenotice/0.1"}


def test_the_table_of_settings_tells_the_defaults() -> None:
    table = re.findall(r"^\| `GIVENOTICE_(\w+)` \| *(\w*) *\|", README, re.M)
    constants = {name: float(value) for name, value in table if value}
    program = f"import givenotice; print({{name: getattr(givenotice, name) for name in {list(constants)}}})"
    assert ast.literal_eval(execute([sys.executable, "-c", program]).out) == constants
    assert [name for name, value in table if not value] == ["URI", "DISABLED"]


def test_the_changelog_begins_with_this_version() -> None:
    changelog = README.partition("\n## Changelog\n")[2]
    assert re.findall(r"^### (.+)$", changelog, re.M)[0] == givenotice.__version__


def test_each_link_within_the_readme_has_its_heading() -> None:
    titles = re.findall(r"^#+ (.+)$", README, re.M)
    # As GitHub does it.
    headings = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
    anchors = re.findall(r"\]\(#([^)]+)\)", README)
    assert anchors
    assert set(anchors) <= headings
