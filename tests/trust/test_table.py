"""The table in README.md is that of the run."""

from __future__ import annotations

import matrix
from test_interpreters import RARE


def test_the_readme_has_a_row_for_each_thing_that_was_run() -> None:
    """`python tests/trust/matrix.py` writes it. Interpreters that few have are neither expected nor refused."""
    rare = {f"Python {version}" for version in RARE}
    ran = {(row.where, row.what) for row in matrix.recorded() if row.where not in rare}
    written = {
        name for name in matrix.names(matrix.README.read_text(encoding="utf-8")) if name[0] not in rare
    }
    assert ran
    assert ran == written


def test_nothing_was_lost_and_nothing_came_twice() -> None:
    assert [row for row in matrix.recorded() if row.lost or row.twice] == []
