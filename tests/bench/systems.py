"""One small adapter for each system: how it is set up, and how an event is given to it. Else all as it comes.

What is imported here at the top is what any program has imported: no system finds its own imports done.
"""

from __future__ import annotations

import threading
from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def nought() -> None:
    """Nothing to do."""


class System:
    def __init__(
        self,
        push: Callable[[str], object],
        item: Callable[[int], str],  # what is pushed as the event of a number
        drain: Callable[[], object] = nought,  # wait until all that was pushed is sent
        close: Callable[[], object] = nought,  # at the end of the program, where users must call something
    ) -> None:
        self.push, self.item, self.drain, self.close = push, item, drain, close


def name(number: int) -> str:
    return f"bench-{number:06d}"


def plain(base: str) -> Callable[[int], str]:
    return lambda number: f"{base}/ping?event={name(number)}&".ljust(150, "x")


def matomo_page(base: str) -> Callable[[int], str]:
    page = "https%3A%2F%2Fmyapp.example.com%2F"
    head = f"{base}/matomo.php?idsite=1&rec=1&send_image=0&url={page}&action_name="
    return lambda number: f"{head}{name(number)}-".ljust(150, "x")


def nothing(base: str) -> System:
    return System(lambda _: None, plain(base))


def simple_queue(base: str) -> System:
    from queue import SimpleQueue

    return System(SimpleQueue[str]().put, plain(base))


def python_function(base: str) -> System:
    """What a push costs at least where it is written in Python."""
    from collections import deque

    kept: deque[Any] = deque(maxlen=1000)

    def push(uri: str | None = None, /, **params: object) -> None:
        kept.append((uri, params))

    return System(push, plain(base))


def givenotice(base: str) -> System:
    module: Any = import_module("givenotice")
    return System(module.push, plain(base), lambda: module.flush(60))


def givenotice_matomo(base: str) -> System:
    system = givenotice(base)
    system.item = matomo_page(base)
    return system


def givenotice_token(base: str) -> System:
    """With what server-side tracking passes: the address of the visitor, and the token that it needs."""
    system = givenotice(base)
    page = matomo_page(base)
    system.item = lambda number: f"{page(number)}&cip=192.0.2.7&token_auth=0123456789abcdef0123456789abcdef"
    return system


def urllib_inline(base: str) -> System:
    import ssl
    from urllib.request import HTTPSHandler, build_opener

    # A context of its own for each request is what bare urlopen does before 3.12: that would flatter us.
    opener = build_opener(HTTPSHandler(context=ssl.create_default_context()))
    return System(lambda uri: opener.open(uri).read(), plain(base))


def thread_each(base: str) -> System:
    from urllib.request import urlopen

    return System(lambda uri: threading.Thread(target=urlopen, args=(uri,)).start(), plain(base))


def pool_of_8(base: str) -> System:
    from concurrent.futures import ThreadPoolExecutor
    from urllib.request import urlopen

    pool = ThreadPoolExecutor(8)
    waiting: list[Any] = []
    return System(
        lambda uri: waiting.append(pool.submit(urlopen, uri)),
        plain(base),
        lambda: [future.result() for future in waiting],
    )


def requests_futures(base: str) -> System:
    session: Any = import_module("requests_futures.sessions").FuturesSession()
    waiting: list[Any] = []
    return System(
        lambda uri: waiting.append(session.get(uri)),
        plain(base),
        lambda: [future.result() for future in waiting],
    )


def posthog(base: str) -> System:
    client: Any = import_module("posthog").Posthog("key", host=base)
    return System(lambda event: client.capture(event, distinct_id="1"), name)


def segment(base: str) -> System:
    analytics: Any = import_module("segment.analytics")
    analytics.write_key, analytics.host = "key", base
    return System(lambda event: analytics.track("1", event), name)


def segment_shutdown(base: str) -> System:
    system = segment(base)
    analytics: Any = import_module("segment.analytics")
    system.close = analytics.shutdown
    return system


def sentry(base: str) -> System:
    sdk: Any = import_module("sentry_sdk")
    sdk.init(dsn=base.replace("://", "://key@") + "/1")
    return System(sdk.capture_message, name)


def snowplow(base: str) -> System:
    from urllib.parse import urlsplit

    module: Any = import_module("snowplow_tracker")
    parts = urlsplit(base)
    emitter = module.AsyncEmitter(str(parts.hostname), protocol=parts.scheme, port=parts.port)
    tracker = module.Tracker("bench", emitter)
    return System(lambda event: tracker.track(module.StructuredEvent("bench", event)), name)


def mixpanel(base: str) -> System:
    module: Any = import_module("mixpanel")
    client = module.Mixpanel("token", consumer=module.Consumer(events_url=f"{base}/track"))
    return System(lambda event: client.track("1", event), name)


def matomo(base: str) -> System:
    module: Any = import_module("matomo")
    request: Any = import_module("matomo.request")
    tracker = module.Matomo(request.Request({"REMOTE_ADDR": "127.0.0.1"}), 1, base)
    return System(tracker.do_track_page_view, name)


def statsd(base: str) -> System:
    client: Any = import_module("statsd").StatsClient("127.0.0.1", int(base.rpartition(":")[2]))
    return System(client.incr, name)
