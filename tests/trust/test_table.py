"""The table in README.md is that of the run."""

from __future__ import annotations

import matrix
from test_interpreters import RARE


def usual(names: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Without the interpreters that few machines have."""
    return {(where, what) for where, what in names if where.removeprefix("Python ") not in RARE}


def test_the_readme_has_a_row_for_each_thing_that_was_run() -> None:
    """`python tests/trust/matrix.py` writes it."""
    ran = usual([(row.where, row.what) for row in matrix.recorded()])
    assert ran
    assert ran == usual(matrix.names(matrix.README.read_text(encoding="utf-8")))


def test_nothing_was_lost_and_nothing_came_twice() -> None:
    assert [row for row in matrix.recorded() if row.lost or row.twice] == []
