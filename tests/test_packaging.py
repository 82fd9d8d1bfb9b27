"""What is built, and what is copied."""

from __future__ import annotations

import ast
import shutil
import sys
import tarfile
import zipfile
from email import message_from_string
from email.message import Message
from importlib.util import find_spec
from pathlib import Path

import pytest
from flit_core import buildapi
from programs import execute

import givenotice

ROOT = Path(__file__).parent.parent
INFO = f"givenotice-{givenotice.__version__}.dist-info"


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> zipfile.ZipFile:
    monkeypatch.chdir(ROOT)
    return zipfile.ZipFile(tmp_path / buildapi.build_wheel(str(tmp_path)))


@pytest.fixture
def metadata(wheel: zipfile.ZipFile) -> Message:
    return message_from_string(wheel.read(f"{INFO}/METADATA").decode())


def test_the_wheel_holds_the_file_and_what_describes_it_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    described = ("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE")
    assert sorted(wheel.namelist()) == sorted(["givenotice.py", *(f"{INFO}/{name}" for name in described)])


def test_the_file_in_the_wheel_is_the_file_under_test(wheel: zipfile.ZipFile) -> None:
    assert wheel.read("givenotice.py") == Path(givenotice.__file__).read_bytes()


def test_the_wheel_is_for_every_platform(wheel: zipfile.ZipFile) -> None:
    assert Path(wheel.filename or "").name == f"givenotice-{givenotice.__version__}-py3-none-any.whl"


def test_version_and_summary_are_those_of_the_file(metadata: Message) -> None:
    assert metadata["Version"] == givenotice.__version__
    assert metadata["Summary"] == (givenotice.__doc__ or "").splitlines()[0]


def test_the_licence_is_named_as_in_the_file(metadata: Message) -> None:
    assert metadata["License-Expression"] == "MIT"
    assert "# SPDX-License-Identifier: MIT\n" in Path(givenotice.__file__).read_text(encoding="utf-8")


def test_an_installation_brings_nothing_else(metadata: Message) -> None:
    assert metadata.get_all("Requires-Dist") is None


def test_no_address_is_named_while_there_is_none(metadata: Message) -> None:
    assert [metadata["Home-page"], metadata.get_all("Project-URL")] == [None, None]


def test_the_wheel_names_the_script_and_the_plugin(wheel: zipfile.ZipFile) -> None:
    points = wheel.read(f"{INFO}/entry_points.txt").decode()
    assert "[console_scripts]\ngivenotice=givenotice:main\n" in points
    assert "[pytest11]\ngivenotice=givenotice\n" in points


def test_the_sdist_holds_what_runs_the_tests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with tarfile.open(tmp_path / buildapi.build_sdist(str(tmp_path))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"conftest.py", "tox.ini", "pyproject.toml", "LICENSE", "README.md", "givenotice.py"}
    assert names >= {f"tests/{path.name}" for path in ROOT.glob("tests/*.py")}
    assert not [name for name in names if "__pycache__" in name or name.startswith(".")]


@pytest.mark.parametrize("name", ["givenotice.py", "notify.py"])
def test_a_copy_runs_where_nothing_is_installed(tmp_path: Path, name: str) -> None:
    copy = shutil.copy(givenotice.__file__, tmp_path / name)
    ended = execute([sys.executable, "-I", "-S", str(copy), "--version"])
    assert (ended.status, ended.out, ended.err) == (0, f"givenotice {givenotice.__version__}\n", "")


def test_a_copy_inside_a_package_knows_its_version(tmp_path: Path) -> None:
    package = tmp_path / "myapp"
    package.mkdir()
    shutil.copy(givenotice.__file__, package)
    program = "from myapp import givenotice as g; print(g.__version__, g.push('http://127.0.0.1:9/'))"
    ended = execute([sys.executable, "-S", "-c", program], PYTHONPATH=str(tmp_path), GIVENOTICE_DISABLED="1")
    assert (ended.status, ended.out, ended.err) == (0, f"{givenotice.__version__} False\n", "")


def test_the_file_imports_nothing_but_the_standard_library() -> None:
    tree = ast.parse(Path(givenotice.__file__).read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    specs = {name: find_spec(name.partition(".")[0]) for name in names}
    foreign = {name for name, spec in specs.items() if not spec or "site-packages" in str(spec.origin)}
    assert foreign == {"pytest"}  # by the plugin alone, which pytest itself calls
