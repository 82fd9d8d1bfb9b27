#!/usr/bin/env python3
# SPDX-FileCopyrightText: The givenotice developers
# SPDX-License-Identifier: MIT
"""Give notice to another service: an HTTP request from the background, no answer expected.

    import givenotice
    givenotice.push("https://hc.example/ping/9f2c")    # a heartbeat
    givenotice.push(action_name="worker-job")          # $GIVENOTICE_URI plus parameters

`push` queues and returns; a background thread sends; what is left at the exit of the process
is sent then, within a small budget. A notice may be late or lost, it is never sent twice, and
the program never waits for it and never hears of it. It does not promise delivery, it does not
retry, it keeps nothing on disk.

Settings are environment variables: GIVENOTICE_URI (read at each push), and, read at import,
GIVENOTICE_DISABLED, GIVENOTICE_TIMEOUT, GIVENOTICE_EXIT_TIMEOUT and GIVENOTICE_BACKLOG.

Homepage: https://github.com/givenotice/givenotice

PYTEST_DONT_REWRITE
"""
# The mark above: a library that is a pytest plugin, too, is often imported before pytest could rewrite its
# assertions; without the mark pytest warns of that, and `-W error` ends the user's run.

from __future__ import annotations

import atexit
import os
import sys
import threading  # by the main thread: a worker that is first to import it is taken for the main one
from _thread import allocate_lock, get_ident, start_new_thread
from binascii import b2a_base64
from collections import deque, namedtuple
from collections.abc import Iterator, Sequence  # before there are threads: 3.13.0 fails where two import it
from itertools import count
from time import monotonic, sleep, strftime, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from datetime import datetime
    from decimal import Decimal
    from enum import Enum
    from typing import Any, Union
    from uuid import UUID

    import pytest

    Scalar = Union[str, bytes, int, float, Decimal, datetime, UUID, Enum]
    Value = Union[Scalar, Sequence[Scalar], None]
    Parts = tuple[str, str, str, str, str, str]  # scheme, userinfo, host and port, path, query, fragment

__all__ = [
    "Notice",
    "Recorder",
    "Stats",
    "build_uri",
    "flush",
    "matomo_uri",
    "push",
    "recording",
    "stats",
]
__version__ = "1.0.0.dev0"


def _setting(name: str, default: float) -> float:
    """The number in the environment variable *name*; *default* if there is none that makes sense."""
    try:
        value = float(os.environ.get(name, default))
    except ValueError:
        return default
    return value if 0 <= value < threading.TIMEOUT_MAX else default


# Settings. A script may assign them; deployments set the environment variables.
DISABLED = os.environ.get("GIVENOTICE_DISABLED", "") == "1"  # True: every push is dropped
TIMEOUT = _setting("GIVENOTICE_TIMEOUT", 5.0)  # seconds for one request in all
EXIT_TIMEOUT = _setting("GIVENOTICE_EXIT_TIMEOUT", 2.0)  # seconds for the exit in all; 0: leave at once
BACKLOG = int(_setting("GIVENOTICE_BACKLOG", 10_000))  # notices that may wait; the next is dropped

# Fixed by measurement.
WORKERS = 100  # threads at most; with them 1 000 notices to a server that takes 100 ms are sent in 1.2 s
IDLE = 2.0  # seconds after which an idle worker ends, and closes its connections
PATIENCE = 0.002  # seconds that a worker waits for a server before it brings in another for other work
QUIET = 0.002  # seconds that a connection rests before it serves again, if no keep-alive was promised
KEPT = 4  # connections that a worker keeps alive, each to another origin
GRACE = 0.25  # seconds of the exit that are kept for workers to leave after their requests were cut
REDIRECTS = 5  # redirects that one notice may follow
BODY = 65_536  # bytes of an answer that are read, at most, to keep the connection alive
BULK = 500  # notices in one bulk request to Matomo
BULK_BYTES = 512_000  # bytes in one bulk request; web servers refuse bodies over 1 MB
LONG = 7_500  # bytes of a query beyond which Matomo gets it as a form; web servers answer 8 KB with 414
_FORM = "application/x-www-form-urlencoded"


# --- Build: pure functions from parameters to a URI -------------------------------------------

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # RFC 3986, 2.3
_USERINFO = _UNRESERVED + b"!$&'()*+,;=:"  # 3.2.1
_PATH = _USERINFO + b"@/"  # 3.3
_QUERY = _PATH + b"?"  # 3.4, and the same for the fragment, 3.5
_HEX = frozenset("0123456789ABCDEFabcdef")
_ENCODED = [f"%{byte:02X}" for byte in range(256)]


def build_uri(base: str, /, **params: Value) -> str:
    """Return *base* with its query parameters set: an existing name is replaced, a new one appended.

    None removes a parameter, a list repeats it. Every character outside RFC 3986 *unreserved* is
    percent-encoded as UTF-8. Raises ValueError or TypeError with a sentence that names the culprit.
    """
    scheme, userinfo, host, path, query, fragment = _split(base)
    query = _set(query, params)
    user = f"{userinfo}@" if userinfo else ""
    return f"{scheme}://{user}{host}{path}{query and '?' + query}{fragment and '#' + fragment}"


def _split(uri: str) -> Parts:
    """The parts of an absolute http(s) URI, normalised as a browser does."""
    if not isinstance(uri, str):
        raise TypeError(f"The URI must be a str, not {type(uri).__name__}.")
    uri = str.strip(uri, " ")
    if not uri.isprintable() and any(char < " " or "\x7f" <= char <= "\x9f" for char in uri):
        raise ValueError("The URI must not contain control characters.")
    scheme, slashes, rest = uri.partition("://")
    scheme = scheme.lower()
    if not slashes or scheme not in ("http", "https"):
        raise ValueError("The URI must be absolute and begin with http:// or https://.")
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if "\\" in authority:  # for a browser the path begins there, for RFC 3986 it is part of a user's name
        raise ValueError("The URI must not contain a backslash before its path.")
    userinfo, _, host = authority.rpartition("@")
    return (
        scheme,
        _encode(userinfo, _USERINFO),
        _host(host),
        _encode(slash + path, _PATH) or "/",
        "&".join(part for part in _encode(query, _QUERY).split("&") if part),
        _encode(fragment, _QUERY),
    )


def _host(text: str) -> str:
    """The host and port, checked; a name that is not ASCII as the DNS knows it (IDNA)."""
    if text.startswith("["):
        from ipaddress import IPv6Address  # rare, and 5 ms

        literal, bracket, port = text[1:].partition("]")
        try:
            if not bracket or "%" in literal or port[:1] not in ("", ":"):
                raise ValueError
            host = f"[{IPv6Address(literal)}]"
        except ValueError:
            raise ValueError("The URI has no valid IPv6 address in its brackets.") from None
        port = port[1:]
    else:
        name, _, port = text.partition(":")
        try:
            host = (name if name.isascii() else name.encode("idna").decode("ascii")).lower()
        except UnicodeError:
            raise ValueError("The URI has a host that is no valid domain name.") from None
        labels = host.removesuffix(".").split(".")
        wrong = host.strip("abcdefghijklmnopqrstuvwxyz0123456789-_.")
        if wrong or len(host) > 253 or "" in labels or max(map(len, labels)) > 63:
            raise ValueError("The URI has no host, or one that is no valid domain name.")
    if not port:
        return host
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65_536):
        raise ValueError("The URI has a port that is no number from 1 to 65535.")
    return f"{host}:{int(port)}"


def _encode(text: str, keep: bytes) -> str:
    """Percent-encode all but *keep*; what is encoded already stays as it is."""
    data = _utf8(text, "The URI")
    if not data.translate(None, keep):  # nothing to encode
        return text
    head, *rest = data.split(b"%")
    out = _quote(head, keep)
    for piece in rest:
        encoded = len(piece) > 1 and _HEX.issuperset(piece[:2].decode("latin-1"))
        out += ("%" if encoded else "%25") + _quote(piece, keep)
    return out


def _quote(data: bytes, keep: bytes) -> str:
    if not data.translate(None, keep):
        return data.decode()
    return "".join([chr(byte) if byte in keep else _ENCODED[byte] for byte in data])


def _utf8(text: str, what: str) -> bytes:
    try:
        return str.encode(text, "utf-8")
    except UnicodeEncodeError:  # its own text would show all of *text*, secrets included
        raise ValueError(f"{what} must not contain a lone surrogate.") from None


def _set(query: str, params: dict[str, Any]) -> str:
    """*query* with *params* set in it: in place where the name is there, else at the end."""
    if not params:
        return query
    pairs = [(_decode(part.partition("=")[0]), part) for part in query.split("&") if part]
    for name, value in params.items():
        what = f"Parameter {name!a}"
        key = _quote(_utf8(name, what), _UNRESERVED)
        values = value if isinstance(value, (list, tuple)) else () if value is None else (value,)
        new = [(name, f"{key}={_text(item, what)}") for item in values]
        at = next((i for i, (known, _) in enumerate(pairs) if known == name), len(pairs))
        pairs = pairs[:at] + new + [pair for pair in pairs[at:] if pair[0] != name]
    return "&".join([part for _, part in pairs])


def _decode(name: str) -> str:
    """The name of a parameter as servers read it (form decoding: + is a space)."""
    if name.isalnum():
        return name
    head, *rest = name.replace("+", " ").split("%")
    data = head.encode() + b"".join(bytes.fromhex(piece[:2]) + piece[2:].encode() for piece in rest)
    return data.decode("utf-8", "replace")


def _text(value: Any, what: str) -> str:
    """One value of a parameter, percent-encoded."""
    if type(value) is not str:
        value = _str(value, what)
    return _quote(_utf8(value, what), _UNRESERVED)


def _str(value: Any, what: str) -> str:
    if _is(value, "enum", "Enum"):
        value = value.value
    if isinstance(value, str):
        return str.__str__(value)
    if _is(value, "uuid", "UUID"):
        return str(value)
    if isinstance(value, bytes):
        try:
            return bytes.decode(value, "utf-8")
        except UnicodeDecodeError:
            raise ValueError(f"{what} must be UTF-8 where it is given as bytes.") from None
    if isinstance(value, bool):
        return "1" if value else "0"  # the convention of tracking APIs
    if isinstance(value, int):
        try:
            return int.__repr__(value)
        except ValueError:
            raise ValueError(f"{what} is an integer with too many digits.") from None
    if isinstance(value, float) or _is(value, "decimal", "Decimal"):
        text = float.__repr__(value) if isinstance(value, float) else str(value)
        if not text[-1].isdigit():  # inf, nan and their like
            raise ValueError(f"{what} must be a finite number.")
        return text
    if _is(value, "datetime", "datetime"):
        if value.utcoffset() is None:
            raise ValueError(
                f"{what} must be a datetime with a time zone; a naive one could mean any instant."
            )
        return str(int(value.timestamp() // 1))
    if isinstance(value, dict):
        raise TypeError(f"{what} must not be a dict; pass json.dumps(...) of it.")
    raise TypeError(f"{what} must not be of type {type(value).__name__}.")


def _is(value: object, module: str, name: str) -> bool:
    """Whether *value* is of a class in a module that is not imported for it: no import, no instance."""
    kind = getattr(sys.modules.get(module), name, None)
    return kind is not None and isinstance(value, kind)


# What Matomo wants to be a number; anything else it stores as 0, or it refuses the whole bulk request.
_NUMBERS = {"e_v", "revenue", "ec_st", "ec_tx", "ec_sh", "ec_dt", "search_count", "lat", "long", "cdo"} | {
    f"pf_{phase}" for phase in ("net", "srv", "tfr", "dm1", "dm2", "onl")
}
_NEED_TOKEN = {"cip", "country", "region", "city", "lat", "long"}
_DAY = 86_400.0  # seconds; Matomo takes an older time only with a token


def matomo_uri(endpoint: str, idsite: int, url: str, /, **params: Value) -> str:
    """Return the URI of one page view or event for Matomo's tracking API.

    *endpoint* is the Matomo server (`/matomo.php` is added unless a .php path is there), *idsite* its
    number of the site, *url* the absolute address of what was seen. Other parameters pass as in `build_uri`;
    those that Matomo would refuse, or silently store as something else, raise ValueError or TypeError
    (https://developer.matomo.org/api-reference/tracking-api).
    """
    if isinstance(idsite, bool) or not isinstance(idsite, int):
        raise TypeError("Parameter 'idsite' must be an int.")
    if idsite < 1:
        raise ValueError("Parameter 'idsite' must be 1 or more.")
    scheme, slashes, rest = url.partition("://") if isinstance(url, str) else ("", "", "")
    if not scheme or not slashes or rest[:1] in ("", "/", "?", "#"):
        raise ValueError(
            "Parameter 'url' must be an absolute URL, such as https://myapp.example.com/worker/."
        )
    for name in ("idsite", "rec", "send_image", "url"):
        if name in params:
            raise TypeError(f"Parameter {name!r} is set by matomo_uri itself.")
    given = {name: value for name, value in params.items() if value is not None}
    texts = {name: _plain(value, name) for name, value in given.items()}
    _check(texts, token=bool(texts.get("token_auth")) or "token_auth=" in endpoint)
    if "e_c" in given:
        given.setdefault("ca", 1)
    base, mark, tail = build_uri(endpoint).partition("?")
    if not base.partition("#")[0].endswith(".php"):
        base = base.partition("#")[0].rstrip("/") + "/matomo.php"
    return build_uri(base + mark + tail, **{"idsite": idsite, "rec": 1, "send_image": 0, "url": url, **given})


def _plain(value: Any, name: str) -> str:
    """The value as Matomo sees it: decoded and trimmed; the last one, where there are several."""
    if isinstance(value, (list, tuple)):
        value = value[-1] if value else ""
    return _decode(_text(value, f"Parameter {name!a}")).strip()


def _check(texts: dict[str, str], token: bool) -> None:
    """Raise ValueError for what Matomo's tracking API refuses or changes."""
    for name in texts.keys() & _NUMBERS:
        if _number(texts[name]) is None:
            raise ValueError(f"Parameter {name!r} must be a finite number, with a dot.")
    for name in texts.keys() & {"cid", "_id"}:
        if len(texts[name]) != 16 or not _HEX.issuperset(texts[name]):
            raise ValueError(f"Parameter {name!r} must have 16 hexadecimal digits.")
    if "e_c" in texts or "e_a" in texts:
        for name in ("e_c", "e_a"):
            if not texts.get(name):
                raise ValueError(f"Parameter {name!r} must not be empty: an event has both e_c and e_a.")
    if texts.get("ca") == "1" and "action_name" in texts and "e_c" not in texts:
        raise ValueError("Parameter 'ca' must not be 1 for a page view.")
    age = _age(texts["cdt"]) if "cdt" in texts else 0.0
    if age < -_DAY:
        raise ValueError(
            "Parameter 'cdt' must be seconds, and not in the future; Matomo would take its own time."
        )
    age += _number(texts.get("cdo", "0")) or 0.0
    for name in texts.keys() & _NEED_TOKEN:
        if not token:
            raise ValueError(f"Parameter {name!r} needs token_auth; without it Matomo answers 400.")
    if age > _DAY and not token:
        name = "cdt" if "cdt" in texts else "cdo"
        raise ValueError(f"Parameter {name!r} is older than 24 hours, which needs token_auth.")


def _number(text: str) -> float | None:
    """A finite number as PHP reads it, else None."""
    try:
        number = float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None
    return number if number is not None and number - number == 0 else None


def _age(cdt: str) -> float:
    """Seconds since *cdt*: Unix seconds, or a date and time in UTC."""
    seconds = _number(cdt)
    if seconds is None:
        from datetime import datetime, timezone

        try:
            seconds = datetime.fromisoformat(cdt).replace(tzinfo=timezone.utc).timestamp()
        except ValueError:
            raise ValueError("Parameter 'cdt' must be Unix seconds, or YYYY-MM-DD HH:MM:SS in UTC.") from None
    return time() - seconds


# --- Push: from the caller into the queue, without waiting ------------------------------------


class Stats(namedtuple("Stats", "pushed sent failed dropped pending")):
    """Counts of notices since the process began, or was forked."""

    __slots__ = ()
    pushed: int  # the sum of the others
    sent: int  # the server answered that it has it
    failed: int  # sent, or tried to; the server refused, or nobody knows
    dropped: int  # never tried: malformed, no URI, disabled, the queue full, or the time for the exit over
    pending: int  # waiting, or under way


class _Marker:
    """A flush() on its way through queue and lanes; `done` opens when all before it is dealt with."""

    __slots__ = ("done", "places")

    def __init__(self) -> None:
        self.places = 1  # in which it stands: the queue first, then each lane that was busy
        self.done = allocate_lock()
        self.done.acquire()

    def leave_place(self) -> None:
        self.places -= 1
        if not self.places:
            self.done.release()


class _State:
    """All that belongs to one process. A forked child gets a new one, with nothing of its parent's in it.

    `push` takes no lock that another thread could hold, nor could a signal handler that interrupts it meet
    a lock that it holds itself: it appends to a deque, and wakes a worker by the release of a raw lock. What
    workers share is under `lock`. It is reentrant, as flush and stats may be called in a handler that
    interrupts them; which is why they change nothing of it.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.queue: deque[Any] = deque()  # of URIs, and of the markers of flush
        self.room = 0  # push may append while the queue is shorter; 0 sends it to _enqueue, to look closer
        self.known: tuple[str, ...] = ()  # origins found valid
        self.drops = count()  # its next() is atomic, so that push can count, too
        self.overflow = False
        self.wake = allocate_lock()  # locked: nobody was called; an idle worker waits to acquire it
        self.wake.acquire()
        self.lock = threading.RLock()
        self.crew: set[_Worker] = set()
        self.none = allocate_lock()  # locked as long as there are workers
        self.idle = 0  # workers that wait for `wake`
        self.lanes: dict[Any, deque[Any]] = {}  # what is under way, and what waits for it in order
        self.bulkless: deque[str] = deque(maxlen=1000)  # Matomo endpoints that refuse bulk
        self.sick: set[str] = set()  # origins that failed last time
        self.held = 0  # notices taken from the queue and not dealt with
        self.sent = self.failed = self.dropped = 0
        self.stop = False  # workers: leave
        self.closed = False  # the exit is over: nothing is taken any more
        self.leave = float("inf")  # when workers must be gone
        self.finalizer: Any = None


_state = _State()
_recording: list[Recorder] = []


def push(uri: str | None = None, /, **params: Value) -> bool:
    """Queue one notice to *uri*, by default $GIVENOTICE_URI, with *params* set on it as by `build_uri`.

    True if it was taken; False if it was dropped: no URI, malformed, GIVENOTICE_DISABLED=1, or queue full.
    Returns at once, and raises nothing but under the recorder of a test.
    """
    try:
        state = _state
        # All that the caller pays while a worker is awake; `room` is 0 when anything needs a closer look.
        room = len(state.queue) < state.room and not params and not DISABLED
        if room and type(uri) is str and uri.startswith(state.known):
            state.queue.append(uri)
            return True
        return _sink(uri, params)
    except Exception:
        if _recording:
            raise
        return False


def _enqueue(uri: str | None, params: dict[str, Any]) -> bool:
    """The sink of production: check the notice, put it in the queue, see to it that a worker will look."""
    state = _own_state()
    try:
        if uri is None:
            uri = os.environ.get("GIVENOTICE_URI", "")
        if params or type(uri) is not str or not uri.startswith(state.known):
            uri = build_uri(uri, **params)
            origin = "/".join(uri.split("/", 3)[:3]) + "/"
            if origin not in state.known:
                state.known = (*state.known[-7:], origin)
        if not DISABLED and not state.closed:
            if len(state.queue) + state.held < BACKLOG:
                state.queue.append(uri)
                if not state.room:
                    _rouse(state)
                return True
            state.overflow = True
    except Exception:
        pass
    next(state.drops)
    return False


_sink = _enqueue  # the seam: the recorder of the tests puts its own in here


def _own_state() -> _State:
    """The state of this process, also where a fork passed our hook by (uWSGI can do that)."""
    if _state.pid != os.getpid():
        _after_fork_in_child()
    return _state


def _rouse(state: _State) -> bool:
    """Wake an idle worker, or start another; wait for nothing. False if there can be none."""
    awake = False
    try:
        _admit(state, True)  # before the rest: whoever pushes in between need not come here
        if state.idle:
            _release(state.wake)
        elif len(state.crew) < WORKERS:
            _finalize_in_multiprocessing(state)
            _start(state)
        awake = True
    except Exception:  # no thread to be had: at a limit, in some subinterpreters, at the exit of 3.12.1
        pass
    finally:
        if not awake:
            _admit(state, False)
    return awake


def _start(state: _State) -> None:
    worker = _Worker(state, state.leave)
    try:
        state.crew.add(worker)  # before it runs: the exit must know of it, and wait
        state.none.acquire(False)
        # Not Thread.start(): it waits until the thread runs, tens of milliseconds beside busy threads,
        # and for ever at the end of the interpreter before 3.12.
        start_new_thread(_run, (worker,))
    except BaseException:
        _discharge(worker)
        raise


def _discharge(worker: _Worker) -> None:
    state = worker.state
    state.crew.discard(worker)
    if not _working(state):
        _admit(state, False)  # the next push calls somebody
    if not state.crew:
        _release(state.none)


def _release(lock: Any) -> None:
    try:
        lock.release()
    except RuntimeError:  # another was as quick
        pass


def _admit(state: _State, awake: bool) -> None:
    """Let push append without a closer look as long as a worker is awake, who looks at the queue again."""
    state.room = max(0, BACKLOG - state.held) if awake and not state.closed and not _recording else 0


def flush(timeout: float | None = None) -> bool:
    """Wait until all that was pushed before was dealt with, at most *timeout* seconds; True if so.

    The default is EXIT_TIMEOUT.
    """
    state = _own_state()
    deadline = monotonic() + max(
        0.0, min(EXIT_TIMEOUT if timeout is None else timeout, threading.TIMEOUT_MAX / 2)
    )
    with state.lock:
        if state.closed or not (state.queue or state.held):
            return not state.held
    marker = _Marker()
    state.queue.append(marker)
    if not state.room and not _rouse(state) and not state.crew:
        _work(_Worker(state, deadline))  # here, then
    return marker.done.acquire(True, max(0.0, deadline - monotonic()))


def stats() -> Stats:
    """How many notices were pushed, sent, failed, dropped, and are pending."""
    state = _own_state()
    with state.lock:
        dropped = state.dropped + int(repr(state.drops)[len("count(") : -1])
        done = (state.sent, state.failed, dropped, _waiting(state) + state.held)
    return Stats(sum(done), *done)


def _waiting(state: _State) -> int:
    return sum(type(item) is not _Marker for item in state.queue.copy())


# --- Work: from the queue to the server, in background threads ---------------------------------
#
# A worker takes what is next, sends it, and ends when there was nothing to do for IDLE seconds. One that
# must wait for a server while there is work brings in another, so that a single notice, or a quick server,
# costs one thread, and a burst to a slow one gets many.
#
# What is under way has a lane, in which what must wait for it stands in order. A plain notice has a lane of
# its own. A Matomo endpoint has one for all its notices, since Matomo splits a visitor into several visits
# where his hits arrive side by side; what waits there goes as one bulk request.


class _Worker:
    """One thread's kept-alive connections, and the time that its request may take."""

    def __init__(self, state: _State, leave: float) -> None:
        self.state = state
        self.leave = leave  # when it must be gone; finite where flush does the work itself, and in the shell
        self.deadline = 0.0  # of the request under way
        self.links: dict[Any, Any] = {}
        self.socket: Any = None  # of the request under way: the exit shuts it down
        self.waits = False  # for a server, beyond PATIENCE; or it is about to leave

    def left(self) -> float:
        """Seconds that are left for the request."""
        left = self.deadline - monotonic()
        if left <= 0 or self.state.stop:
            raise TimeoutError("timed out")
        return left


def _run(worker: _Worker) -> None:  # pragma: no cover  # the tracer begins in it
    """The life of a worker thread."""
    try:
        # Debuggers and coverage set it for threads; a raw one does not inherit it. From 3.10.
        sys.settrace(getattr(threading, "gettrace", sys.gettrace)())
        _work(worker)
    except BaseException:  # such as a SystemExit out of somebody's logging handler: a thread would print it
        pass


def _work(worker: _Worker) -> None:
    state = worker.state
    state.crew.add(worker)
    state.none.acquire(False)
    key = None
    try:
        while not state.stop and monotonic() < worker.leave and len(state.crew) <= WORKERS:
            key, batch = _take(state, key)
            if batch:
                _deliver(worker, key, batch)
                if not isinstance(key, str) and _is_surplus(worker):
                    break
                worker.waits = False
            elif worker.leave < float("inf") or not _rest(state):
                break
    finally:
        _leave(worker, key)


def _take(state: _State, key: Any) -> tuple[Any, list[Parts]]:
    """The lane, and its notices to send next: of the lane *key* as long as it has some, then of the queue."""
    with state.lock:
        while True:
            more = _sort(state)
            lane = state.lanes.get(key)
            if lane is None:
                if not more:
                    return None, []
                uri = state.queue.popleft()
                state.held += 1
                key = _endpoint(uri) or object()
                lane = state.lanes[key] = deque([uri])
                if isinstance(key, str):  # what waits for the same endpoint goes along
                    _sort(state)
            batch = _cut(state, lane, 1 if key in state.bulkless else BULK)
            if batch:
                break
            del state.lanes[key]
        _admit(state, not state.idle)
    return key, batch


def _sort(state: _State) -> bool:
    """Move notices from the queue to the lanes in which they must wait; True if one is left that need not."""
    while state.queue:
        item = state.queue[0]
        if isinstance(item, _Marker):
            state.queue.popleft()
            item.places += len(state.lanes)
            for busy in state.lanes.values():
                busy.append(item)
            item.leave_place()
            continue
        lane = state.lanes.get(_endpoint(item))
        if lane is None:
            return True
        lane.append(state.queue.popleft())
        state.held += 1
        _admit(state, state.room > 0)  # each time, or push takes all that the queue got shorter for room
    return False


def _endpoint(uri: str) -> str | None:
    """The Matomo endpoint that *uri* is a tracking request for, else None."""
    if ".php?" in uri and "idsite=" in uri and "rec=1" in uri:
        base, _, query = uri.partition("?")
        query = f"&{query}&"
        if base.endswith(".php") and "&rec=1&" in query and "&idsite=" in query:
            return base
    return None


def _cut(state: _State, lane: deque[Any], most: int) -> list[Parts]:
    """Take the notices from the head of a lane that go in one request."""
    batch: list[Parts] = []
    size = 0
    while lane and len(batch) < most:
        if isinstance(lane[0], _Marker):
            if batch:
                break
            lane.popleft().leave_place()
            continue
        try:
            parts = _split(lane[0])
        except Exception:  # the little that push does not look at, such as control characters
            lane.popleft()
            _settle(state, dropped=1)
            continue
        alone = _needs_form(parts[4])
        size += len(parts[4]) + len('"?", ')
        if batch and (alone or size > BULK_BYTES):
            break
        batch.append(parts)
        lane.popleft()
        if alone:
            break
    return batch


def _needs_form(query: str) -> bool:
    """Whether a Matomo notice must go in the body of a POST: a token stays out of access logs there."""
    encoded = "%5" in query or "%6" in query or "%7" in query  # somebody may have encoded letters
    return len(query) > LONG or "token_auth" in (_decode(query) if encoded else query)


def _rest(state: _State) -> bool:
    """Wait for a push; False if there was none for IDLE seconds."""
    with state.lock:
        state.idle += 1
        _admit(state, False)
    # Only now is the queue looked at again: a push that came before saw no idle worker to wake.
    called = bool(state.queue) or state.stop or state.wake.acquire(True, IDLE)
    with state.lock:
        state.idle -= 1
        _admit(state, not state.idle)
    return called


def _leave(worker: _Worker, key: Any) -> None:
    state = worker.state
    for link in worker.links.values():
        link.close()
    with state.lock:
        lane = state.lanes.pop(key, deque())
        while lane and isinstance(lane[0], _Marker):  # put back, it would go into every lane once more
            lane.popleft().leave_place()
        _put_back(state, lane)
        _discharge(worker)
        working = _working(state)
    if state.stop:
        _release(state.wake)  # the next one leaves, too
    elif state.queue and not working and monotonic() < worker.leave:  # pushed in the last moment
        _rouse(state)


def _put_back(state: _State, lane: deque[Any]) -> None:
    while lane:
        item = lane.pop()
        if type(item) is not _Marker:
            state.held -= 1
        state.queue.appendleft(item)


def _deliver(worker: _Worker, endpoint: Any, batch: list[Parts]) -> None:
    """Send a batch in one request; each notice by itself where Matomo stored nothing of the batch."""
    state = worker.state
    _log_overflow(state)
    outcome = _send_bulk(worker, endpoint, batch) if len(batch) > 1 else "single"
    if outcome == "settled":
        return
    sent = 0
    for parts in batch:
        if state.stop or monotonic() >= worker.leave:
            _settle(state, dropped=1)
        else:
            sent += _send(worker, parts, form=isinstance(endpoint, str) and _needs_form(parts[4]))
    if outcome == "refused" or (outcome == "rolled back" and sent == len(batch)):
        state.bulkless.append(endpoint)  # it was not the content that was refused


def _relieve(worker: _Worker, blind: bool = False) -> None:
    """Bring in another worker if there is work that need not wait for the request under way.

    *blind*: this worker cannot look after it for a while; somebody must.
    """
    state = worker.state
    with state.lock:
        worker.waits = True
        more = _sort(state)
        if blind and _working(state):
            more = False
        elif blind:
            _admit(state, False)  # the next push calls somebody
    if more:
        _rouse(state)


def _is_surplus(worker: _Worker) -> bool:
    """Whether to leave the work to another: beside a quick server, two only take turns at Python's lock."""
    state = worker.state
    if not worker.waits and len(state.crew) > 1:
        with state.lock:
            worker.waits = _working(state) > 1
        return worker.waits
    return False


def _working(state: _State) -> int:
    """The number of workers that wait neither for a server nor for a push."""
    return sum(not worker.waits for worker in list(state.crew)) - state.idle


def _send(worker: _Worker, parts: Parts, form: bool) -> bool:
    """Send one notice; as a form where Matomo wants it so."""
    begin = monotonic()
    try:
        if form:
            target = (*parts[:4], "", "")
            status, _ = _fetch(worker, target, parts[4].encode(), _FORM)
        else:
            status, _ = _fetch(worker, parts)
        reason = str(status)
    except Exception as error:
        status, reason = 0, _reason(error)
    sent = 200 <= status < 300
    _settle(worker.state, sent=sent, failed=not sent)
    _log_delivery(worker.state, parts, sent, reason, monotonic() - begin)
    return sent


def _send_bulk(worker: _Worker, endpoint: str, notices: list[Parts]) -> str:
    """Send notices to Matomo in one request.

    "settled": they were stored, or nobody knows. Else nothing was stored, and each may go by itself:
    "rolled back", where it may be that one of them is to blame, or "refused", where it is the bulk request.
    """
    with _loading:
        import json

    begin = monotonic()
    body = json.dumps({"requests": ["?" + parts[4] for parts in notices]}).encode()
    try:
        target = (*notices[0][:4], "", "")
        status, answer = _fetch(worker, target, body, "application/json", follow=False)
        reason = str(status)
    except Exception as error:
        status, answer, reason = 0, None, _reason(error)
    sent = 0
    if 200 <= status < 300 and answer is not None:
        try:
            told = json.loads(answer)
            sent, invalid = int(told["tracked"]), int(told["invalid"])
            if sent + invalid <= 0:
                return "refused"
        except (ValueError, TypeError, KeyError):  # it is not Matomo's JSON
            if answer.lstrip().startswith(b"<"):
                return "refused"
            if status == 204 or answer.startswith(b"GIF8"):
                sent = len(notices)
            else:  # not Matomo's at all; what it does with a bulk request, nobody knows
                worker.state.bulkless.append(endpoint)
        except (RecursionError, OverflowError):  # nor anybody's
            pass
    elif 300 <= status <= 500 and answer is not None:
        return "rolled back" if status == 500 else "refused"
    sent = max(0, min(sent, len(notices)))
    _settle(worker.state, sent=sent, failed=len(notices) - sent)
    for parts in notices:
        _log_delivery(worker.state, parts, sent > 0, reason, monotonic() - begin)
    return "settled"


def _settle(state: _State, sent: int = 0, failed: int = 0, dropped: int = 0) -> None:
    """Count what was dealt with."""
    with state.lock:
        state.sent += sent
        state.failed += failed
        state.dropped += dropped
        state.held -= sent + failed + dropped


def _reason(error: Exception) -> str:
    """Why a request failed, without a word of what was asked."""
    name = type(error).__name__
    return "timed out" if name in ("TimeoutError", "timeout") else getattr(error, "strerror", None) or name


def _log_overflow(state: _State) -> None:
    if state.overflow and "" not in state.sick:
        state.sick.add("")
        _log(state, "WARNING", "The queue of notices is full; new ones are dropped.")
    elif "" in state.sick and len(state.queue) < BACKLOG // 2:
        state.overflow = False
        state.sick.discard("")
        _log(state, "INFO", "The queue of notices has room again.")


def _log_delivery(state: _State, parts: Parts, sent: bool, reason: str, seconds: float) -> None:
    """A line for each notice at DEBUG, and one when an origin begins to fail, or works again."""
    origin = f"{parts[0]}://{parts[2]}"
    _log(state, "DEBUG", "%s%s %s %.0f ms", origin, parts[3], reason, seconds * 1000)
    if sent and origin in state.sick:
        state.sick.discard(origin)
        _log(state, "INFO", "Notices to %s are delivered again.", origin)
    elif not sent and origin not in state.sick and len(state.sick) < 1000:
        state.sick.add(origin)
        _log(state, "WARNING", "Notices to %s are not delivered: %s.", origin, reason)


def _log(state: _State, level: str, message: str, *args: object) -> None:
    """Log to "givenotice", unless nobody has imported logging: then there is nobody who could listen."""
    logging = sys.modules.get("logging")
    if logging is None or state.stop:  # at the end of the interpreter a thread that writes can abort it
        return
    try:
        logger = logging.getLogger("givenotice")
        if not logger.handlers:
            logger.addHandler(logging.NullHandler())
        logger.log(getattr(logging, level), message, *args)
    except BaseException:  # of a handler of the app's; or logging is just being imported
        pass


# --- Send: one request, with a limit to its whole time ------------------------------------------

_loading = allocate_lock()  # held while a worker imports, or starts TLS: forks and the exit wait for it
_exchange: Any = None


def _network() -> Any:
    """What makes a request; it is made by the first worker, since its imports take 40 ms."""
    global _exchange
    if _exchange is None:
        with _loading:
            _exchange = _exchange or _make_exchange()
    return _exchange


def _fetch(
    worker: _Worker, parts: Parts, data: bytes | None = None, mime: str = "", follow: bool = True
) -> tuple[int, bytes | None]:
    """Status and body of the answer; the body is None if the connection broke in it."""
    exchange = _network()
    worker.deadline = min(monotonic() + TIMEOUT, worker.leave)
    headers = {"User-Agent": f"givenotice/{__version__}"}
    if mime:
        headers["Content-Type"] = mime
    status, body = 0, None
    for _hop in range(REDIRECTS + 1):
        scheme, userinfo, host, path, query, _fragment = parts
        if userinfo:
            headers["Authorization"] = _basic(userinfo)
        selector = f"{path}?{query}" if query else path
        status, location, body = exchange(worker, (scheme, host), selector, data, headers)
        if status not in (301, 302, 303, 307, 308) or not location or not follow:
            break
        try:
            parts = _redirected(parts, location)
        except ValueError:
            break
        # A token is not for others, nor for all to read.
        if data is not None and (_name(host) != _name(parts[2]) or scheme > parts[0]):
            break
        if (scheme, host) != (parts[0], parts[2]):
            headers.pop("Authorization", None)
    return status, body


def _basic(userinfo: str) -> str:
    """The header for user:password@ in a URI."""
    from urllib.parse import unquote_to_bytes

    user = unquote_to_bytes(userinfo if ":" in userinfo else userinfo + ":")
    return "Basic " + b2a_base64(user, newline=False).decode()


def _redirected(parts: Parts, location: str) -> Parts:
    from urllib.parse import urljoin

    # Headers are bytes that http.client reads as Latin-1.
    place = location.encode("latin-1").decode("utf-8", "replace")
    return _split(urljoin(f"{parts[0]}://{parts[2]}{parts[3]}", place))


def _name(host: str) -> str:
    """The host without its port."""
    return host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _make_exchange() -> Any:
    """Requests by http and https, through the proxies of the environment, on connections kept alive."""
    import socket
    from http import client
    from urllib import parse, request  # noqa: F401

    here = threading.local()  # .worker: whose request it is
    fickle: set[Any] = set()  # servers that close connections right behind an answer

    plain = socket.socket  # bound as long as the opener is; gevent may put another in its place

    class Bounded:
        """A socket on which all waiting has one limit; a timeout alone begins anew with each byte."""

        def wait(self: Any, operation: Any, *args: Any, **options: Any) -> Any:
            """Do *operation*, in slices of time between which work for other servers is looked after."""
            patience = PATIENCE
            while True:
                self.settimeout(min(here.worker.left(), patience))
                try:
                    return operation(*args, **options)
                except socket.timeout:
                    _relieve(here.worker)
                    patience = min(patience * 2, 0.05)

        def recv_into(self, *args: Any, **options: Any) -> Any:
            return self.wait(super().recv_into, *args, **options)  # type: ignore[misc]

        def sendall(self, data: Any, flags: int = 0) -> None:
            data = memoryview(data)
            while data:
                data = data[self.wait(super().send, data) :]  # type: ignore[misc]

        def cut(self: Any) -> None:
            """Wake the worker up; of the plain socket, as TLS would take its session away from under it."""
            plain.shutdown(self, socket.SHUT_RDWR)

        def do_handshake(self, *args: Any, **options: Any) -> None:
            here.worker.socket = self
            self.wait(super().do_handshake, *args, **options)  # type: ignore[misc]

    class Socket(Bounded, socket.socket):
        pass

    def arrive(sock: Any) -> None:
        """As soon as it is connected, or has failed: Windows would have send() wait on."""
        error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if error:  # pragma: no cover  # elsewhere, send() raises it
            raise OSError(error, os.strerror(error))
        sock.send(b"")

    def dial(address: tuple[str, int], *_: object) -> socket.socket:
        """As socket.create_connection, but the addresses of a host share the time of the request."""
        worker = here.worker
        end = worker.deadline
        _relieve(worker, blind=True)  # a lookup cannot be interrupted
        # As bytes: for a str, getaddrinfo would first import encodings.idna, which takes 5 ms.
        found = socket.getaddrinfo(address[0].encode("ascii"), address[1], 0, socket.SOCK_STREAM)
        worker.waits = False
        for number, (family, kind, protocol, _name, peer) in enumerate(found):
            sock = worker.socket = Socket(family, kind, protocol)
            worker.deadline = monotonic() + (end - monotonic()) / (len(found) - number)
            try:
                sock.settimeout(0)
                try:
                    sock.connect(peer)
                except BlockingIOError:
                    sock.wait(arrive, sock)
                return sock
            except BaseException as error:
                sock.close()
                if number + 1 == len(found) or not isinstance(error, OSError):
                    raise
            finally:
                worker.deadline = end
        raise OSError("no address")

    def gone(link: Any) -> bool:
        """Whether the server closed an idle connection; some do it right behind an answer, without a word."""
        rest = max(0.0, link.since + link.quiet - monotonic())
        if rest:
            _relieve(here.worker)
        link.quiet = 0.0  # it has proved itself, if it stays open
        link.sock.settimeout(rest)
        try:
            plain.recv(link.sock, 1, socket.MSG_PEEK)  # also under TLS
        except (BlockingIOError, socket.timeout):
            return False
        except OSError:
            pass
        return True

    class Connector(request.BaseHandler):
        """Gives a connection for a request: to its host, or to the proxy that the environment has for it."""

        context: Any = None

        def http_open(self, req: Any) -> Any:
            return self.connect(client.HTTPConnection, req)

        def https_open(self, req: Any) -> Any:
            with _loading:
                if self.context is None:
                    import encodings.idna  # noqa: F401  # TLS needs it, and imports it outside of our lock
                    import ssl

                    class TLSSocket(Bounded, ssl.SSLSocket):
                        pass

                    self.context = ssl.create_default_context()
                    self.context.sslsocket_class = TLSSocket
            return self.connect(client.HTTPSConnection, req, context=self.context)

        def connect(self, http_class: Any, req: Any, **options: Any) -> Any:
            link = http_class(req.host, **options)
            link._create_connection = dial
            link.quiet = QUIET
            auth = req.get_header("Proxy-authorization")
            link.proxy_headers = {"Proxy-Authorization": auth} if auth else {}
            if req._tunnel_host:
                link.set_tunnel(req._tunnel_host, headers=link.proxy_headers)
                link.proxy_headers = {}
            link.prefix = req.selector.rstrip("/")  # a proxy is asked for the whole URI
            return link

    opener: Any = request.OpenerDirector()
    opener.add_handler(request.ProxyHandler(request.getproxies_environment()))
    opener.add_handler(Connector())

    def exchange(
        worker: _Worker, origin: tuple[str, str], selector: str, data: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str | None, bytes | None]:
        """One request on a connection that is kept, or a new one: status, Location, body."""
        here.worker = worker
        link = worker.links.pop(origin, None)
        if link is not None and (monotonic() > link.since + IDLE or gone(link)):
            link.close()
            if monotonic() < link.since + IDLE / 2 and len(fickle) < 1000:
                fickle.add(origin)
            link = None
        if link is None:
            link = opener.open("://".join(origin) + "/")
        # Whatever happens now, the request is not made again: nobody knows what the server has read.
        try:
            if not link.sock:
                link.connect()
            worker.socket = link.sock
            method = "GET" if data is None else "POST"
            link.request(method, link.prefix + selector, data, {**headers, **link.proxy_headers})
            response = link.getresponse()
            while 101 < response.status < 200:  # a hint; the answer comes after it
                response.headers = response.msg = None
                response.begin()
        except BaseException:
            link.close()
            raise
        try:
            body = response.read(BODY)
            if response.length and len(body) < BODY:  # http.client says nothing of it
                body = None
        except (OSError, client.HTTPException):
            body = None
        whole = response.isclosed() and body is not None and response.status >= 200
        if whole and link.sock and origin not in fickle:
            if link.quiet and "keep-alive" in response.getheader("Connection", "").lower():
                link.quiet = 0.0
            link.since = monotonic()
            worker.links[origin] = link
            if len(worker.links) > KEPT:
                worker.links.pop(next(iter(worker.links))).close()  # the one that was not used for longest
        else:
            response.close()
            link.close()
        worker.socket = None
        location = response.getheader("Location") if 300 <= response.status < 400 else None
        return response.status, location, body

    return exchange


# --- Exit and fork --------------------------------------------------------------------------------


def _at_exit() -> None:
    """Flush, within the budget; then see to it that the workers have left.

    The end of the interpreter crashes 1 process in 100 where a thread is inside OpenSSL or an import,
    and the end of a subinterpreter aborts the process where any thread of it is alive.
    """
    state = _own_state()
    deadline = monotonic() + EXIT_TIMEOUT
    try:
        if EXIT_TIMEOUT and flush(EXIT_TIMEOUT - min(GRACE, EXIT_TIMEOUT / 2)):
            flush(deadline - min(GRACE, EXIT_TIMEOUT / 2) - monotonic())  # what was pushed meanwhile
    except BaseException:  # Ctrl-C: leave now
        deadline = 0.0
    try:
        with state.lock:
            state.closed = state.stop = True
            _admit(state, False)
            for lane in state.lanes.values():
                _put_back(state, lane)
            state.dropped += _waiting(state)
            state.queue.clear()
        if state.known:  # else there was no notice, and no worker
            _dismiss(state, max(deadline - monotonic(), GRACE / 2))
    except BaseException:  # pragma: no cover  # another Ctrl-C, within milliseconds
        pass


def _dismiss(state: _State, seconds: float) -> None:
    """Cut what is under way, and wait for the workers to leave."""
    deadline = monotonic() + seconds
    if _loading.acquire(True, seconds):
        _loading.release()
    for worker in list(state.crew):
        try:
            worker.socket.cut()
        except Exception:  # it was closed just now, or never opened
            pass
    _release(state.wake)
    _wait_for_none(state, max(0.0, deadline - monotonic()))
    nap = allocate_lock()
    nap.acquire()
    nap.acquire(True, 0.001)  # the last worker has left our code; let it leave Python's


def _wait_for_none(state: _State, seconds: float) -> None:
    if state.none.acquire(True, seconds):
        state.none.release()


def _finalize_in_multiprocessing(state: _State) -> None:
    """Have the exit run in children of multiprocessing, too: before 3.13 they skip atexit."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if state.finalizer is None and util and process and process.parent_process() is not None:
        state.finalizer = util.Finalize(None, _at_exit, exitpriority=-100)


_forking = 0  # the thread that holds _loading for its fork


def _before_fork() -> None:
    """Keep workers out of an import: it would hang the child. Send idle ones away: 3.12 warns of threads."""
    global _forking
    if _loading.acquire(True, 2.0):
        _forking = get_ident()
    state = _state
    with state.lock:
        idle = 0 < len(state.crew) == state.idle and not state.queue and not state.closed
        state.stop = state.stop or idle
    if idle:
        _release(state.wake)
        _wait_for_none(state, 0.05)
        state.stop = False
        if state.queue:
            _rouse(state)


def _after_fork_in_parent() -> None:
    global _forking
    if _forking == get_ident():
        _forking = 0
        _loading.release()


def _after_fork_in_child() -> None:
    """The notices that wait are the parent's, and so are its workers."""
    global _state, _loading, _forking
    _state, _loading, _forking = _State(), allocate_lock(), 0


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):  # pragma: no branch  # not on Windows
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )


# --- Record: the sink of tests ----------------------------------------------------------------------


__tracebackhide__ = True  # pytest, show the line that pushed; beside lines of this file it would show a URI


class _Secret(str):
    """A token. pytest shows the repr of what a failed test compares, and a CI keeps that."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "***"


class Notice(str):
    """The URI of one recorded notice."""

    __slots__ = ()

    def __repr__(self) -> str:
        return repr(_mask(self))

    @property
    def params(self) -> dict[str, Any]:
        """The parameters, decoded; a repeated name gives a list."""
        from urllib.parse import parse_qsl, urlsplit

        params: dict[str, Any] = {}
        for name, value in parse_qsl(urlsplit(self).query, keep_blank_values=True):
            value = _Secret(value) if name.startswith("token_auth") else value
            if name not in params:
                params[name] = value
            elif isinstance(params[name], list):
                params[name].append(value)
            else:
                params[name] = [params[name], value]
        return params


class Recorder(list[Notice]):
    """The notices pushed in a test, in order."""

    def matching(self, uri: str | None = None, /, **params: Value) -> list[Notice]:
        """Those that go to the address of *uri* and have its parameters and *params*; None: absent."""
        expected = _Expected(uri, params)
        return [notice for notice in self if not expected.differing(notice)]

    def assert_one(self, uri: str | None = None, /, **params: Value) -> Notice:
        """Return the one notice that matches, as in `matching`; fail if none does, or several do."""
        __tracebackhide__ = True
        found = self.matching(uri, **params)
        if len(found) != 1:
            raise AssertionError(_Expected(uri, params).explain(self, found))
        return found[0]


class recording:
    """`with recording() as notices:` what is pushed meanwhile, from any thread, is recorded and not sent.

    A malformed URI or parameter raises at the push that made it.
    """

    def __init__(self) -> None:
        self._entered: list[Recorder] = []

    def __enter__(self) -> Recorder:
        self._entered.append(Recorder())
        _divert(self._entered[-1])
        return self._entered[-1]

    def __exit__(self, *_: object) -> None:
        _restore(self._entered.pop())


def _divert(recorder: Recorder) -> None:
    global _sink
    with _state.lock:
        _recording.append(recorder)
        _sink = _record
        _admit(_state, False)


def _restore(recorder: Recorder) -> None:
    global _sink
    with _state.lock:
        _recording[:] = [other for other in _recording if other is not recorder]
        if not _recording:
            _sink = _enqueue


def _record(uri: str | None, params: dict[str, Any]) -> bool:
    """The sink of tests. Without a URI the parameters are recorded alone: tests need no environment."""
    if uri is None:
        uri = os.environ.get("GIVENOTICE_URI") or None
    if uri is None and not params:
        return False
    notice = Notice(f"?{_set('', params)}" if uri is None else build_uri(uri, **params))
    for recorder in _recording[-1:]:  # none, if the last recording ended just now
        recorder.append(notice)
        return True
    return False


class _Expected:
    """What a test expects of a notice: the same as `push` with these arguments would make."""

    def __init__(self, uri: str | None, params: dict[str, Any]) -> None:
        notice = Notice(f"?{_set('', params)}" if uri is None else build_uri(uri, **params))
        self.address = _address(notice)
        self.params = {**dict.fromkeys([*notice.params, *params]), **notice.params}

    def differing(self, notice: Notice) -> list[str]:
        """The names of the parameters that differ; "://" stands for the address."""
        params = notice.params
        wrong = [name for name, value in self.params.items() if params.get(name) != value]
        here, there = (text.replace("://***@", "://") for text in (self.address, _address(notice)))
        return [*wrong, "://"] if here and here != there else wrong

    def explain(self, notices: list[Notice], found: list[Notice]) -> str:
        """Why not exactly one of *notices* matches: what was expected and what was pushed, nearest first."""
        head = f"{len(found) or 'None'} of {len(notices)} notices match" if notices else "Nothing was pushed"
        lines = [f"{head}; expected one{' to' if self.address else ' with' if self.params else ''}"]
        lines += [f"  {self.address}"] * bool(self.address)
        lines += [_line(name, value, short=False) for name, value in self.params.items()]
        if notices:
            lines.append("These match:" if found else "Pushed, nearest first; ! marks what differs:")
        shown = found or sorted(notices, key=lambda notice: len(self.differing(notice)))
        for notice in shown[:10]:
            lines += self.compare(notice)
        if len(shown) > 10:
            lines.append(f"  and {len(shown) - 10} more")
        return "\n".join(lines)

    def compare(self, notice: Notice) -> Iterator[str]:
        params = notice.params
        differing = self.differing(notice)
        address = _address(notice) or "($GIVENOTICE_URI)"
        yield f"! {address}" if "://" in differing else f"  {_shorten(address, 66)}"
        for name in {**self.params, **params}:
            yield _line(name, params.get(name), differs=name in differing)


def _address(uri: str) -> str:
    """The scheme, host and path of a valid URI; a user's name and password are masked."""
    return _mask(uri.partition("#")[0].partition("?")[0])


def _line(name: str, value: Any, short: bool = True, differs: bool = False) -> str:
    text = "(absent)" if value is None else repr(value)
    shown = _shorten(text, 37) if short and not differs else text  # two that differ must not look the same
    return f"  {'!' if differs else ' '} {_shorten(name, 24)} = {shown}"


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width // 2 - 2]}...{text[1 - width // 2 :]}"


def _mask(uri: str) -> str:
    """*uri* without what must not be shown: a token, a password."""
    before, slashes, rest = uri.partition("://")
    authority, slash, path = rest.partition("/")
    _user, at, host = authority.rpartition("@")
    shown = f"{before}{slashes}{'***@' if at else ''}{host}{slash}{path}"
    base, mark, query = shown.partition("?")
    parts = [
        part.partition("=")[0] + "=***" if _decode(part.partition("=")[0]).startswith("token_auth") else part
        for part in query.split("&")
    ]
    return base + mark + "&".join(parts)


# --- Under pytest -----------------------------------------------------------------------------------


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """The plugin: from here on nothing is sent, and the fixture `notices` has what a test pushed.

    Of the hooks, this one is called first: before conftest.py is imported, and an app with it that may push.
    """
    import pytest

    class Unread(Recorder):
        def append(self, notice: Notice) -> None:
            """Keep nothing: this one is for what is pushed outside of tests with `notices`."""

    class Plugin:
        recorder: Recorder | None = None  # of the test that runs, if it has one

        @pytest.fixture
        def notices(self, request: pytest.FixtureRequest) -> Recorder:
            """The notices that the test pushed, in order; nothing is sent."""
            return self.begin(request.node)

        def pytest_fixture_setup(self, fixturedef: Any, request: Any) -> None:
            # From the first fixture of the test itself on: those of its module and session came before.
            if fixturedef.scope == "function" and "notices" in request.fixturenames:
                self.begin(request.node)

        def begin(self, item: pytest.Item) -> Recorder:
            if self.recorder is None:
                self.recorder = recorder = Recorder()
                _divert(recorder)
                item.addfinalizer(lambda: self.end(recorder))
            return self.recorder

        def end(self, recorder: Recorder) -> None:
            _restore(recorder)
            self.recorder = None

    unread = Unread()
    _divert(unread)
    environment = pytest.MonkeyPatch()
    environment.delenv("GIVENOTICE_URI", raising=False)  # tests see the same at each desk
    environment.setenv("GIVENOTICE_DISABLED", "1")  # for other copies, and for the processes that tests start
    for module in list(sys.modules.values()):  # copies that were imported before read it then
        names = getattr(module, "__dict__", {})
        if "matomo_uri" in names and "EXIT_TIMEOUT" in names:
            names["DISABLED"] = True
    config: Any = pluginmanager.get_plugin("pytestconfig")
    config.add_cleanup(environment.undo)
    config.add_cleanup(lambda: _restore(unread))
    other = pluginmanager.get_plugin("givenotice-fixtures")
    if other is None or __name__ != "givenotice":  # a vendored copy comes before an installed one
        if other is not None:
            pluginmanager.unregister(other)
        pluginmanager.register(Plugin(), "givenotice-fixtures")


# --- In the shell -------------------------------------------------------------------------------------

_HELP = """\
usage: givenotice [options] [URI ...] [NAME=VALUE ...]

Give notice to another service: send an HTTP request, expect no answer.
Each NAME=VALUE is set as a parameter on each URI, or on $GIVENOTICE_URI if
there is none. Whatever follows -- is an argument.

options:
  -t, --timeout SECONDS   for the whole run (default: 5)
  -v, --verbose           write a line for each notice to stderr
  -q, --quiet             write nothing to stderr unless an argument is wrong
  -f, --fail              exit with 1 if a notice was not delivered
  -n, --dry-run           print the URIs without their tokens; send nothing
  -V, --version           print the version
  -h, --help              print this help
  --listen [[HOST:]PORT]  receive notices and print them, until Ctrl-C
                          (default: 127.0.0.1:8000)
  --demo                  push notices to a receiver of its own, and show them

environment:
  GIVENOTICE_URI          the URI where none is given
  GIVENOTICE_DISABLED     1: send nothing
  GIVENOTICE_TIMEOUT      the default of --timeout; GIVENOTICE_EXIT_TIMEOUT is
                          not used
  GIVENOTICE_BACKLOG      the number of notices at most (default: 10,000)

exit status:
  0    otherwise, even if a notice was not delivered or there is no URI
  1    not delivered, and -f was given; or stdout cannot be written to
  2    an argument is wrong
  130  Ctrl-C

example:
  givenotice -v -t 10 https://hc.example/ping/9f2c
"""
_LONG = ["timeout=", "verbose", "quiet", "fail", "dry-run", "version", "help", "listen=", "demo"]
_SHORT = dict(zip(["-t", "-v", "-q", "-f", "-n", "-V", "-h"], _LONG))


def main(argv: Sequence[str] | None = None) -> int:
    """Send notices from the command line; the exit status."""
    try:
        status = _command(list(sys.argv[1:] if argv is None else argv))
        if sys.stdout is not None:
            sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        return 130
    except OSError as error:  # the pipe was closed, or the disk is full
        _abandon(1)
        if not isinstance(error, BrokenPipeError):
            _tell(f"givenotice: error: Cannot write: {error.strerror}.")
        return 1


def _abandon(descriptor: int) -> None:
    """At the exit, Python writes what a stream has left; where that fails, the status is 120."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)


def _tell(line: str) -> None:
    try:
        if sys.stderr is not None:
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()
    except OSError:
        _abandon(2)


def _command(argv: list[str]) -> int:
    from getopt import GetoptError, gnu_getopt

    for at, word in enumerate(argv[: argv.index("--") if "--" in argv else None]):
        if word == "--listen" and "".join(argv[at + 1 : at + 2])[:1] in ("", "-"):
            argv[at] = "--listen=8000"
    try:
        given, arguments = gnu_getopt(argv, "t:vqfnVh", _LONG)
        options = {_SHORT.get(name, name[2:]).rstrip("="): value for name, value in given}
        if "help" in options or "version" in options:
            print(_HELP if "help" in options else f"givenotice {__version__}\n", end="")
            return 0
        if "demo" in options:
            return _demo()
        return _listen(options["listen"]) if "listen" in options else _give_notice(options, arguments)
    except GetoptError as error:  # its text has the whole option
        sentence = f"Option {_head(error.opt)}: {error.msg.partition(f'-{error.opt} ')[2]}."
    except (ValueError, TypeError) as error:
        sentence = str(error)
    _tell(f"{_HELP.partition(chr(10))[0]}\ngivenotice: error: {sentence}")
    return 2


def _head(argument: str) -> str:
    """What an error may show of *argument*: beyond its first name there may be a secret."""
    import re

    name = re.split(r"[^\w.-]", argument)[0]
    return ascii(name) + "..." * (name != argument)


def _give_notice(options: dict[str, str], arguments: list[str]) -> int:
    uris, params = _sort_arguments(arguments)
    timeout = _number(options.get("timeout", str(TIMEOUT)))
    if timeout is None or not 0 <= timeout < threading.TIMEOUT_MAX:
        raise ValueError("The timeout must be a number of seconds, 0 or more.")
    configured = _escape(os.environ.get("GIVENOTICE_URI", ""))
    try:
        uris = uris or [build_uri(configured)]
    except ValueError as error:  # a script goes on where nothing is configured
        if "quiet" not in options:
            fault = f"is malformed: {error}" if configured else "is not set."
            _tell(f"givenotice: GIVENOTICE_URI {fault} Nothing is sent.")
        return int("fail" in options)
    uris = [_build(uri, params) for uri in uris]
    if "dry-run" in options:
        print("\n".join(map(_mask, uris)))
        return 0
    if "verbose" in options and "quiet" not in options:
        _log_to_stderr()
    return int(not _send_all(uris, timeout) and "fail" in options)


def _sort_arguments(arguments: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """The URIs, and the parameters."""
    uris: list[str] = []
    params: dict[str, list[str]] = {}
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if argument.lower().startswith(("http://", "https://")):
            uris.append(_escape(argument))
        elif equals and not set(name) & set("/?"):
            params.setdefault(name, []).append(value)
        else:
            raise ValueError(
                f"Argument {_head(argument)} is neither NAME=VALUE nor a URI with http:// or https://."
            )
    return uris, params


def _escape(text: str) -> str:
    """Percent-encode the bytes that are not UTF-8: Python reads them as lone surrogates."""
    return "".join(f"%{ord(char) - 0xDC00:X}" if "\udc80" <= char <= "\udcff" else char for char in text)


def _build(uri: str, params: dict[str, list[str]]) -> str:
    """As `build_uri`, and with values that are not UTF-8."""
    odd = {name: values for name, values in params.items() if _escape("".join(values)) != "".join(values)}
    uri, mark, fragment = build_uri(uri, **{**params, **dict.fromkeys(odd)}).partition("#")
    for name, values in odd.items():
        key = _quote(name.encode(), _UNRESERVED)
        for value in values:
            uri += f"{'&' if '?' in uri else '?'}{key}={_quote(os.fsencode(value), _UNRESERVED)}"
    return uri + mark + fragment


def _log_to_stderr() -> None:
    import logging

    handler = logging.Handler()
    handler.addFilter(lambda record: record.levelno == logging.DEBUG)  # a line for each notice, and no more
    handler.emit = lambda record: _tell(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("givenotice")
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)


def _send_all(uris: list[str], timeout: float) -> bool:
    """Push all, and end as a program does, within *timeout* seconds; True if all were delivered."""
    global TIMEOUT, EXIT_TIMEOUT
    TIMEOUT, EXIT_TIMEOUT = timeout, 0.0
    for uri in uris:
        push(uri)
    flush(timeout)
    _at_exit()
    return stats().sent == len(uris)


# --- A receiver for development -----------------------------------------------------------------------

_GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\0\0\0!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"
_showing = allocate_lock()  # one request after the other


def _receiver(host: str, port: int, show: Any) -> Any:
    """A server, in a thread, that answers as Matomo does, and tells *show* what it gets."""
    import socket
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        protocol_version, timeout = "HTTP/1.1", 30

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            length = max(0, min(int(self.headers.get("Content-Length", 0)), 10_000_000))
            body = self.rfile.read(length).decode("utf-8", "replace")
            told, notices, kind, answer = _read(query, body, self.headers.get("Content-Type", _FORM))
            try:
                show(f"{self.command} {path}", f"{len(query) + length} bytes{told}", notices)
            except OSError as error:  # the pipe was closed, or the disk is full
                server.failure = error
            self.send_response(200 if answer else 204)
            if answer:
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer if self.command != "HEAD" else b"")

        do_HEAD = do_POST = do_PUT = do_GET

        def log_message(self, *_: object) -> None: ...

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    kind: Any = type("Server", (ThreadingHTTPServer,), {"address_family": family})
    server = kind((host, port), Handler)
    server.failure = None
    server.handle_error = lambda *_: None  # a client that sends nonsense, or leaves in the middle
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    return server


def _read(query: str, body: str, kind: str) -> tuple[str, list[str], str, bytes]:
    """What a request has: a word on its body, the queries of its notices; and Matomo's answer, kind first."""
    from json import dumps, loads

    try:
        notices = [request.partition("?")[2] for request in loads(body)["requests"]]
        answer = dumps({"status": "success", "tracked": len(notices), "invalid": 0}).encode()
        return f", {len(notices)} notices", notices, "application/json", answer
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_form = not body or (_FORM in kind.lower() and body.lstrip()[:1] not in tuple('{[<-"'))
    notice = f"{query}&{body}".strip("&") if is_form else query
    gif = "rec=1" in notice and "send_image=0" not in notice
    told = "" if is_form else ", the body is no form and not shown"
    return told, [notice], "image/gif", _GIF * gif


def _show(asked: str, told: str, notices: Sequence[str]) -> None:
    """Print a request that the receiver got: a line for it, and one for each parameter of its notices."""
    from urllib.parse import parse_qsl

    lines = [f"{strftime('%H:%M:%S')} {_shorten(_printable(_mask(asked)), 70 - len(told))} {told}"]
    for notice in notices:
        pairs = [(_printable(name), value) for name, value in parse_qsl(notice, keep_blank_values=True)]
        width = min(max([len(name) for name, _ in pairs], default=0), 24)
        for mark, (name, value) in zip("-" + " " * len(pairs), pairs):
            value = "***" if "token_auth" in name else _printable(value)
            head = f"  {mark} {_shorten(name, 24):{width}}  "
            for at in range(0, len(value) or 1, 74 - width):
                lines.append((" " * len(head) if at else head) + value[at : at + 74 - width])
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    with _showing:
        print("\n".join(lines).encode(encoding, "backslashreplace").decode(encoding), flush=True)


def _printable(text: str) -> str:
    """The text, without what a terminal would take for a command."""
    return text if text.isprintable() else ascii(text)


def _listen(address: str) -> int:
    host, _, port = address.rpartition(":")
    host = host.strip("[]") or "127.0.0.1"
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError("The port to listen on must be a number from 0 to 65535.")
    server: Any = None
    try:
        server = _receiver(host, int(port), _show)
        name = f"[{host}]" if ":" in host else host
        print(f"Listening on http://{name}:{server.server_port}/ until Ctrl-C.")
        print("The value of token_auth is masked, no other secret is.", flush=True)
        # The server has a thread of its own: Python loses a Ctrl-C that comes in a weakref's callback.
        while not server.failure:
            sleep(0.2)  # seconds: the signal may reach another thread, and does not end it then
        raise server.failure
    except KeyboardInterrupt:
        _showing.acquire(True, 1.0)  # a thread that prints can abort the end of the interpreter
        return 0
    except OSError as error:
        if server:
            raise
        raise ValueError(f"Cannot listen on {address!a}: {error.strerror}.") from None


def _demo() -> int:
    """Push notices through all of this file to a receiver in this process; show what arrives, and when."""
    global DISABLED, TIMEOUT, EXIT_TIMEOUT, BACKLOG
    DISABLED, TIMEOUT, EXIT_TIMEOUT, BACKLOG = False, 5.0, 2.0, 10_000  # whatever the environment says
    os.environ["no_proxy"] = "*"
    requests: list[Any] = []
    server = _receiver("127.0.0.1", 0, lambda *told: requests.append(told))
    base = f"http://127.0.0.1:{server.server_port}"
    page = "https://myapp.example.com/worker/"
    event = matomo_uri(base, 1, page, e_c="user", e_a="signup")
    print(f"A receiver listens on {base}/.\nA heartbeat, a page view and an event are pushed to it:\n")
    for uri in f"{base}/ping/9f2c", matomo_uri(base, 1, page, action_name="worker-job"), event:
        push(uri)
        flush()
    for told in requests:
        _show(*told)
    begin = monotonic()
    for _ in range(1000):
        push(event)
    pushed = monotonic()
    flush()
    came, later = sum(len(told[2]) for told in requests[3:]), (monotonic() - pushed) * 1000
    print(f"\n1,000 more were pushed in {(pushed - begin) * 1000:.1f} ms: the program waited no longer.")
    print(f"{came:,} of them arrived in {len(requests) - 3} requests, {later:.0f} ms later.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
