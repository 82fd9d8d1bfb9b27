"""The fault matrix: a row for each thing that was run.

python tests/trust/matrix.py    # writes the last run's table beside it, and its sums into the main README.md
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

HOME = Path(__file__).parents[2]
README = HOME / "README.md"
TABLE = HOME / "tests" / "trust" / "README.md"
ROWS = Path(os.environ.get("TRUST_ROWS", HOME / ".pytest_cache" / "trust.jsonl"))
BEGIN, END = "<!-- matrix -->\n", "<!-- /matrix -->"


class Row(NamedTuple):
    """*notices* were pushed in *times* runs (of a process, a request, a job: whatever *what* speaks of)."""

    where: str  # platform or interpreter
    what: str  # in words for the reader of the table; no |
    times: int
    notices: int
    lost: int | None  # None where the server was sick
    twice: int
    bad_ends: int = (
        0  # processes that crashed, hung, printed something, or exited late or with another status
    )


def record(row: Row) -> None:
    """Keep *row* for the table; of rows with the same words the last holds."""
    ROWS.parent.mkdir(exist_ok=True)
    with ROWS.open("a", encoding="utf-8") as lines:
        lines.write(json.dumps(row) + "\n")


def recorded() -> list[Row]:
    """The rows of the last run, in the order of the table."""
    lines = ROWS.read_text(encoding="utf-8").splitlines() if ROWS.exists() else []
    rows = [Row(*json.loads(line)) for line in lines]
    return sorted({(row.where, row.what): row for row in rows}.values(), key=order)


def order(row: Row) -> list[tuple[str, int]]:
    """Python 3.9 comes before Python 3.10."""
    return [(text, int(number or 0)) for text, number in re.findall(r"(\D+)(\d*)", f"{row.where}|{row.what}")]


def table(rows: list[Row]) -> str:
    head = ["where", "what was run", "times", "notices", "lost", "twice", "bad exits"]
    lines = [head, ["---", "---", *["---:"] * 5], *[[*row[:2], *map(shown, row[2:])] for row in rows]]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def summary(rows: list[Row]) -> str:
    """The line of README.md: the sums of the columns."""
    times, notices, lost, twice, bad_ends = (sum(filter(None, column)) for column in list(zip(*rows))[2:])
    return (
        f"{shown(times)} runs of {len(rows)} kinds, {shown(notices)} notices: "
        f"{lost} lost, {twice} twice, {bad_ends} bad exits ([results](tests/trust/README.md)).\n"
    )


def shown(number: int | None) -> str:
    return "-" if number is None else f"{number:,}"


def written(text: str) -> list[Row]:
    """The rows of the table in *text*."""
    lines = between(text).splitlines()[2:]
    return [row(*(cell.strip() for cell in line.strip("|").split("|"))) for line in lines]


def row(where: str, what: str, *counts: str) -> Row:
    times, notices, lost, twice, bad_ends = (
        int(count.replace(",", "")) if count != "-" else None for count in counts
    )
    return Row(where, what, times or 0, notices or 0, lost, twice or 0, bad_ends or 0)


def between(text: str) -> str:
    """What stands between the marks."""
    return text.partition(BEGIN)[2].partition(END)[0]


def write(path: Path, part: str) -> None:
    """Put *part* between the marks in the file at *path*."""
    before, begin, rest = path.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    path.write_text(f"{before}{begin}{part}{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    write(TABLE, table(recorded()))
    write(README, summary(recorded()))
