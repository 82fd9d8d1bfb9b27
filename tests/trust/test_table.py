"""The table in README.md is that of the run."""

from __future__ import annotations

import matrix


def test_the_readme_has_a_row_for_each_thing_that_was_run() -> None:
    """`python tests/trust/matrix.py` writes it.."""
    ran = {(row.where, row.what) for row in matrix.recorded()}
    assert ran
    assert ran == set(matrix.names(matrix.README.read_text(encoding="utf-8")))
