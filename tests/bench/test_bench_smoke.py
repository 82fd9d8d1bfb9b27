"""The benchmark runs at all: with few events, and no peer. Run by name."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import report
import runner


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[runner.Bench]:
    folder = tmp_path_factory.mktemp("bench")
    paths = os.pathsep.join([str(runner.FILE.parent), os.environ.get("PYTHONPATH", "")])
    with runner.serving(Path(sys.executable), folder) as ports:
        yield runner.Bench(Path(sys.executable), ports, folder, PYTHONPATH=paths)


@pytest.mark.parametrize("port", ["0", "20", "tls"])
def test_each_event_of_a_burst_is_counted(bench: runner.Bench, port: str) -> None:
    found = bench.measure(runner.Cell("burst", port, 20), "givenotice")
    assert (found["events"], found["requests"]) == (20, 20)


@pytest.mark.parametrize("system", ["givenotice_matomo", "givenotice_token"])
@pytest.mark.parametrize("port", ["0", "matomo"])
def test_the_events_of_a_bulk_request_are_counted(port: str, system: str, bench: runner.Bench) -> None:
    found = bench.measure(runner.Cell("burst", port, 20), system)
    assert found["events"] == 20
    assert found["requests"] < 20


@pytest.mark.parametrize("port", ["hole", "drip", "refuse"])
def test_nothing_is_delivered_to_a_sick_server(bench: runner.Bench, port: str) -> None:
    assert bench.measure(runner.Cell("burst", port, 20), "givenotice")["events"] == 0


@pytest.mark.parametrize("cell", [cell for cell in runner.cells() if cell.measure != "burst"], ids=str)
def test_each_other_figure_is_taken(bench: runner.Bench, cell: runner.Cell) -> None:
    found = bench.measure(replace(cell, count=8), cell.systems[0])
    assert found
    assert all(value >= 0 for name, value in found.items() if name != "status" and value is not None)


def test_the_report_tells_a_figure_that_is_reached_from_one_that_is_not() -> None:
    row = report.Row("what", [1.0, 3.0], "{:.0f} ms", 2.0)
    assert "| at most 2 ms | 2 ms (1 ms to 3 ms) | yes |" in str(row)
    assert "**no**" in str(row._replace(target=1.0))
    assert "**no**" in str(row._replace(target=3.0, atleast=True))
