"""The tables: each system beside the others, what is to be reached, and whether it is."""

from __future__ import annotations

import re
from statistics import median
from typing import Any, NamedTuple

NAMES = {
    "nothing": "a function that does nothing",
    "simple_queue": "`SimpleQueue.put`",
    "python_function": "a Python function",
    "threading": "`threading`",
    "urllib": "`urllib.request`",
    "urlopen": "`python -c` with urlopen",
    "urllib_inline": "urllib, inline",
    "thread_each": "a thread for each event",
    "pool_of_8": "a pool of 8 threads",
    "requests_futures": "requests-futures",
    "givenotice": "**givenotice**",
    "givenotice_matomo": "**givenotice**, to Matomo",
    "givenotice_token": "**givenotice**, tokens to Matomo",
    "segment_shutdown": "segment, `shutdown()` called",
}
STATES = {"hole": "silent", "drip": "dripping", "refuse": "refusing", "matomo": "20 ms + 1.5 ms an event"}
LIMIT = 10.0  # seconds after which a process is ended by force
PEERS = ("posthog", "segment", "sentry", "snowplow", "mixpanel", "matomo", "statsd")
BASELINES = ("urllib_inline", "thread_each", "pool_of_8", "requests_futures")
PAGE = 4096  # bytes of memory

IMPORT, INVENTORY, SHELL = "import - 1 1", "inventory - 1 1", "shell 0 1 1"
PUSH, RATIO, MEMORY = "push {} 5000 1", "ratio {} 9000 1", "memory hole 9000 1"
FAIR, REAL_PACE = "fair hole 1000 1", "burst matomo 1000 1"
BATCHING, PLAIN = "burst {} {} 1", "burst {} {} 2"
SUSTAINED = "sustained {} 2000 1"


class Figures:
    """What was measured: cell, system, one value or dict for each turn."""

    def __init__(self, cells: dict[str, dict[str, list[Any]]]) -> None:
        self.cells = cells

    def all(self, cell: str, system: str, field: str, factor: float = 1.0) -> list[float]:
        return [one[field] * factor for one in self.cells.get(cell, {}).get(system, []) if one]

    def pairs(self, cell: str, system: str, reference: str, field: str) -> list[tuple[float, float]]:
        """With the reference that ran in the same turn."""
        return list(zip(self.all(cell, system, field), self.all(cell, reference, field)))

    def ratios(self, cell: str, system: str, reference: str, field: str) -> list[float]:
        return [one / other for one, other in self.pairs(cell, system, reference, field)]

    def over(self, cell: str, system: str, field: str, factor: float) -> list[float]:
        """What is more than in the bare interpreter."""
        return [(one - bare) * factor for one, bare in self.pairs(cell, system, "bare", field)]


class Row(NamedTuple):
    """A figure to reach."""

    what: str
    values: list[float]
    unit: str  # a format
    target: float
    beside: str = ""  # what others got in the same run
    atleast: bool = False
    best: bool = False  # the least counts: what is more is the machine's

    def __str__(self) -> str:
        if not self.values:
            return f"| {self.what} | | not measured | | |"
        got = min(self.values) if self.best else median(self.values)
        answer = "yes" if (got >= self.target if self.atleast else got <= self.target) else "**no**"
        return f"| {self.what} | {self.limit} | {self.got} | {answer} | {self.beside} |"

    @property
    def limit(self) -> str:
        return f"{'at least' if self.atleast else 'at most'} {self.unit.format(self.target)}"

    @property
    def got(self) -> str:
        if self.best:
            return f"{self.unit.format(min(self.values))} (to {self.unit.format(max(self.values))})"
        return spread(self.values, self.unit)


def spread(values: list[float], unit: str) -> str:
    """The median, and the least and the most."""
    least, most = unit.format(min(values)), unit.format(max(values))
    return f"{unit.format(median(values))} ({least} to {most})"


def named(found: dict[str, list[float]], unit: str = "{:.0f} ms") -> str:
    shown = {NAMES.get(system, system): median(values) for system, values in found.items() if values}
    return ", ".join(f"{name} {unit.format(value)}" for name, value in shown.items())


def number(count: int) -> str:
    return f"{count:,}"


# --- The figures to reach ---------------------------------------------------------------------------


def rows(figures: Figures) -> list[Row]:
    return [
        *pushing(figures),
        importing(figures),
        burst(figures, PLAIN, 1, "100", "plain", 160),
        burst(figures, BATCHING, 1000, "100", "Matomo", 400),
        burst(figures, BATCHING, 10_000, "20", "Matomo", 900),
        burst(figures, BATCHING, 1000, "100", "token", 400),
        burst(figures, BATCHING, 10_000, "20", "token", 900),
        real_pace(figures),
        burst(figures, PLAIN, 1000, "100", "plain", 1400),
        *sustained(figures),
        *sick(figures),
        fair(figures),
        *memory(figures),
        shell(figures),
    ]


def pushing(figures: Figures) -> list[Row]:
    found = []
    for port, state in (("0", "healthy"), ("refuse", "refusing"), ("hole", "silent")):
        cell = RATIO.format(port)
        beside = []
        for call, kind in (("push(uri)", ""), ("push(**params)", "_params")):
            took = [figures.all(cell, "givenotice", name + kind) for name in ("push", "reference")]
            if took[0]:
                own, reference = map(min, took)
                beside.append(f"`{call}` {own:.0f} ns, the function {reference:.0f} ns")
        values = [
            one["push"] / one["reference"] for one in figures.cells.get(cell, {}).get("givenotice", []) if one
        ]
        what = (
            "`push(uri)` in the caller, p50, over a Python function with `**params` that appends to a deque; "
            f"server {state}"
        )
        found.append(Row(what, values, "{:.2f}x", 2.5, "; ".join(beside), best=True))
    return found


def importing(figures: Figures) -> Row:
    over = {
        system: figures.over(IMPORT, system, "seconds", 1e3) for system in ("threading", "urllib", *PEERS)
    }
    values = figures.over(IMPORT, "givenotice", "seconds", 1e3)
    return Row("`import givenotice`, over the bare interpreter", values, "{:.1f} ms", 8.0, named(over))


def burst(figures: Figures, cells: str, count: int, port: str, kind: str, target: float) -> Row:
    cell = cells.format(port, count)
    system = {"Matomo": "givenotice_matomo", "token": "givenotice_token"}.get(kind, "givenotice")
    notices = f"{number(count)} {'Matomo' if kind == 'token' else kind} notice{'s' * (count > 1)}"
    with_token = " with a token and `cip` in each" * (kind == "token")
    what = f"{notices}{with_token}, {port} ms server: all delivered, last push to exit"
    values = when_all_arrived(figures, cell, system, count)
    others = [
        delivered(figures, cell, other, count) for other in figures.cells.get(cell, {}) if other != system
    ]
    return Row(what, values, "{:.0f} ms", target, ", ".join(filter(None, others)))


def when_all_arrived(figures: Figures, cell: str, system: str, count: int) -> list[float]:
    """Milliseconds from the last push to the exit; without end where something is missing."""
    took, arrived = figures.all(cell, system, "exit", 1e3), figures.all(cell, system, "events")
    return [one if events == count else float("inf") for one, events in zip(took, arrived)]


def real_pace(figures: Figures) -> Row:
    values = [took / 1500 for took in when_all_arrived(figures, REAL_PACE, "givenotice_matomo", 1000)]
    requests = figures.all(REAL_PACE, "givenotice_matomo", "requests")
    what = "1,000 Matomo notices, a server of 20 ms + 1.5 ms each: all delivered, over these 1,500 ms"
    return Row(what, values, "{:.2f}x", 1.15, f"{median(requests):.0f} requests" if requests else "")


def fair(figures: Figures) -> Row:
    others = named({"pool_of_8": figures.all(FAIR, "pool_of_8", "arrived", 1e3)})
    what = "a notice to a healthy server behind 1,000 to a silent one: push to arrival"
    beside = others.replace("inf ms", "not within 1 s")
    return Row(what, figures.all(FAIR, "givenotice", "arrived", 1e3), "{:.1f} ms", 50, beside)


def delivered(figures: Figures, cell: str, system: str, count: int) -> str:
    events, took = figures.all(cell, system, "events"), figures.all(cell, system, "exit", 1e3)
    if not events:
        return ""
    waited = median(took) + median(figures.all(cell, system, "pushing", 1e3)) * (system in INLINE)
    return f"{NAMES.get(system, system)} {median(events) / count:.0%} in {waited:.0f} ms"


INLINE = ("urllib_inline", "mixpanel", "matomo")  # the time of their pushes is the time it takes


def sustained(figures: Figures) -> list[Row]:
    found = []
    for port, over in (("0", "http"), ("tls", "TLS")):
        cell = SUSTAINED.format(port)
        systems = ("givenotice", "urllib_inline", "pool_of_8", "requests_futures")
        rates = {system: figures.all(cell, system, "rate") for system in systems}
        values = figures.ratios(cell, "givenotice", "urllib_inline", "rate")
        what = f"sustained plain notices over {over}, rate over urllib"
        found.append(Row(what, values, "{:.2f}x", 0.9, named(rates, "{:.0f}/s"), True))
    return found


def sick(figures: Figures) -> list[Row]:
    found = []
    for port, state, target in (
        ("hole", "silent", 2150),
        ("drip", "dripping", 2150),
        ("refuse", "refusing", 500),
    ):
        for count in (1, 1000):
            cell = BATCHING.format(port, count)
            others = ("nothing", *PEERS, "requests_futures", "pool_of_8")
            beside = named({system: figures.all(cell, system, "exit", 1e3) for system in others})
            values = figures.all(cell, "givenotice", "exit", 1e3)
            what = f"exit, {number(count)} waiting; server {state}"
            found.append(Row(what, values, "{:.0f} ms", target, beside))
    return found


def memory(figures: Figures) -> list[Row]:
    each = {system: figures.all(MEMORY, system, "each") for system in ("simple_queue", "posthog", "segment")}
    size = {system: figures.over(INVENTORY, system, "pages", PAGE / 1e6) for system in ("urllib", *PEERS)}
    waiting = figures.all(MEMORY, "givenotice", "each")
    before = figures.over(INVENTORY, "givenotice", "pages", PAGE / 1e6)
    return [
        Row("memory for each notice that waits", waiting, "{:.0f} bytes", 300, named(each, "{:.0f} bytes")),
        Row(
            "memory of the import, over the bare interpreter",
            before,
            "{:.2f} MB",
            1.5,
            named(size, "{:.1f} MB"),
        ),
    ]


def shell(figures: Figures) -> Row:
    took = {
        system: figures.all(SHELL, system, "seconds", 1e3) for system in ("bare", "urlopen", "givenotice")
    }
    values = figures.ratios(SHELL, "givenotice", "urlopen", "seconds")
    what = "`python -m givenotice URI` over `python -c` with urlopen, the whole process"
    return Row(what, values, "{:.2f}x", 1.15, named(took))


# --- The systems side by side -----------------------------------------------------------------------


def push_times(figures: Figures) -> dict[str, tuple[float, str]]:
    """For the plot: system, value, and its text."""
    names = ("python_function", "givenotice", *PEERS, *BASELINES)
    cells = (PUSH.format("0"), "push 20 200 1")
    found = {system: figures.all(cell, system, "p50", 1e-3) for cell in reversed(cells) for system in names}
    for cell in cells:
        found.update(
            {system: values for system in names if (values := figures.all(cell, system, "p50", 1e-3))}
        )
    medians = {system: median(values) for system, values in found.items() if values}
    return {
        system: (took, f"{took:.2f} \u00b5s" if took < 10 else f"{took:,.0f} \u00b5s")
        for system, took in medians.items()
    }


def import_times(figures: Figures) -> dict[str, tuple[float, str]]:
    names = ("urllib", "givenotice", "requests_futures", *PEERS)
    found = {system: figures.over(IMPORT, system, "seconds", 1e3) for system in names}
    medians = {system: median(values) for system, values in found.items() if values}
    return {system: (took, f"{took:.0f} ms") for system, took in medians.items()}


def exit_times(figures: Figures) -> dict[str, tuple[float, str]]:
    found = {}
    for cell in (PLAIN.format("100", 1000), BATCHING.format("100", 1000)):
        for system in figures.cells.get(cell, {}):
            took = figures.all(cell, system, "exit", 1e3)
            if took and system not in INLINE:
                share = median(figures.all(cell, system, "events")) / 1000
                ended = f"over {LIMIT:.0f} s" if max(took) >= LIMIT * 1e3 else f"{median(took):,.0f} ms"
                found[system] = (median(took), f"{ended}, {share:.0%}")
    return found


def bursts(figures: Figures) -> str:
    head = "server|events|system|pushing|last push to exit|delivered|requests|connections|CPU"
    lines = [
        burst_line(figures, cell, system)
        for cell, runs in figures.cells.items()
        for system in runs
        if cell.startswith("burst") and figures.all(cell, system, "exit")
    ]
    return table(head, lines)


def burst_line(figures: Figures, cell: str, system: str) -> list[str]:
    _, port, count, _ = cell.split()
    took = figures.all(cell, system, "exit", 1e3)
    ended = f"ended by force after {LIMIT:.0f} s" if max(took) >= LIMIT * 1e3 else spread(took, "{:.0f} ms")
    return [
        STATES.get(port, f"{port} ms"),
        number(int(count)),
        NAMES.get(system, system),
        f"{median(figures.all(cell, system, 'pushing', 1e3)):.1f} ms",
        ended,
        *(
            f"{median(figures.all(cell, system, field)):.0f}"
            for field in ("events", "requests", "connections")
        ),
        f"{median(figures.all(cell, system, 'cpu', 1e3)):.0f} ms",
    ]


def pushes(figures: Figures) -> str:
    head = "server|threads|pace|system|first, \u00b5s|p50|p99|p99.9|most"
    lines = []
    for cell, runs in figures.cells.items():
        measure, port, *_, threads = cell.split(" ")
        for system in runs:
            if measure in ("push", "paced") and figures.all(cell, system, "p50"):
                state = {"0": "healthy", "20": "20 ms", "hole": "silent", "refuse": "refusing"}[port]
                pace = "one each ms" if measure == "paced" else "at once"
                fields = ("first", "p50", "p99", "p999", "most")
                times = [f"{median(figures.all(cell, system, field, 1e-3)):.2f}" for field in fields]
                lines.append([state, threads, pace, NAMES.get(system, system), *times])
    return table(head, lines)


def sustained_all(figures: Figures) -> str:
    lines = []
    for port, scheme in (("0", "http"), ("tls", "https")):
        cell = SUSTAINED.format(port)
        for system in figures.cells.get(cell, {}):
            rates, cpu = figures.all(cell, system, "rate"), figures.all(cell, system, "cpu", 1e6)
            if rates:
                name = NAMES.get(system, system)
                lines.append([scheme, name, spread(rates, "{:.0f}/s"), spread(cpu, "{:.0f} \u00b5s")])
    return table("over|system|rate|CPU for each", lines)


def imports(figures: Figures) -> str:
    lines = []
    for system in figures.cells.get(IMPORT, {}):
        if (
            system != "bare"
            and figures.all(IMPORT, system, "seconds")
            and figures.all(INVENTORY, system, "modules")
        ):
            took = spread(figures.over(IMPORT, system, "seconds", 1e3), "{:.1f} ms")
            modules = median(figures.over(INVENTORY, system, "modules", 1))
            size = median(figures.over(INVENTORY, system, "pages", PAGE / 1e6))
            lines.append([NAMES.get(system, system), took, f"{modules:.0f}", f"{size:.1f} MB"])
    return table("import|over the bare interpreter|modules|memory", lines)


def table(head: str, lines: list[list[str]]) -> str:
    columns = head.split("|")
    return "\n".join(f"| {' | '.join(line)} |" for line in [columns, ["---"] * len(columns), *lines])


def preface(machine: dict[str, Any]) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in machine["peers"].items())
    ceiling = machine["ceiling"]
    return (
        f"{machine['date']}: {machine['python']}, {machine['system']}, {machine['cpu']}; {versions}. "
        "The median, and the least and the most in brackets; systems took turns. "
        f"The server, a process of its own, can answer {ceiling['http']:,.0f} requests a second over http, "
        f"{ceiling['https']:,.0f} over TLS, {ceiling['one']:,.0f} one by one on a connection, "
        f"{ceiling['connections']:,.0f} on a new connection each."
    )


IN_README = (  # how the rows begin that README.md shows
    r"`push\(uri\)` .*healthy",
    "`import givenotice`",
    "1.000 Matomo notices, 100 ms server",
    "exit, 1.000 .*silent",
)


def readme(results: dict[str, Any]) -> str:
    """The chart, four figures, and how many modules an import loads."""
    figures = Figures(results["cells"])
    found = [row for row in rows(figures) if row.values]
    shown = [row for start in IN_README for row in [row for row in found if re.match(start, row.what)][:1]]
    own, least, most = modules(figures)
    return f"""\
![Chart: the time of a push, of the import and of the exit, beside other clients](tests/bench/figures.svg)

{table("figure|median (least to most)", [[row.what, row.got] for row in shown])}

The import loads {own:.0f} modules; the other clients load {least:.0f} to {most:.0f}.
[All figures](tests/bench/figures.md) name the machine and the versions; `python3 tests/bench` measures yours.
"""


def modules(figures: Figures) -> tuple[float, float, float]:
    """How many the import of givenotice loads, and at least and at most that of another client."""
    own, *others = (
        median(figures.over(INVENTORY, system, "modules", 1) or [0]) for system in ("givenotice", *PEERS)
    )
    return own, min(others), max(others)


def reached(figures: Figures) -> str:
    head = "| what | to reach | got | reached | beside it, in the same run |\n|---|---|---|---|---|\n"
    return head + "\n".join(map(str, rows(figures)))


def markdown(results: dict[str, Any]) -> str:
    figures = Figures(results["cells"])
    return f"""\
# Figures

{preface(results["machine"])}

![Bars: how long a push takes, an import, and an exit](figures.svg)

{reached(figures)}

## Import

{imports(figures)}

## Push, in the caller

The clock is in each figure: compare with the function that does nothing.

{pushes(figures)}

## Push, then exit

Nothing is called but the system's way to push, except where it is said. The server counted the requests.

{bursts(figures)}

## Sustained

{sustained_all(figures)}
"""
