"""The fault matrix: a row for each thing that was run, and the table of them in README.md.

python tests/trust/matrix.py    # writes the rows of the last run into README.md
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import NamedTuple

HOME = Path(__file__).parents[2]
README = HOME / "README.md"
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
    bad_ends: int = 0  # processes that crashed, hung, said something, or ended late or with another status


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
    """What all of *rows* come to, and behind it the table, folded: it is long."""
    head = ["where", "what was run", "times", "notices", "lost", "twice", "bad ends"]
    lines = [head, ["---", "---", *["---:"] * 5]]
    lines += [[*row[:2], *map(shown, row[2:])] for row in rows]
    times, notices, lost, twice, bad_ends = (sum(filter(None, column)) for column in list(zip(*rows))[2:])
    return (
        f"<details><summary>{shown(times)} runs of {len(rows)} kinds, {shown(notices)} notices: "
        f"{lost} lost, {twice} twice, {bad_ends} bad ends (the table)</summary>\n\n"
        + "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
        + "\n</details>\n"
    )


def shown(number: int | None) -> str:
    return "-" if number is None else f"{number:,}".replace(",", " ")


def names(text: str) -> list[tuple[str, str]]:
    """The first two cells of each row of the table in *text*."""
    rows = re.findall(r"^\| (.*?) \| (.*?) \|", text.partition(BEGIN)[2].partition(END)[0], re.M)
    return rows[2:]


def write() -> None:
    text = README.read_text(encoding="utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    README.write_text(f"{before}{begin}{table(recorded())}{end}{after}", encoding="utf-8")


if __name__ == "__main__":
    write()
