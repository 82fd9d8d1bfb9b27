"""The tables: what is to be reached, and whether it is; and each system beside the others."""

from __future__ import annotations

from statistics import median
from typing import Any, Callable, NamedTuple

NAMES = {
    "simple_queue": "`SimpleQueue.put`",
    "urllib_inline": "urllib, inline",
    "http_client": "http.client kept alive, inline",
    "thread_each": "a thread for each event",
    "pool_of_8": "a pool of 8 threads",
    "requests_futures": "requests-futures",
    "givenotice": "**givenotice**",
    "givenotice_matomo": "**givenotice** (Matomo)",
    "segment_shutdown": "segment, `shutdown()` called",
}
LIMIT = 20.0


class Figures:
    def __init__(self, cells: dict[str, dict[str, list[Any]]]) -> None:
        self.cells = cells

    def all(self, cell: str, system: str, field: str = "") -> list[float]:
        found = [one for one in self.cells.get(cell, {}).get(system, []) if one]
        return [one[field] if field else one for one in found]

    def median(self, cell: str, system: str, field: str = "") -> float:
        return median(self.all(cell, system, field) or [float("nan")])

    def ratios(self, cell: str, system: str, reference: str, field: str) -> list[float]:
        """To the reference that ran in the same turn."""
        return [one / other for one, other in zip(self.all(cell, system, field), self.all(cell, reference, field))]


class Row(NamedTuple):
    what: str
    values: list[float]
    unit: str  # a format for one value
    target: float
    atleast: bool = False
    beside: str = ""  # others, in the same run

    @property
    def reached(self) -> bool:
        got = median(self.values or [float("nan")])
        return got >= self.target if self.atleast else got <= self.target

    def __str__(self) -> str:
        if not self.values:
            return f"| {self.what} | not measured | | | |"
        least, most = min(self.values), max(self.values)
        sign = "at least" if self.atleast else "at most"
        target = f"{sign} {self.unit.format(self.target)}"
        got = f"{self.unit.format(median(self.values))} ({least:.4g} to {most:.4g})"
        return f"| {self.what} | {target} | {got} | {'yes' if self.reached else '**no**'} | {self.beside} |"


def rows(figures: Figures) -> list[Row]:
    """The figures to reach, in the order of the promises."""
    found = []
    for state, port in (("healthy", "0"), ("refusing", "refuse"), ("silent", "hole")):
        cell = f"push {port} 5000 1"
        found.append(
            Row(
                f"`push(uri)` in the caller, p50 over `SimpleQueue.put`, server {state}",
                figures.ratios(cell, "givenotice", "simple_queue", "p50"),
                "{:.3g}x",
                2.0,
                beside=others(
                    figures,
                    lambda system, cell=cell: figures.ratios(cell, system, "simple_queue", "p50"),  # type: ignore[misc]
                    ("nothing", "statsd", "snowplow", "segment", "posthog", "sentry", "requests_futures"),
                    "{:.3g}x",
                ),
            )
        )
    found += [importing(figures), *bursts(figures), *sustained(figures), *sick(figures), *memory(figures)]
    found.append(
        Row(
            "`python -m givenotice URI` over `python -c` with urlopen, whole process",
            figures.ratios("shell 0 1 1", "givenotice", "urlopen", "seconds"),
            "{:.2f}x",
            1.15,
            beside=others(figures, lambda system: ms(figures.all("shell 0 1 1", system, "seconds")), ("bare", "urlopen")),
        )
    )
    return found


def others(
    figures: Figures, values: Callable[[str], list[float]], systems: tuple[str, ...], unit: str = "{:.0f} ms"
) -> str:
    texts = [(system, values(system)) for system in systems]
    return ", ".join(f"{NAMES.get(system, system)} {unit.format(median(found))}" for system, found in texts if found)


def ms(values: list[float]) -> list[float]:
    return [value * 1000 for value in values]


def over_bare(figures: Figures, system: str) -> list[float]:
    """Milliseconds of a process that imports, over one that does not."""
    cell = "import  1 1"
    values = zip(figures.all(cell, system, "seconds"), figures.all(cell, "bare", "seconds"))
    return ms([one - bare for one, bare in values])


def importing(figures: Figures) -> Row:
    peers = ("threading", "urllib", "statsd", "sentry", "mixpanel", "segment", "posthog")
    return Row(
        "`import givenotice`, over the bare interpreter",
        over_bare(figures, "givenotice"),
        "{:.1f} ms",
        8.0,
        beside=others(figures, lambda system: over_bare(figures, system), peers),
    )


def bursts(figures: Figures) -> list[Row]:
    found = []
    for what, cell, system, count, target in (
        ("1 notice, 100 ms server", "burst 100 1 2", "givenotice", 1, 140),
        ("1 000 Matomo notices, 100 ms server", "burst 100 1000 1", "givenotice_matomo", 1000, 400),
        ("10 000 Matomo notices, 20 ms server", "burst 20 10000 1", "givenotice_matomo", 10_000, 700),
        ("1 000 plain notices, 100 ms server", "burst 100 1000 2", "givenotice", 1000, 2150),
    ):
        runs = figures.cells.get(cell, {})
        least = min(figures.all(cell, system, "events") or [0])
        beside = []
        for other, values in runs.items():
            if other != system and values:
                share = median(value["events"] for value in values) / count
                took = median(value["exit"] for value in values)
                beside.append(f"{NAMES.get(other, other)} {share:.0%} in {took * 1000:.0f} ms")
        found.append(
            Row(
                f"{what}: last push to exit; {least} delivered at least",
                ms(figures.all(cell, system, "exit")) if least == count else [float("inf")],
                "{:.0f} ms",
                target,
                beside=", ".join(beside),
            )
        )
    return found


def sustained(figures: Figures) -> list[Row]:
    cell, tls = "sustained 0 5000 1", "sustained tls 5000 1"
    names = ("urllib_inline", "http_client", "pool_of_8", "requests_futures")
    return [
        Row(
            "sustained plain notices, http, over urllib",
            figures.ratios(cell, "givenotice", "urllib_inline", "rate"),
            "{:.2f}x",
            1.5,
            True,
            others(figures, lambda system: figures.all(cell, system, "rate"), ("givenotice", *names), "{:.0f}/s"),
        ),
        Row(
            "sustained plain notices, TLS, each",
            ms(figures.all(tls, "givenotice", "each")),
            "{:.2f} ms",
            0.3,
            beside=others(figures, lambda system: ms(figures.all(tls, system, "each")), names, "{:.2f} ms"),
        ),
    ]


def sick(figures: Figures) -> list[Row]:
    found = []
    for state, port in (("silent", "hole"), ("dripping", "drip"), ("refusing", "refuse")):
        for count in (1, 1000):
            cell = f"burst {port} {count} 1"
            found.append(
                Row(
                    f"exit with a {state} server, {count:,} waiting".replace(",", " "),
                    ms(figures.all(cell, "givenotice", "exit")),
                    "{:.0f} ms",
                    500 if port == "refuse" else 2150,
                    beside=others(
                        figures,
                        lambda system, cell=cell: ms(figures.all(cell, system, "exit")),  # type: ignore[misc]
                        ("nothing", "posthog", "segment", "sentry", "snowplow", "requests_futures", "pool_of_8"),
                    ),
                )
            )
    return found


def memory(figures: Figures) -> list[Row]:
    page = 4096 / 1e6
    inventory = figures.cells.get("inventory  1 1", {})
    sizes = {name: median(value[1] for value in values) * page for name, values in inventory.items()}
    over = {name: size - sizes["bare"] for name, size in sizes.items()}
    cell = "memory hole 9000 1"
    return [
        Row(
            "memory for each notice that waits",
            figures.all(cell, "givenotice", "each"),
            "{:.0f} bytes",
            300,
            beside=others(
                figures,
                lambda system: figures.all(cell, system, "each"),
                ("simple_queue", "posthog", "segment"),
                "{:.0f} bytes",
            ),
        ),
        Row(
            "RSS over the bare interpreter, before the first push",
            [over[name] for name in over if name == "givenotice"],
            "{:.2f} MB",
            1.5,
            beside=", ".join(f"{NAMES.get(name, name)} {size:.1f} MB" for name, size in over.items() if name != "bare"),
        ),
    ]


def systems(figures: Figures) -> str:
    """Every burst, every system."""
    lines = []
    for cell, runs in figures.cells.items():
        if not cell.startswith("burst"):
            continue
        _, port, count, kind = cell.split()
        server = f"{port} ms" if port.isdigit() else port
        for system, values in runs.items():
            if not values:
                continue
            exits = ms([value["exit"] for value in values])
            took = f"{median(exits):.0f} ms ({min(exits):.0f} to {max(exits):.0f})"
            if max(exits) >= LIMIT * 1000:
                took = f"ended by force after {LIMIT:.0f} s"
            fields = [
                server,
                f"{int(count):,}".replace(",", " "),
                NAMES.get(system, system),
                f"{median(value['pushing'] for value in values) * 1000:.1f} ms",
                took,
                *(f"{median(value[field] for value in values):.0f}" for field in ("events", "requests", "connections")),
                f"{median(value['cpu'] for value in values) * 1000:.0f} ms",
            ]
            lines.append(f"| {' | '.join(fields)} |")
    head = "| server | events | system | pushing | last push to exit | delivered | requests | connections | CPU |\n"
    return head + "|---|--:|---|--:|--:|--:|--:|--:|--:|\n" + "\n".join(lines)


def pushes(figures: Figures) -> str:
    lines = []
    for cell, runs in figures.cells.items():
        if not cell.startswith(("push", "paced")):
            continue
        measure, port, _count, threads = cell.split()
        for system, values in runs.items():
            if values and all(values):
                took = [f"{median(value[field] for value in values) / 1000:.2f}" for field in ("p50", "p99", "p999", "max")]
                state = {"0": "healthy", "hole": "silent", "refuse": "refusing"}[port]
                pace = "one each ms" if measure == "paced" else "at once"
                lines.append(f"| {state} | {threads} | {pace} | {NAMES.get(system, system)} | {' | '.join(took)} |")
    head = "| server | threads | pace | system | p50 us | p99 us | p99.9 us | max us |\n"
    return head + "|---|--:|---|---|--:|--:|--:|--:|\n" + "\n".join(lines)


def markdown(results: dict[str, Any]) -> str:
    figures = Figures(results["cells"])
    machine = results["machine"]
    ceiling = machine["ceiling"]
    peers = ", ".join(f"{name} {version}" for name, version in machine["peers"].items())
    return f"""\
{machine["python"]}, {machine["system"]}, {machine["cpu"]}; {peers}.
Medians; the least and the most in brackets. The server answers {ceiling["http"]:,.0f} requests a second over http and \
{ceiling["https"]:,.0f} over TLS, {ceiling["one"]:,.0f} one by one, and {ceiling["connections"]:,.0f} connections.

| what | to reach | got | reached | beside it, in the same run |
|---|---|---|---|---|
{chr(10).join(map(str, rows(figures)))}

{pushes(figures)}

{systems(figures)}
"""
