"""The published table is that of the run."""

from __future__ import annotations

import matrix
from test_interpreters import RARE


def usual(rows: list[matrix.Row]) -> set[tuple[str, str]]:
    """What was run, without the interpreters that few machines have."""
    return {(row.where, row.what) for row in rows if row.where.removeprefix("Python ") not in RARE}


def test_the_table_has_a_row_for_each_thing_that_was_run() -> None:
    """`python tests/trust/matrix.py` writes it."""
    ran = usual(matrix.recorded())
    assert ran
    assert ran == usual(matrix.written(matrix.TABLE.read_text(encoding="utf-8")))


def test_nothing_was_lost_and_nothing_arrived_twice() -> None:
    assert [row for row in matrix.recorded() if row.lost or row.twice] == []
