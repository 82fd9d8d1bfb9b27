"""What is measured runs in this program, a process for each figure; it prints what it found as a dict.

python program.py MEASURE SYSTEM BASE [COUNT [THREADS [OTHER_BASE]]]
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from statistics import median
from time import monotonic, perf_counter_ns, process_time, sleep

import systems

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

WARM = 0.5  # seconds that a system has to import and to connect, after its first event
CHUNK = 5_000  # events that wait at most, where the rate is measured: no queue may overflow
BATCH = 50  # pushes that are timed together: the clock alone takes as long as one


def burst(system: systems.System, count: int, _threads: int) -> dict[str, Any]:
    """Push and end: the parent sees when the process is gone."""
    items = [system.item(number) for number in range(count)]
    begin = monotonic()
    for item in items:
        system.push(item)
    last = monotonic()
    system.close()
    return {"begin": begin, "last": last}


def push(system: systems.System, count: int, threads: int) -> dict[str, Any]:
    """Nanoseconds that the caller waits for each push: first alone, then from all threads at once."""
    begin = perf_counter_ns()
    system.push(system.item(999_999))
    first = perf_counter_ns() - begin
    sleep(WARM)
    each = count // threads
    items = [system.item(number) for number in range(count)]
    times = [[0] * each for _ in range(threads)]
    ready = threading.Barrier(threads)
    gc.collect()

    def caller(number: int) -> None:
        mine, clock, give = items[number * each : (number + 1) * each], perf_counter_ns, system.push
        out = times[number]
        ready.wait()
        for index, item in enumerate(mine):
            begin = clock()
            give(item)
            out[index] = clock() - begin

    others = [threading.Thread(target=caller, args=(number,)) for number in range(1, threads)]
    for other in others:
        other.start()
    caller(0)
    for other in others:
        other.join()
    return {"first": first, **percentiles(sorted(time for mine in times for time in mine))}


def ratio(system: systems.System, count: int, _threads: int) -> dict[str, Any]:
    """Nanoseconds of a push, and of the reference by turns with it, in the median of many batches."""
    os.environ["GIVENOTICE_URI"] = system.item(0)
    pushes = {"push": system.push, "reference": systems.python_function("").push}
    loops = {"": plain_loop, "_params": params_loop}
    system.push(system.item(999_999))
    sleep(WARM)
    items = [system.item(number) for number in range(BATCH)]
    times: dict[str, list[float]] = {name + loop: [] for name in pushes for loop in loops}
    gc.collect()
    for _ in range(max(1, count // BATCH // len(loops))):
        for name, push in pushes.items():
            for kind, loop in loops.items():
                times[name + kind].append(loop(push, items) / BATCH)
    return {name: median(each) for name, each in times.items()}


def plain_loop(push: Any, items: list[str]) -> int:
    begin = perf_counter_ns()
    for item in items:
        push(item)
    return perf_counter_ns() - begin


def params_loop(push: Any, items: list[str]) -> int:
    begin = perf_counter_ns()
    for item in items:
        push(event=item)
    return perf_counter_ns() - begin


def fair(system: systems.System, count: int, _threads: int) -> dict[str, Any]:
    """When an event for a healthy server is pushed behind *count* for one that is silent."""
    healthy = systems.plain(sys.argv[6])
    system.push(healthy(0))
    sleep(WARM)
    for number in range(count):
        system.push(system.item(number))
    sleep(WARM)
    begin = monotonic()
    system.push(healthy(1))
    sleep(2 * WARM)
    return {"begin": begin}


def paced(system: systems.System, count: int, _threads: int) -> dict[str, Any]:
    """As `push`, but one each millisecond: the worker is idle again when the next one comes."""
    begin = perf_counter_ns()
    system.push(system.item(999_999))
    first = perf_counter_ns() - begin
    sleep(WARM)
    times = []
    for number in range(count):
        item = system.item(number)
        sleep(0.001)
        begin = perf_counter_ns()
        system.push(item)
        times.append(perf_counter_ns() - begin)
    return {"first": first, **percentiles(sorted(times))}


def percentiles(times: list[int]) -> dict[str, Any]:
    shares = {"p50": 0.5, "p99": 0.99, "p999": 0.999}
    return {**{name: times[int(len(times) * share)] for name, share in shares.items()}, "most": times[-1]}


def sustained(system: systems.System, count: int, _threads: int) -> dict[str, Any]:
    """Events a second until the last is sent, and CPU for each."""
    for number in range(200):
        system.push(system.item(number))
    system.drain()
    begin, used = monotonic(), process_time()
    for chunk in range(0, count, CHUNK):
        for number in range(chunk, min(chunk + CHUNK, count)):
            system.push(system.item(number))
        system.drain()
    took = monotonic() - begin
    return {"rate": count / took, "each": took / count, "cpu": (process_time() - used) / count}


def memory(system: systems.System, count: int, _threads: int) -> dict[str, Any]:
    """Bytes for each event that waits: the growth by the later of *count* events."""
    for number in range(count // 4):
        system.push(system.item(number))
    sleep(WARM)
    before = resident()
    for number in range(count // 4, count):
        system.push(system.item(number))
    return {"each": (resident() - before) / (count - count // 4)}


def resident() -> int:
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")


MEASURES = {measure.__name__: measure for measure in (burst, push, ratio, fair, paced, sustained, memory)}


def main() -> None:
    measure, name, base, count, threads = [*sys.argv[1:], "1", "1"][:5]
    system = getattr(systems, name)(base)
    found = MEASURES[measure](system, int(count), int(threads))
    print(found, flush=True)
    if measure != "burst":
        os._exit(0)


if __name__ == "__main__":
    main()
