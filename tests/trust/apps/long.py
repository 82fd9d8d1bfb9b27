"""Pushes from 8 threads for a long time, and tells in JSON what became of it, and what it took.

python long.py COUNT SECONDS URI ...
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Iterator

import givenotice

THREADS = 8
count, seconds, uris = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
taken = [0] * THREADS
samples: list[tuple[int, int, int]] = []


def push(thread: int) -> None:
    begin = time.monotonic()
    for done, number in enumerate(range(thread, count, THREADS), 1):
        taken[thread] += givenotice.push(f"{uris[number % len(uris)]}&number={number}")
        if not done % 50:
            time.sleep(max(0.0, begin + seconds * done * THREADS / count - time.monotonic()))


def sample() -> tuple[int, int, int]:
    """Kilobytes of memory, threads, sockets."""
    with open("/proc/self/statm") as statm:
        memory = int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE") // 1024
    return memory, len(os.listdir("/proc/self/task")), sum(sockets())


def sockets() -> Iterator[bool]:
    for name in os.listdir("/proc/self/fd"):
        try:
            yield os.readlink(f"/proc/self/fd/{name}").startswith("socket:")
        except OSError:  # closed meanwhile
            pass


def main() -> None:
    threads = [threading.Thread(target=push, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        samples.append(sample())
        time.sleep(0.25)
    flushed = givenotice.flush(120)
    deadline = time.monotonic() + 20
    while (idle := sample())[1:] != (1, 0) and time.monotonic() < deadline:
        time.sleep(0.1)
    found = {"taken": sum(taken), "flushed": flushed, "idle": idle, "samples": samples}
    print(json.dumps({**found, "stats": givenotice.stats()._asdict()}))


main()
