"""The plot, by a library that its process finds in an environment of its own: python plot.py RESULTS SVG"""

from __future__ import annotations

import json
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import report

OURS, OTHERS = "#0b7a75", "#b8b8b8"


def bars(part: Any, title: str, values: dict[str, tuple[float, str]], log: bool) -> None:
    """One horizontal bar for each system, the shortest on top, with a text behind it."""
    ordered = sorted(values.items(), key=lambda item: -item[1][0])
    names = [report.NAMES.get(system, system).replace("*", "").replace("`", "") for system, _ in ordered]
    colors = [OURS if system.startswith("givenotice") else OTHERS for system, _ in ordered]
    axes = part.subplots()
    part.suptitle(title, x=0.02, ha="left", fontsize=10)  # above the names, too
    drawn = axes.barh(names, [value for _, (value, _) in ordered], color=colors)
    axes.bar_label(drawn, [text for _, (_, text) in ordered], padding=3, fontsize=8)
    axes.margins(x=0.65)  # room for the texts
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_xscale("log" if log else "linear")
    axes.tick_params(labelsize=8)
    axes.xaxis.set_visible(False)


def main(results: Path, svg: Path) -> None:
    matplotlib: Any = import_module("matplotlib")
    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "givenotice", "svg.fonttype": "none"})
    pyplot: Any = import_module("matplotlib.pyplot")
    figures = report.Figures(json.loads(results.read_text())["cells"])
    drawn = pyplot.figure(figsize=(13, 3.8), layout="constrained")
    push, imported, ended = drawn.subfigures(1, 3, width_ratios=(1, 1, 1.25))
    bars(push, "A push, in the caller\n(median, log scale)", report.push_times(figures), True)
    bars(imported, "An import\n(over the bare interpreter)", report.import_times(figures), False)
    title = "1,000 events, 100 ms server: from the last push\nto the exit (log scale), and how many arrived"
    bars(ended, title, report.exit_times(figures), True)
    drawn.savefig(svg, metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
