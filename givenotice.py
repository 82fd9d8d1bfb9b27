#!/usr/bin/env python3
# SPDX-FileCopyrightText: The givenotice developers
# SPDX-License-Identifier: MIT
"""Give notice to another service: send it a GET request from the background, and expect no answer.

    import givenotice
    givenotice.push("https://hc.example/ping/9f2c")    # a heartbeat
    givenotice.push(action_name="worker-job")          # $GIVENOTICE_URI plus parameters

    push         queue a notice; never blocks, never raises
    flush        wait until all that was pushed was sent, failed or dropped
    stats        how many notices were sent, failed, dropped, and are pending
    build_uri    set parameters on a URI
    matomo_uri   the URI of an event for Matomo, checked

Delivery is best effort: a notice can arrive late or not at all, but givenotice never sends it twice. Notices
that are still queued at the exit are sent then, within GIVENOTICE_EXIT_TIMEOUT. Nothing is kept on disk.

The environment variable GIVENOTICE_URI is read at each push; GIVENOTICE_DISABLED, GIVENOTICE_TIMEOUT,
GIVENOTICE_EXIT_TIMEOUT and GIVENOTICE_BACKLOG are read at import.

PYTEST_DONT_REWRITE
"""
# The mark above: a library that is also a pytest plugin is often imported before pytest can rewrite its
# assertions. Without the mark, pytest warns of that, and `-W error` ends the user's run.

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what signal is made of; signal itself takes 3 ms
import atexit
import os
import sys
import threading  # by the main thread: a worker that is first to import it is taken for the main one
from _thread import allocate_lock, get_ident, start_new_thread
from binascii import b2a_base64
from collections import Counter, deque, namedtuple
from collections.abc import Iterator, Sequence  # before there are threads: 3.13.0 fails where two import it
from itertools import count
from time import monotonic, process_time, sleep, strftime, time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from decimal import Decimal
    from enum import Enum
    from typing import Any, SupportsFloat, SupportsIndex, Union
    from uuid import UUID

    import pytest

    Scalar = Union[str, bytes, SupportsIndex, SupportsFloat, Decimal, datetime, UUID, Enum]
    Value = Union[Scalar, Sequence[Scalar], None]
    Parts = tuple[str, str, str, str, str, str]  # scheme, userinfo, host and port, path, query, fragment
    Kind = tuple[str, str, bool]  # site, token, needs a token

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


def __dir__() -> list[str]:
    return [*__all__, "DISABLED", "TIMEOUT", "EXIT_TIMEOUT", "BACKLOG", "main", "pytest_addoption"]


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
IDLE = 2.0  # seconds after which an idle dispatcher ends its thread
SENDERS = 90  # for one server; with them 1,000 notices to one that takes 100 ms are sent in 1.3 s
SENDERS_UNANSWERED = 16  # for a server that has not answered yet
WORKERS = 100  # senders in all
ORDERED = 3  # notices that may wait for each sender before there is another
LOOK = 0.004  # seconds between two looks at a queue; senders that took nothing meanwhile wait for the server
STALE = 0.5  # seconds after which a sender that gets no answer leaves
REPORT = 0.02  # seconds between two reports of a sender
LOADING = 1.0  # seconds in which an import, or the start of TLS, gets some processor time on a busy machine
GRACE = 0.25  # seconds of the exit that are kept for senders to leave after their requests were cut off
ADDRESS = 0.5  # seconds for one address of a host that has others
REDIRECTS = 5  # that one notice may follow
LOCATION = 8_192  # characters of a redirect's target
BODY = 65_536  # bytes of Matomo's answer that are read
WARN_PAUSE = 60.0  # seconds between two warnings of one origin
BULK = 500  # notices in one bulk request to Matomo, at most
BULK_LEAST = 20
BULK_FIRST = 100
BULK_SECONDS = 0.5  # that a bulk request should take
TRIALS = 4  # requests that go early, since the next notice is of a kind that was never seen accepted
BULK_PAUSE = 60.0  # seconds without bulk after an endpoint refused it
BULK_BYTES = 512_000  # bytes in one bulk request; web servers refuse bodies over 1 MB
LONG = 7_500  # bytes of a query beyond which Matomo gets it as a form; web servers answer 8 KB with 414
_FOREVER = threading.TIMEOUT_MAX / 2  # seconds; a lock takes no more
_FULL = "the queue is full"
_FORM = "application/x-www-form-urlencoded"


# --- Build: pure functions from parameters to a URI -------------------------------------------

_UNRESERVED = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~"  # RFC 3986, 2.3
_IN_URI = _UNRESERVED + b"!$&'()*+,;=:@/?"  # 3.3, 3.4
_ENCODED = [f"%{byte:02X}" for byte in range(256)]
_HEX = "0123456789ABCDEFabcdef"
_DECODED = {(high + low).encode(): bytes([int(high + low, 16)]) for high in _HEX for low in _HEX}
_CONTROLS = frozenset(map(chr, [*range(32), *range(127, 160)]))
_ENDS = "".join(map(chr, range(33)))  # what is taken off at both ends: C0 characters and space
_PLAIN = (str, int, float, bool)  # the types of most values, found quickly
_NOT_SEVERAL = ("encode", "hex", "geturl", "unsplit", "render_as_string", "url")  # of text, bytes, URLs
_HINT = "Pass a str, bytes, a number, a datetime with a time zone, or a list of those."
# What IDNA 2003 loses and browsers keep, or the other way round: sharp s, final sigma, joiners; characters
# that nobody sees; and five whose decomposition was corrected later.
_DISPUTED = frozenset("\xdf\u1e9e\u03c2\u200c\u200d\u115f\u1160\u17b4\u17b5\u1806\u180f\u3164\uffa0").union(
    map(chr, [*range(0xE0100, 0xE01F0), 0x2F868, 0x2F874, 0x2F91F, 0x2F95F, 0x2F9BF])
)


def build_uri(base: str, /, **params: Value) -> str:
    """Return *base* with its query parameters set: an existing name is replaced, a new one appended.

    None removes a parameter, a sequence repeats it. Every character outside RFC 3986 *unreserved* is
    percent-encoded as UTF-8. Raises ValueError or TypeError with a sentence that names the culprit.
    """
    scheme, userinfo, host, path, query, fragment = _split(base)
    query = _set(query, params)
    user = f"{userinfo}@" if userinfo else ""
    return f"{scheme}://{user}{host}{path}{query and '?' + query}{fragment and '#' + fragment}"


def _split(uri: str) -> Parts:
    """The parts of an absolute http(s) URI, normalised as a browser does."""
    if not issubclass(type(uri), str):
        raise TypeError(f"The URI must be a str, not {type(uri).__name__}.")
    uri = str.strip(uri, _ENDS)
    if not _CONTROLS.isdisjoint(uri):
        raise ValueError("The URI must not contain control characters.")
    scheme, slashes, rest = uri.partition("://")
    if not slashes or scheme.lower() not in ("http", "https"):
        raise ValueError("The URI must be absolute and begin with http:// or https://.")
    rest, _, fragment = rest.partition("#")
    rest, _, query = rest.partition("?")
    authority, slash, path = rest.partition("/")
    if "\\" in authority:  # for a browser the path begins there, for RFC 3986 it is part of a user's name
        raise ValueError("The URI must not contain a backslash before its path.")
    userinfo, _, host = authority.rpartition("@")
    userinfo = _encode(userinfo).replace("@", "%40")
    query = "&".join(filter(None, _encode(query).split("&")))
    return scheme.lower(), userinfo, _host(host), _encode(slash + path) or "/", query, _encode(fragment)


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
        host = (name if name.isascii() else _idna(name)).lower()
        labels = host.removesuffix(".").split(".")
        wrong = host.strip("abcdefghijklmnopqrstuvwxyz0123456789-_.")
        if wrong or max(len(name), len(host)) > 253 or "" in labels or max(map(len, labels)) > 63:
            raise ValueError("The URI has no host, or one that is no valid domain name.")
    if not port:
        return host
    if not (port.isascii() and port.isdigit() and len(port) < 6 and 0 < int(port) < 65_536):
        raise ValueError("The URI has a port that is no number from 1 to 65535.")
    return f"{host}:{int(port)}"


def _idna(name: str) -> str:
    """A host name as the DNS knows it, where browsers agree with the codec, which is of 2003, on that."""
    from unicodedata import normalize  # rare

    try:
        host = name[:254].encode("idna")  # cut, as it takes time that grows with the square of the length
        known = host.decode("idna")
    except UnicodeError:
        raise ValueError("The URI has a host that is no valid domain name.") from None
    if (
        not _DISPUTED.isdisjoint(name)
        or not known.isprintable()
        or normalize("NFKC", known.casefold()) != known
    ):
        raise ValueError("The URI has a host that browsers read differently; write it as xn--... instead.")
    return host.decode()


def _encode(text: str) -> str:
    """Percent-encode what a URI cannot hold; what is encoded already stays as it is."""
    data = _utf8(text, "The URI")
    if b"%" not in data:
        return _quote(data, _IN_URI)
    head, *pieces = data.split(b"%")
    encoded = [("%" if piece[:2] in _DECODED else "%25") + _quote(piece, _IN_URI) for piece in pieces]
    return "".join([_quote(head, _IN_URI), *encoded])


def _decode(name: str) -> str:
    """The name or value of a parameter as servers read it (form decoding: + is a space)."""
    if name.isascii() and "%" not in name and "+" not in name:
        return name
    head, *pieces = name.replace("+", " ").encode("utf-8", "replace").split(b"%")
    decoded = [_DECODED.get(piece[:2], b"%" + piece[:2]) + piece[2:] for piece in pieces]
    return b"".join([head, *decoded]).decode("utf-8", "replace")


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
    new = {name: _pairs(name, value) for name, value in params.items()}
    parts: list[str] = []
    for part in filter(None, query.split("&")):
        name = _decode(part.partition("=")[0])
        parts += new.pop(name, []) if name in params else [part]
    return "&".join([*parts, *[pair for pairs in new.values() for pair in pairs]])


def _pairs(name: str, value: Any) -> list[str]:
    """`name=value`, encoded, for each value of a parameter."""
    what = f"Parameter {str.__str__(name)!a}"
    key = _quote(_utf8(name, what), _UNRESERVED)
    try:
        values = [] if value is None else list(value) if _is_several(type(value)) else [value]
    except Exception:  # a class of somebody else may raise anything
        raise TypeError(f"{what} is a sequence that cannot be read.") from None
    return [f"{key}={_quote(_utf8(_text(item, what), what), _UNRESERVED)}" for item in values]


def _is_several(kind: type) -> bool:
    """Whether it is a sequence of values, not of characters, of bytes, or of the parts of a URL."""
    sequence = kind not in _PLAIN and (issubclass(kind, Sequence) or _is(kind, "array", "array"))
    return sequence and not any(hasattr(kind, name) for name in _NOT_SEVERAL)


def _text(value: Any, what: str) -> str:
    """One value of a parameter as text. Its type decides: an instance may claim to be anything."""
    kind = type(value)
    if kind is float and value - value == 0:
        return repr(value)
    wrong = "has a value that cannot be read"
    try:
        if kind not in _PLAIN and _is(kind, "enum", "Enum"):
            value = value.value
            kind = type(value)
        wrong = "must be a finite number"
        if issubclass(kind, str):
            return str.__str__(value)
        if issubclass(kind, bytes):
            wrong = "must be UTF-8 where it is given as bytes"
            return bytes.decode(value, "utf-8")
        if issubclass(kind, int) or _is(kind, "numpy", "bool_"):
            wrong = "is an integer with too many digits"
            return int.__repr__(value if issubclass(kind, int) else bool(value))  # of bool 1 or 0
        if _is(kind, "datetime", "datetime") or _is(kind, "numpy", "datetime64"):
            wrong = "must be a datetime with a time zone; a naive one could mean any instant"
            return _seconds(value)
        if _is(kind, "uuid", "UUID"):
            return str(value)
        number = hasattr(kind, "__index__") or hasattr(kind, "__float__")
        if number and hasattr(kind, "__iter__"):  # an array, perhaps of one value without a dimension
            if getattr(value, "shape", None) == () and not _is(kind, "numpy.ma", "MaskedArray"):
                return _text(value.item(), what)
        elif number and not hasattr(kind, "encode") and value.__class__ is kind:  # no text, no proxy of one
            return _digits(value, kind)
    except TypeError:
        pass
    except Exception:
        raise ValueError(f"{what} {wrong}.") from None
    if issubclass(kind, dict):
        raise TypeError(f"{what} must not be a dict; pass json.dumps(...) of it.")
    hint = "" if value is None or _is_several(kind) else f" {_HINT}"
    raise TypeError(f"{what} must not be of type {kind.__name__}.{hint}")


def _seconds(value: Any) -> str:
    """The seconds since 1970, rounded down; in integers, as floats are not exact in all years."""
    offset = value.utcoffset()
    hours = (value.toordinal() - 719_163) * 24 + value.hour
    seconds = (hours * 60 + value.minute) * 60 + value.second - offset.days * 86_400 - offset.seconds
    return str(seconds - (value.microsecond < offset.microseconds))


def _digits(value: Any, kind: Any) -> str:
    """A finite number of any library. Raises TypeError for what is more than one number."""
    if hasattr(kind, "__index__"):
        return int.__repr__(kind.__index__(value))
    # These are more than their float tells.
    more = _is(kind, "numpy", "timedelta64") or _is(kind, "numpy", "complexfloating")
    number = value if more or _is(kind, "decimal", "Decimal") else kind.__float__(value)
    if more or number - number != 0:
        raise ValueError
    return str(number)


def _is(kind: type, module: str, name: str) -> bool:
    """Whether *kind* is that class; without an import, as who has an instance has imported it."""
    known = getattr(sys.modules.get(module), name, None)
    return isinstance(known, type) and issubclass(kind, known)


# --- Matomo: its tracking URIs ----------------------------------------------------------------

_DAY = 86_400  # seconds; Matomo takes an older time only with a token
_OLDEST = 20 * 365 * _DAY  # seconds; an older time it ignores
_AHEAD = 900  # seconds that a clock may be ahead of Matomo's
_PHP_SPACE = " \t\n\r\0\x0b"  # what its trim takes off
_ANY = (float, float("-inf"), float("inf"))
# What Matomo can store: the kind of a parameter with its range, or its length in bytes. It cuts anything
# else, stores nothing, or refuses it with the whole bulk request. Parameters that are not here all pass.
_REFERENCE: dict[str, tuple[object, float, float]] = {
    "action_name": (str, 0, 1_024),
    **dict.fromkeys(("e_c", "e_a", "e_n", "c_n", "c_p", "c_t", "c_i"), (str, 0, 4_096)),
    **dict.fromkeys(("uid", "search_cat"), (str, 0, 200)),
    **dict.fromkeys(("cid", "_id"), (hex, 16, 16)),
    **dict.fromkeys(("e_v", "revenue", "ec_st", "ec_tx", "ec_sh", "ec_dt"), _ANY),
    **dict.fromkeys(("pf_net", "pf_srv", "pf_tfr", "pf_dm1", "pf_dm2", "pf_onl"), (int, 0, 16_777_215)),
    "search_count": (int, 0, 4_294_967_295),
    "idgoal": (int, 0, 2_147_483_647),
    "ec_id": (str, 0, 100),
    "ca": (int, 0, 1),
    "cdo": (int, 0, _OLDEST),
    "lat": (float, -90, 90),
    "long": (float, -180, 180),
}
_ACTIONS = ("e_c", "action_name", "search", "link", "download", "c_n", "idgoal")  # one in each request
_CUSTOM = ("e_c", "link", "download", "c_n", "ma_id")  # those that ca=1 may mark
_NEED_TOKEN = ("cip", "country", "region", "city", "lat", "long")


def matomo_uri(endpoint: str, idsite: int, url: str, /, **params: Value) -> str:
    """Return the URI of one page view or event for Matomo's tracking API.

    *endpoint* is the Matomo server (`/matomo.php` is added unless a .php path or /js/ is there), *idsite*
    its number of the site, *url* the absolute address of what was seen. Other parameters pass as in
    `build_uri`; those that Matomo would refuse, or silently store as something else, raise ValueError or
    TypeError (https://developer.matomo.org/api-reference/tracking-api).
    """
    kind = type(idsite)
    if kind is bool or not hasattr(kind, "__index__") or hasattr(kind, "__iter__"):
        raise TypeError("Parameter 'idsite' must be an int.")
    if int(_text(idsite, "Parameter 'idsite'")) < 1:
        raise ValueError("Parameter 'idsite' must be 1 or more.")
    text = str.strip(url) if issubclass(type(url), str) else ""
    scheme, _, rest = text.partition("://")
    letters = scheme.translate(dict.fromkeys(map(ord, "+-.")))  # RFC 3986, 3.1
    wrong = ("", *"/?#") if scheme.lower() in ("http", "https") else ("",)
    if not (letters.isascii() and letters.isalnum() and scheme[0].isalpha()) or rest[:1] in wrong:
        raise ValueError("Parameter 'url' must be an absolute URL, such as https://app.example.com/worker/.")
    own: dict[str, Value] = {"idsite": idsite, "rec": 1, "send_image": 0, "url": url}
    for name in [name for name in own if name in params]:
        raise TypeError(f"Parameter {name!r} is set by matomo_uri itself.")
    if _pairs("e_c", params.get("e_c")) and params.get("ca") is None:
        params["ca"] = 1
    base, mark, query = build_uri(endpoint).partition("#")[0].partition("?")
    path = base.partition("://")[2].partition("/")[2]
    if ".php/" not in path + "/" and not f"/{path}".endswith(("/js", "/js/")):
        base = base.rstrip("/") + "/matomo.php"
    uri = build_uri(base + mark + query, **{**own, **params})
    return build_uri(uri, **_checked(uri.partition("?")[2]))


def _checked(query: str) -> dict[str, str]:
    """The numbers of *query*, without white space. Raises ValueError for what Matomo would change."""
    values = _values(query)
    for faults in _refused(values), _changed(values):
        for name, wrong in faults:
            raise ValueError(f"Parameter {name!r} {wrong}.")
    return {name: text for name, text in values.items() if _REFERENCE.get(name, (str,))[0] is not str}


def _values(query: str) -> dict[str, str]:
    """The parameters as Matomo reads them."""
    pairs = [part.partition("=") for part in query.split("&")]
    return {
        _decode(name): _decode(value).strip(_PHP_SPACE) for name, _, value in pairs
    }  # the last one counts


def _refused(values: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What Matomo would skip as invalid: the names of parameters, each with a sentence about it."""
    yield from _misfits(values, ("cid", "_id"))
    for name in ("e_c", "e_a"):
        if values.keys() & {"e_c", "e_a"} and not values.get(name):
            yield name, "must not be empty: an event has both e_c and e_a"
    if not values.get("token_auth"):
        for name in [name for name in _NEED_TOKEN if name in values]:
            yield name, "needs token_auth; without it Matomo answers 400"
        if _age(values) >= _DAY:
            yield "cdt" if "cdt" in values else "cdo", "is older than 24 hours, which needs token_auth"


def _changed(values: dict[str, str]) -> Iterator[tuple[str, str]]:
    """What Matomo would store as something else, or fail at; as in `_refused`."""
    yield from _misfits(values, _REFERENCE)
    actions = [name for name in _ACTIONS if values.get(name)]
    if values.get("c_i") and actions[:1] in (["link"], ["download"]):  # a click on content has both
        actions = [name for name in actions if name != "c_n"]
    for name in actions[1:]:
        yield name, f"must not be beside {actions[0]!r}: a request records one action"
    if int(values.get("ca", 0)) and not any(values.get(name) for name in _CUSTOM):
        yield "ca", "must not be 1 for a page view"
    name, age = "cdt" if "cdt" in values else "cdo", _age(values)
    if age < -_AHEAD:
        yield name, "must be seconds, and not in the future; Matomo would use the current time"
    if age >= _OLDEST:
        yield name, "is older than 20 years; Matomo would use the current time"


def _misfits(values: dict[str, str], names: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Which of the parameters do not fit the reference; as in `_refused`."""
    for name in names:
        needed = _needed(values[name], *_REFERENCE[name]) if name in values else ""
        if needed:
            yield name, f"must {needed}"


def _needed(text: str, kind: object, least: float, most: float) -> str:
    """What Matomo can store in place of *text*; nothing if it can store it."""
    if kind is str:
        return "" if len(text.encode()) <= most else f"have at most {most:,} bytes"
    if kind is hex:
        return "" if len(text) == most and set(text) <= set(_HEX) else f"have {most} hexadecimal digits"
    number = _number(text)
    if number is None:
        return "be a finite number, with a decimal point"
    if least <= number <= most and (kind is float or text.isdigit()):
        return ""
    return f"be {'an integer' if kind is int else 'a number'} from {least:,} to {most:,}"


def _number(text: str) -> float | None:
    """A finite number as PHP reads it, else None."""
    try:
        number = float(text) if text.isascii() and "_" not in text else None
    except ValueError:
        return None
    return number if number is not None and number - number == 0 else None


def _age(values: dict[str, str]) -> float:
    """Seconds since `cdt` (Unix seconds, or a date and time, in UTC if none is told), and those of `cdo`."""
    cdt, offset = values.get("cdt"), _number(values.get("cdo", "0")) or 0.0
    if cdt is None:
        return offset
    seconds = _number(cdt)
    if seconds is None:
        from datetime import datetime, timezone

        text = cdt.replace("Z", "+00:00")  # Python reads Z, and offsets without a colon, since 3.11
        if text[-5:-4] in ("+", "-") and text[-4:].isdigit():
            text = f"{text[:-2]}:{text[-2:]}"
        try:
            moment = datetime.fromisoformat(text)
        except ValueError:
            raise ValueError("Parameter 'cdt' must be Unix seconds, or YYYY-MM-DD HH:MM:SS in UTC.") from None
        seconds = (moment if moment.tzinfo else moment.replace(tzinfo=timezone.utc)).timestamp()
    return time() - seconds + offset


# --- Matomo in bulk: what a request holds, and what its answer proves ---------------------------------


def _endpoint(uri: str) -> str | None:
    """The Matomo endpoint that *uri* is a tracking request for, else None."""
    base, _, query = uri.partition("#")[0].partition("?")
    names = f"&{query}"
    if "%" in query and not ("&idsite=" in names and "&rec=" in names):  # its letters may be encoded
        names = "".join([f"&{_decode(part.partition('=')[0])}=" for part in query.split("&")])
    return base if "&idsite=" in names and "&rec=" in names else None


def _token(query: str) -> str:
    """The token in a query, encoded as it stands there; "" if there is none."""
    if "%" not in query and "token" not in query:
        return ""
    pairs = [part.partition("=") for part in reversed(query.split("&"))]
    # PHP reads token.auth, too.
    names = [_decode(name).lstrip().replace(".", "_").replace(" ", "_") for name, _, _ in pairs]
    return next((pair[2] for name, pair in zip(names, pairs) if name == "token_auth" and pair[2]), "")


def _kind(values: dict[str, str]) -> Kind:
    """What decides whether Matomo skips notices as invalid: site, token, and whether they need a token."""
    try:
        needs_token = not values.keys().isdisjoint(_NEED_TOKEN) or _age(values) >= _DAY - _AHEAD
    except ValueError:
        needs_token = True
    return values.get("idsite", ""), values.get("token_auth", ""), needs_token


def _skips(values: dict[str, str]) -> bool:
    """Whether Matomo may skip a notice for what it holds, though others of its kind are stored."""
    try:
        return values.get("rec") != "1" or any(_refused(values))
    except ValueError:
        return True


def _bulk_body(queries: list[str]) -> tuple[bytes, str]:
    """The body of a bulk request, and its content type.

    A token that is marked "secure only" must be in PHP's $_POST, any other in the JSON of its notice. This
    body is both: parsed as a form it has one variable, token_auth, since every other & is escaped.
    """
    from json import dumps

    requests = dumps(["?" + query for query in queries])
    token = next(filter(None, map(_token, queries)), "")
    if not token:
        return f'{{"requests": {requests}}}'.encode(), "application/json"
    requests = requests.replace("&", "\\u0026")
    return f'{{"_": "&token_auth={token}&", "requests": {requests}}}'.encode(), _FORM


def _bulk_counts(answer: bytes, stored: bool) -> tuple[int, int] | None:
    """How many notices were tracked, and were invalid, by Matomo's JSON, which may follow a PHP warning.

    None if it does not tell, or tells of an error where the status said that they were *stored*.
    """
    from json import JSONDecoder

    text = answer.decode("utf-8", "replace")
    at = text.find("{")
    for _ in range(100):  # whatever a warning holds
        try:
            told, _end = JSONDecoder().raw_decode(text, max(0, at))
            tracked, invalid = told["tracked"], told["invalid"]
            if type(tracked) is type(invalid) is int and tracked >= 0 <= invalid:
                return None if stored and told.get("status") == "error" else (tracked, invalid)
        except (ValueError, KeyError, TypeError, RecursionError):
            pass
        at = text.find("{", at + 1)
    return None


class _Matomo:
    """What is known of an endpoint: how many notices it takes at once. Only its one sender writes this."""

    def __init__(self) -> None:
        self.size = BULK_FIRST  # notices in one bulk request
        self.bulk_from = 0.0  # monotonic time; before it, each notice goes singly
        self.alone = False  # the next notice goes singly
        self.trials = TRIALS
        self.proven: set[Kind | None] = set()  # kinds of notices of which it has stored some

    def most(self) -> int:
        """How many notices the next request may hold."""
        return 1 if self.alone or monotonic() < self.bulk_from else self.size

    def kind(self, query: str) -> Kind | None:
        return _kind(_values(query)) if self.trials else None

    def parts(self, one: Kind | None, other: Kind | None) -> bool:
        """Whether two notices must not go in one request, as one of their kinds is not known to be stored.

        Of a poisonous one among them, the answer would not tell up to where Matomo has looked at them.
        """
        parts = self.trials > 0 and one != other and not {one, other} <= self.proven
        self.trials -= parts
        return parts

    def judge(self, queries: list[str], status: int, answer: bytes, seconds: float) -> tuple[int, int]:
        """How many notices of a request were stored, and up to which one they must not be sent again.

        Those behind it have not been looked at. *status* is 0 where there was no answer.
        """
        asked = len(queries)
        stored = 200 <= status < 300
        if asked == 1:
            if stored and self.alone:  # it was not to blame for the error before
                self.bulk_from = monotonic() + BULK_PAUSE
            self.alone = False
            self.learn(queries, int(stored))
            return int(stored), 1
        counts = (asked, 0) if status == 204 or answer.startswith(b"GIF8") else _bulk_counts(answer, stored)
        if (300 <= status < 418 and status not in (303, 408)) or (stored and counts == (0, 0)):
            self.bulk_from = monotonic() + BULK_PAUSE
            return 0, 0
        if status == 500 and counts:
            return 0, self.find_poison(queries, counts[0])
        if status in (0, 408, 504, 524):  # perhaps it was too much for the time of a request
            self.adapt(asked / 2, max(seconds, BULK_SECONDS))
        if not counts or not stored:  # nobody knows
            return 0, asked
        self.adapt(asked, seconds)
        self.learn(queries, counts[0], True)
        return min(counts[0], asked), asked

    def find_poison(self, queries: list[str], tracked: int) -> int:
        """Up to which notice Matomo looked at a bulk request that it ended with an error.

        It tells how many it had tracked by then; it may have rolled them back. Those that it had skipped as
        invalid are not in that number, so it is counted in notices that it does not skip.
        """
        if not tracked:  # nothing is stored: its first notice is to blame, or bulk is refused; that one tells
            self.alone = True
            return 0
        notices = self.learn(queries, tracked)
        taken = [at for at, it in enumerate(notices) if _kind(it) in self.proven and not _skips(it)]
        return taken[tracked] + 1 if tracked < len(taken) else len(queries)

    def learn(self, queries: list[str], tracked: int, whole: bool = False) -> list[dict[str, str]]:
        """Note which kinds are stored: those beside which all others are fewer than were tracked.

        Others are not any more, if the answer is for the *whole* request: Matomo can refuse an address for
        a while, after 20 wrong tokens.
        """
        notices = [_values(query) for query in queries]
        kinds = Counter(map(_kind, notices))
        stored = [kind for kind, number in kinds.items() if len(notices) - number < tracked]
        known = self.proven.difference(kinds) if whole else self.proven
        self.proven = {*stored, *list(known)[:1000]}
        return notices

    def adapt(self, notices: float, seconds: float) -> None:
        """Choose the size of the next bulk request. A few quick notices tell nothing of the pace."""
        if notices >= self.size or seconds >= BULK_SECONDS:
            self.size = int(max(BULK_LEAST, min(notices * BULK_SECONDS / max(seconds, 0.001), BULK)))


# --- Push: from the caller into the inbox of the dispatcher -------------------------------------------


class Stats(namedtuple("Stats", "pushed sent failed dropped pending")):
    """Counts of notices since the process began, or was forked."""

    __slots__ = ()
    pushed: int  # the sum of the others
    sent: int  # the server answered that it has it
    failed: int  # tried, and refused or not reached, or nobody knows what became of it
    dropped: int  # never tried: malformed, no URI, disabled, the queue full, or no time left at the exit
    pending: int  # queued, or on its way


def push(uri: str | None = None, /, **params: Value) -> bool:
    """Queue one notice to *uri*, by default $GIVENOTICE_URI, with *params* set on it as by `build_uri`.

    True if it was taken; False if it was dropped: no URI, malformed, GIVENOTICE_DISABLED=1, or a full queue.
    Never blocks, and never raises except under the recorder of a test.
    """
    try:
        if _recorders:
            return _record(uri, params)
        dispatcher = _dispatcher
        # Most calls end here: where the origin is known to be valid, a sender can check the rest.
        valid = not params and type(uri) is str and uri.startswith(dispatcher.known)
        if valid and len(dispatcher.inbox) + dispatcher.held < BACKLOG and not DISABLED:
            dispatcher.inbox.append(uri)
            if not dispatcher.awake[0]:
                dispatcher.ring()
            return True
        return _check_and_push(uri, params)
    except Exception:
        if _recorders:
            raise
        return False


def _origin(uri: str) -> str:
    """scheme://host:port of a valid URI, for the log, too: without user and password."""
    scheme, _, rest = uri.partition("://")
    return f"{scheme}://{rest.partition('/')[0].rpartition('@')[2]}"


def _default_uri() -> str:
    return os.environ.get("GIVENOTICE_URI", "").strip(_ENDS)


class _Dropped(Exception):
    """Why a notice was not taken, in words that may be logged."""

    def enter(self, dispatcher: _Dispatcher) -> None:
        dispatcher.log.drop(str(self))


def _check_and_push(uri: Any, params: dict[str, Any]) -> bool:
    dispatcher = _own_dispatcher()
    try:
        if DISABLED:
            raise _Dropped("givenotice is disabled")
        if uri is None:
            uri = _default_uri()
            if not uri:
                raise _Dropped("GIVENOTICE_URI is not set")
        uri = build_uri(uri, **params)
        if dispatcher.stop:
            raise _Dropped("the process has ended")
        if len(dispatcher.inbox) + dispatcher.held >= BACKLOG:
            raise _Dropped(_FULL)
        if not uri.startswith(dispatcher.known):
            dispatcher.known = (*dispatcher.known[-7:], uri[: uri.index("/", 8) + 1])
        dispatcher.put(uri)
        return True
    except Exception as error:
        # Sentences of build_uri show no value; the words of another error could.
        told = type(error) is _Dropped or str(error).startswith(("The URI ", "Parameter "))
        dispatcher.drop(_Dropped(str(error) if told else type(error).__name__))
        return False


def flush(timeout: float | None = None) -> bool:
    """Wait until all that was pushed before the call was sent, failed or dropped; True if so.

    Waits at most *timeout* seconds, by default EXIT_TIMEOUT.
    """
    dispatcher = _own_dispatcher()
    deadline = monotonic() + max(0.0, min(EXIT_TIMEOUT if timeout is None else timeout, _FOREVER))
    if dispatcher.stop or not dispatcher.stats().pending:
        return not dispatcher.stats().pending
    wish = _Flush()
    if not dispatcher.put(wish):
        _run_here(dispatcher, deadline)
    try:
        return wish.done.acquire(True, max(0.0, deadline - monotonic()))
    finally:
        wish.abandoned = True


def stats() -> Stats:
    """How many notices were pushed, sent, failed, dropped, and are pending."""
    return _own_dispatcher().stats()


# --- Dispatch: the one thread that decides ------------------------------------------------------------
#
# Everybody else only appends and rings: callers a notice or a flush to its inbox, senders a report. The
# dispatcher alone sorts notices, starts senders, cuts requests off, counts and logs. It alone writes the
# attributes of _Dispatcher, _Destination and _Epoch, where a comment does not say otherwise; so nothing of
# it needs a lock, but for `stats`, which reads it from other threads.


class _Flush:
    """The wish of a caller to know when all that was pushed before is dealt with: `done` is released then."""

    def __init__(self) -> None:
        self.done = allocate_lock()
        self.done.acquire()
        self.abandoned = False  # its caller waits no longer

    def enter(self, dispatcher: _Dispatcher) -> None:
        epochs = dispatcher.epochs
        if epochs[-1].left:
            epochs.append(_Epoch())  # for what is pushed from now on
        epoch = epochs[-2] if len(epochs) > 1 else epochs[0]
        epoch.flushes = [flush for flush in epoch.flushes if not flush.abandoned] + [self]
        dispatcher.close_epochs()


class _Epoch:
    """The notices between two flushes: how many are left, and the flushes that wait for them."""

    def __init__(self) -> None:
        self.left = 0
        self.flushes: list[_Flush] = []


class _Report:
    """What became of some notices. Their sender writes it, and then hands it in."""

    def __init__(self, sender: _Sender) -> None:
        self.sender = sender
        self.outcomes: list[tuple[_Epoch, str, str, float]] = []  # what, why, seconds
        self.answered = False  # by an HTTP server
        self.tls = self.tls_failed = False
        self.last = False

    def enter(self, dispatcher: _Dispatcher) -> None:
        dispatcher.settle(self)


class _Destination:
    """Where notices go: an origin, or an endpoint of Matomo."""

    def __init__(self, origin: str, matomo: _Matomo | None) -> None:
        self.origin = origin
        self.matomo = matomo
        self.waiting: deque[tuple[str, _Epoch]] = deque()  # senders take from it
        self.senders: set[_Sender] = set()
        self.received = 0  # notices, ever
        self.begun = 0  # notices that senders had taken at the last look
        self.look = 0.0  # monotonic time of the next look
        self.answered = False

    def most(self) -> int:
        """Matomo splits a visit whose hits arrive side by side; a server that never answered needs few."""
        return 1 if self.matomo else SENDERS if self.answered else SENDERS_UNANSWERED

    def wanted(self, now: float) -> int:
        """How many senders to add: one to begin with, then twice as many while they wait for the server.

        Four notices are no reason for a second one: few notices arrive in order, and never side by side.
        """
        senders = len(self.senders)
        if not self.waiting:
            return 0
        if senders and (not self.crowded() or now < self.look):
            return 0
        begun, self.look = self.received - len(self.waiting), now + LOOK
        waits = begun - self.begun < senders  # they took less than one each: it is the server that is slow
        self.begun = begun
        return min(max(1, senders), self.most() - senders) if waits or not senders else 0

    def crowded(self) -> bool:
        """Whether there is a reason for more senders."""
        return len(self.waiting) > ORDERED * len(self.senders) and len(self.senders) < self.most()


class _Dispatcher:
    """All that belongs to one process. A forked child gets a new one, with nothing of its parent's in it."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        # What callers write: by single operations that a signal handler, or another thread, cannot break.
        self.inbox: deque[Any] = deque()  # of URIs and flushes, in order
        self.reports: deque[_Report | _Dropped] = deque()
        self.awake = _flag()  # 1: the dispatcher will look at both without a ring
        self.bell = allocate_lock()  # locked: nobody rang
        self.bell.acquire()
        self.known: tuple[str, ...] = ()  # beginnings of valid URIs, up to the path
        self.drops = count()  # next() counts, whatever interrupts it, also without the GIL
        self.reads = zip(self.drops, count())  # reads drops; that counts, too, so it tells how often it did
        self.threads: deque[None] = deque()  # an entry for each of ours, from before its start to its end
        # What the dispatcher writes.
        self.role = allocate_lock()  # held by the thread that is the dispatcher
        self.counting = threading.RLock()  # for stats, which a signal handler may call
        self.sent = self.failed = self.dropped = 0
        self.held = 0  # notices that were read from the inbox, and are not yet one of these
        self.epochs: deque[_Epoch] = deque([_Epoch()])
        self.destinations: dict[str, _Destination] = {}
        self.endpoints: dict[str, _Matomo] = {}
        self.senders: set[_Sender] = set()
        self.deadline = _FOREVER  # monotonic time at which a dispatcher in a caller's thread must be back
        self.log = _Log()
        self.network = _Network()
        # What the exit, forks and the command line write.
        self.stop = False
        self.leave = False  # if idle
        self.limit = _FOREVER  # monotonic time at which no request goes on; the command line sets it
        self.finalizer: Any = None

    # Callers: append first, then look. So nothing is overlooked.

    def put(self, item: str | _Flush) -> bool:
        """Append to the inbox without waiting. False if no thread can be started to look at it."""
        self.inbox.append(item)
        return bool(self.awake[0]) or self.ring()

    def report(self, item: _Report | _Dropped) -> None:
        self.reports.append(item)
        if not self.awake[0]:
            self.ring()

    def ring(self) -> bool:
        """Wake the dispatcher, or start its thread."""
        if self.pid != os.getpid():  # a fork did not run the hooks: the last item is the child's own
            return _own_dispatcher().put(self.inbox.pop())
        rung = False
        try:
            self.awake[0] = 1
            if self.role.locked():
                _release(self.bell)
            else:
                _finalize_in_multiprocessing(self)
                _start(self.run, self.threads)  # of two that are started at once, the second ends at once
            rung = True
        except Exception:  # at a limit, in some subinterpreters, at the exit of 3.12.0 to 3.12.2
            pass
        finally:
            if not rung:  # also where a signal handler raises
                self.awake[0] = 0
        return rung

    def drop(self, reason: _Dropped) -> None:
        """Count a notice that was not taken, and have the dispatcher log it where there is a log."""
        next(self.drops)
        if "logging" in sys.modules and not self.stop and len(self.reports) < BACKLOG + 1000:
            self.report(reason)

    def stats(self) -> Stats:
        with self.counting:
            drops, reads = next(self.reads)
            dropped = self.dropped + drops - reads
            queued = sum(type(item) is str for item in self.inbox.copy())
            done = (self.sent, self.failed, dropped, queued + self.held)
        return Stats(sum(done), *done)

    # The dispatcher.

    def run(self, deadline: float = _FOREVER) -> None:
        """Look at the inbox until there was nothing to do for IDLE seconds, or until *deadline*."""
        if not self.role.acquire(False):
            return
        try:
            self.deadline = deadline
            busy = monotonic()
            while not self.stop:
                self.awake[0] = 1
                self.read()
                pause, now = self.assign(), monotonic()
                if self.held:
                    busy = now
                elif self.leave or deadline < _FOREVER or now >= busy + IDLE:
                    break
                if now >= deadline:
                    break
                self.rest(min(pause, deadline - now))
        finally:
            _release(self.role)
            # Only now: a caller that saw the role taken has set the flag before.
            self.awake[0] = 0
            if (self.inbox or self.reports) and not self.stop and deadline == _FOREVER:  # at the last moment
                self.ring()

    def rest(self, seconds: float) -> None:
        """Wait until somebody rings; at most *seconds*."""
        self.awake[0] = 0
        if not (self.inbox or self.reports):
            self.bell.acquire(True, max(0.0, seconds))

    def read(self) -> None:
        """Take in what was handed in until now."""
        for _ in range(len(self.reports)):
            self.reports.popleft().enter(self)
        for _ in range(len(self.inbox)):
            with self.counting:
                item = self.inbox.popleft()
                if isinstance(item, str):
                    self.sort(item)
            if not isinstance(item, str):
                item.enter(self)
        if len(self.inbox) + self.held <= BACKLOG // 2:
            self.log.recovered("", "The queue of notices has room again.")

    def sort(self, uri: str) -> None:
        """Queue a notice for its destination."""
        endpoint = _endpoint(uri)
        key = endpoint or _origin(uri)
        destination = self.destinations.get(key)
        if destination is None:
            if len(self.endpoints) >= 1000:
                self.endpoints.clear()
            matomo = self.endpoints.setdefault(endpoint, _Matomo()) if endpoint else None
            destination = self.destinations[key] = _Destination(_origin(uri), matomo)
        epoch = self.epochs[-1]
        destination.waiting.append((uri, epoch))
        destination.received += 1
        epoch.left += 1
        self.held += 1

    def settle(self, report: _Report) -> None:
        """Count and log what became of notices, and let their sender go if it ends."""
        destination = report.sender.destination
        with self.counting:
            for epoch, outcome, _reason, _seconds in report.outcomes:
                epoch.left -= 1
                self.held -= 1
                self.sent += outcome == "sent"
                self.failed += outcome == "failed"
                self.dropped += outcome == "dropped"
        if report.outcomes:
            destination.answered = report.answered
            if report.tls:
                self.network.learn(report)
        if report.last:
            self.senders.discard(report.sender)
            destination.senders.discard(report.sender)
        for _, outcome, reason, seconds in report.outcomes:
            self.log.outcome(destination.origin, outcome, reason, seconds)
        self.close_epochs()

    def close_epochs(self) -> None:
        """Let the flushes go before which nothing is left."""
        while not self.epochs[0].left:
            for flush in self.epochs[0].flushes:
                flush.done.release()
            self.epochs[0].flushes = []
            if len(self.epochs) == 1:
                break
            self.epochs.popleft()

    def assign(self) -> float:
        """Cut requests off that are out of time, and add senders. Seconds until it must be done again."""
        now = monotonic()
        pause = IDLE
        for key, destination in list(self.destinations.items()):
            most = SENDERS if destination.senders else WORKERS  # the rest is for servers that have none
            for _ in range(min(destination.wanted(now), most - len(self.senders))):
                self.add_sender(destination)
            if destination.crowded() and len(self.senders) < SENDERS:
                pause = min(pause, max(0.0005, destination.look - now))
            elif not destination.waiting and not destination.senders:
                del self.destinations[key]
        return min([pause, *(sender.check(now) for sender in self.senders)])

    def add_sender(self, destination: _Destination) -> None:
        sender = _Sender(self, destination)
        self.senders.add(sender)
        destination.senders.add(sender)
        try:
            _start(sender.run, self.threads)
        except Exception:
            if len(self.senders) == 1:  # no thread can be started: it sends here
                sender.run()
            else:
                self.senders.discard(sender)
                destination.senders.discard(sender)

    # Forks, and the exit.

    def retire(self) -> None:
        """End the thread of an idle dispatcher: from 3.12 on, Python warns of a fork beside threads."""
        if self.held or self.inbox or self.stop or not self.role.locked():
            return
        self.leave = True
        _release(self.bell)
        if self.role.acquire(True, 0.05):
            _release(self.role)
            if sys.version_info >= (3, 12):
                sleep(0.002)  # the system counts a thread until it is gone
        self.leave = False
        if self.inbox or self.reports:  # who pushed while the role was held here has rung in vain
            self.ring()

    def close(self) -> None:
        """Flush within EXIT_TIMEOUT, of which a part is kept for senders to leave; then let nothing in."""
        if self.stop:
            return
        deadline = monotonic() + EXIT_TIMEOUT
        grace = min(GRACE, EXIT_TIMEOUT / 2)
        try:
            if EXIT_TIMEOUT and flush(EXIT_TIMEOUT - grace):
                flush(deadline - grace - monotonic())  # what was pushed meanwhile
        except BaseException:  # Ctrl-C: leave now
            deadline = 0.0
        try:
            self.finish(max(deadline, monotonic() + GRACE / 2))
        except BaseException:  # pragma: no cover  # another one, within milliseconds
            pass

    def finish(self, deadline: float) -> None:
        """Cut off what is under way, and wait until the threads have left.

        The end of the interpreter crashes 1 process in 100 where a thread is inside OpenSSL or an import, and
        the end of a subinterpreter aborts the process where any thread of it is alive.
        """
        self.stop = True
        self.known = ()
        _release(self.bell)
        self.cut_all()  # the dispatcher, too, may be sending, where no thread could be started
        # With the role this thread is the dispatcher from now on. It never gives it back.
        taken = self.role.acquire(True, max(0.0, deadline - monotonic()))
        # An import that is left behind can crash the process, or hang it. Wait as long as it goes on: as the
        # process uses its processor.
        used, last = -1.0, deadline + 4 * LOADING
        while not taken and self.network.loads() and process_time() > used + 0.001 and monotonic() < last:
            used = process_time()
            taken = self.role.acquire(True, LOADING)
        limit = monotonic() + LOADING
        self.cut_all()
        while taken and self.senders:
            # A lookup cannot be cut off. To leave one behind does no harm.
            end = deadline if all(sender.resolving for sender in self.senders) else limit
            if monotonic() >= end:
                break
            self.rest(end - monotonic())
            self.read()
        if taken:
            self.read()
            self.give_up()
        # Also a thread that was started and does not run yet would crash the process.
        while taken and len(self.threads) > len(self.senders) and monotonic() < limit:
            sleep(0.001)
        if self.stats().pushed:
            sleep(0.002)  # the last thread has left our code; let it leave Python's

    def cut_all(self) -> None:
        for sender in list(self.senders):
            sender.cut(sender.grip)

    def give_up(self) -> None:
        """Count what is left: queued notices as dropped, those on their way as failed."""
        for destination in self.destinations.values():
            for _ in destination.waiting:
                self.log.outcome(destination.origin, "dropped", "no time left", 0.0)
            with self.counting:
                self.dropped += len(destination.waiting)
                self.held -= len(destination.waiting)
                destination.waiting.clear()
        with self.counting:
            self.failed, self.held = self.failed + self.held, 0


class _Log:
    """What the dispatcher tells the logger "givenotice" of notices; of a URI only the origin."""

    def __init__(self) -> None:
        self.failing: set[str] = set()  # origins of which a warning was logged; "" is the queue
        self.quiet: dict[str, float] = {}  # monotonic time of the next warning at the earliest

    def outcome(self, origin: str, outcome: str, reason: str, seconds: float) -> None:
        """A line at DEBUG for each notice, and one when an origin begins to fail, or works again."""
        if outcome == "sent":
            self.write("DEBUG", "%s: delivered (%s, %.0f ms)", origin, reason, seconds * 1000)
            self.recovered(origin, "Notices to %s are delivered again.", origin)
        elif outcome == "failed":
            self.write("DEBUG", "%s: not delivered (%s)", origin, reason)
            self.fails(origin, "Notices to %s are not delivered: %s.", origin, reason)
        else:
            self.write("DEBUG", "%s: dropped (%s)", origin, reason)

    def drop(self, reason: str) -> None:
        """A line for a notice that push did not take, and one when the queue begins to overflow."""
        self.write("DEBUG", "A notice: dropped (%s)", reason)
        if reason == _FULL:
            self.fails("", "The queue of notices is full; new ones are dropped.")

    def fails(self, key: str, message: str, *args: str) -> None:
        """Warn once: a server that answers some requests and not others is one event, not many."""
        if key not in self.failing and monotonic() >= self.quiet.get(key, 0.0):
            if len(self.quiet) >= 1000:
                self.quiet.clear()
                self.failing.clear()
            self.quiet[key] = monotonic() + WARN_PAUSE
            self.failing.add(key)
            self.write("WARNING", message, *args)

    def recovered(self, key: str, message: str, *args: str) -> None:
        if key in self.failing:
            self.failing.discard(key)
            self.write("INFO", message, *args)

    def write(self, level: str, message: str, *args: object) -> None:
        """Log, unless nobody has imported logging: then there is nobody who could listen."""
        try:
            logging = sys.modules["logging"]
            logger = logging.getLogger("givenotice")
            if not logger.handlers:
                logger.addHandler(logging.NullHandler())
            logger.log(getattr(logging, level), message, *args)
        except BaseException:  # of a handler of the app's; or logging is just being imported
            pass


# --- Send: plain urllib.request, one connection for each request --------------------------------------


class _Network:
    """The modules that senders need, and TLS. `loading` is held while they load: forks and the exit wait."""

    def __init__(self) -> None:
        self.loading = threading.RLock()
        self.context: Any = None
        self.served = False  # a server has answered over it
        self.suspect = False  # it may have been made in a bad moment
        self.retry = 0.0  # monotonic time from which another one is made then

    def loads(self) -> bool:
        """Whether another thread loads something now."""
        free = self.loading.acquire(False)
        if free:
            self.loading.release()
        return not free

    def load(self, dispatcher: _Dispatcher, destination: _Destination) -> None:
        """Load what senders need, in the dispatcher: so no thread of ours is inside an import but one."""
        with self.loading:
            names = ["encodings.idna", "socket", "http.client", "urllib.request", "urllib.parse"]
            names += ["email.parser", "email.feedparser"]  # else late, with -X lazy_imports=all of 3.15
            for name in names + ["json"] * bool(destination.matomo):
                __import__(name)
                if dispatcher.stop:  # the exit waits
                    raise TimeoutError
            needed = destination.origin.startswith("https:") and not self.context
            if needed or (self.suspect and monotonic() >= self.retry):
                self.make_context()

    def make_context(self) -> None:
        import ssl

        begin, first = monotonic(), self.context is None
        self.context = ssl._create_default_https_context()  # what PEP 476 has programs replace
        self.served = self.suspect = False
        self.retry = 0.0 if first else monotonic() + 4 * (monotonic() - begin)  # it takes 20 ms

    def learn(self, report: _Report) -> None:
        """Suspect the context after a failed handshake, and, before it has served, after any failure."""
        self.served |= report.answered
        self.suspect |= report.tls_failed or not self.served

    def tls(self) -> Any:
        with self.loading:
            if self.context is None:  # behind a redirect from http to https
                self.make_context()
            return self.context

    def opener(self, dial: Any) -> Any:
        """urllib.request for http and https alone; connections are made by *dial*, redirects not followed."""
        from http import client
        from urllib import request

        def connection(kind: Any, tls: bool) -> Any:
            def connect(host: str, **options: Any) -> Any:
                made = kind(host, **options)
                made._create_connection = lambda address, *_: dial(address, tls)
                return made

            return connect

        handler: Any = request.AbstractHTTPHandler()
        handler.http_request = handler.https_request = handler.do_request_
        handler.http_open = lambda req: handler.do_open(connection(client.HTTPConnection, False), req)
        handler.https_open = lambda req: handler.do_open(
            connection(client.HTTPSConnection, True), req, context=self.tls()
        )
        opener = request.OpenerDirector()
        opener.addheaders = [("User-Agent", f"givenotice/{__version__}")]
        for each in (_proxies(), handler, request.UnknownHandler()):
            opener.add_handler(each)
        return opener


def _proxies() -> Any:
    """The proxies of the environment. urllib would write to the port of a SOCKS proxy in the clear."""
    from urllib import request as urllib_request

    request: Any = urllib_request

    def refuse(req: Any) -> None:
        if not request.proxy_bypass_environment(req.host):
            raise OSError(0, "proxies of this kind are not supported")

    proxies = request.getproxies_environment()
    handler: Any = request.ProxyHandler(proxies)
    for scheme, usable in {"http": ("http", "https"), "https": ("http",)}.items():
        kind, separator, host = proxies.get(scheme, "").partition("://")
        if separator and (kind.lower() not in usable or not host.strip("/")):
            setattr(handler, f"{scheme}_open", refuse)
    return handler


class _Sender:
    """A thread that sends what waits for a destination until nothing does. It alone writes its attributes."""

    def __init__(self, dispatcher: _Dispatcher, destination: _Destination) -> None:
        self.dispatcher = dispatcher
        self.destination = destination
        self.deadline = _FOREVER  # of the request under way, monotonic
        self.grip: Any = None  # its socket, or a second handle on it
        self.resolving = False  # it looks up a name
        self.outcome = _Report(self)  # since the last report
        self.made = self.reported = monotonic()
        self.stale = False  # it leaves, so that another is made with the proxies and the TLS of now
        self.opener: Any = None
        self.broken: Exception | None = None  # why there is none
        try:
            with dispatcher.network.loading:
                dispatcher.network.load(dispatcher, destination)
                self.opener = dispatcher.network.opener(self.dial)
        except Exception as error:
            self.broken = error

    # For the dispatcher, and the exit.

    def check(self, now: float) -> float:
        """Cut the request off if it is out of time. Seconds until that is to be looked at again."""
        grip, deadline = self.grip, self.deadline  # in this order: a request may end in between
        if now >= deadline:
            self.cut(grip)
            return 0.05
        return max(0.001, min(deadline - now, TIMEOUT))  # a request may begin now

    def cut(self, grip: Any) -> None:
        """Wake the thread up from whatever it waits for in the network."""
        try:
            grip.shutdown(2)
        except Exception:  # it was closed just now, or is not connected
            pass

    # In its own thread.

    def run(self) -> None:
        try:
            while self.destination.waiting and not (self.over() or self.surplus() or self.stale):
                batch = self.take()
                if batch:
                    self.deliver(batch)
                few = len(self.destination.waiting) <= ORDERED
                if few or monotonic() > self.reported + REPORT:  # each report wakes the dispatcher
                    self.report()
        finally:
            self.outcome.last = True
            self.report()

    def over(self) -> bool:
        return self.dispatcher.stop or monotonic() >= self.dispatcher.deadline

    def surplus(self) -> bool:
        """Whether so few notices are on their way that another sender must send them, one after the other."""
        others = len(self.destination.senders) - 1
        return others > 0 and others + len(self.destination.waiting) <= ORDERED + 1

    def report(self) -> None:
        report, self.outcome, self.reported = self.outcome, _Report(self), monotonic()
        self.dispatcher.report(report)

    def take(self) -> list[tuple[str, _Epoch, Parts]]:
        """The notices for the next request, from the head of the queue."""
        waiting, matomo = self.destination.waiting, self.destination.matomo
        batch: list[tuple[str, _Epoch, Parts]] = []
        size, most, kind = 0, matomo.most() if matomo else 1, None
        while waiting and len(batch) < most:
            try:
                uri, epoch = waiting.popleft()
            except IndexError:  # pragma: no cover  # another sender was faster
                break
            try:
                parts = _split(uri)
            except ValueError as error:  # what push does not look at, such as control characters
                self.outcome.outcomes.append((epoch, "dropped", str(error), 0.0))
                continue
            size += len(parts[4]) + 5 * parts[4].count("&") + 6  # as it is in the body, at most
            before, kind = kind, matomo.kind(parts[4]) if matomo else None
            if batch and (size > BULK_BYTES or (matomo and matomo.parts(before, kind))):
                waiting.appendleft((uri, epoch))
                break
            batch.append((uri, epoch, parts))
        return batch

    def deliver(self, batch: list[tuple[str, _Epoch, Parts]]) -> None:
        """Send a batch in one request. What the server has not looked at goes back into the queue."""
        begin = monotonic()
        self.deadline = min(begin + TIMEOUT, self.dispatcher.deadline, self.dispatcher.limit)
        status, answer, ends = 0, b"", None
        try:
            status, answer = self.request([parts for _, _, parts in batch])
            reason = str(status)
        except BaseException as error:
            reason = self.why(error)
            ends = None if isinstance(error, Exception) else error
        finally:
            self.deadline = _FOREVER
            self.release_grip()
        seconds, matomo = monotonic() - begin, self.destination.matomo
        self.outcome.answered = status > 0
        self.stale = not status and monotonic() > self.made + STALE
        done, looked_at = int(200 <= status < 300), 1
        if matomo:
            queries = [parts[4] for _, _, parts in batch]
            done, looked_at = matomo.judge(queries, status, answer, seconds)
        for number, (_, epoch, _) in enumerate(batch[:looked_at]):
            outcome = "sent" if number < done else "failed"
            self.outcome.outcomes.append((epoch, outcome, reason, seconds))
        self.destination.waiting.extendleft((uri, epoch) for uri, epoch, _ in reversed(batch[looked_at:]))
        if ends:  # such as Ctrl-C, where a flush does the work
            raise ends

    def request(self, batch: list[Parts]) -> tuple[int, bytes]:
        """Status and body of the answer to a batch: a GET, or for Matomo a POST, if need be."""
        if self.broken:
            raise self.broken
        scheme, userinfo, host, path, query, _ = batch[0]
        if len(batch) > 1:
            data, kind = _bulk_body([parts[4] for parts in batch])
            return self.follow((scheme, userinfo, host, path, "", ""), data, kind)
        if self.destination.matomo and (len(query) > LONG or _token(query)):
            return self.follow((scheme, userinfo, host, path, "", ""), query.encode(), _FORM)
        return self.follow(batch[0])

    def follow(self, parts: Parts, data: bytes | None = None, kind: str = "") -> tuple[int, bytes]:
        """Make a request, and follow redirects."""
        from urllib.request import Request

        status = 0
        for _ in range(REDIRECTS + 1):
            scheme, userinfo, host, path, query, _fragment = parts
            self.outcome.tls |= scheme == "https"
            # urllib would parse the URI once more for origin_req_host, which cookies need.
            request = Request(f"{scheme}://{host}{path}{query and '?' + query}", data, origin_req_host=host)
            if kind:
                request.add_header("Content-Type", kind)
            if userinfo:
                request.add_header("Authorization", _basic(userinfo))
            with self.open(request) as response:
                status = response.status
                location = response.headers.get("Location") if 300 <= status < 400 else None
                target = _redirected(parts, status, location or "", data is not None)
                if not target:
                    return status, response.read(BODY) if data else b""
            parts = target
        return status, b""

    def open(self, request: Any) -> Any:
        response = self.opener.open(request, timeout=max(0.001, self.deadline - monotonic()))
        while 101 < response.status < 200:  # a hint, and not yet the answer
            response.headers = response.msg = None
            response.begin()
        return response

    def dial(self, address: tuple[str, int], tls: bool) -> Any:
        """As socket.create_connection, with a grip on the socket; only the last address gets all the time."""
        import socket

        self.resolving = True
        try:
            found = socket.getaddrinfo(*address, 0, socket.SOCK_STREAM)  # as create_connection calls it
        finally:
            self.resolving = False
        for left, (family, kind, protocol, _name, peer) in zip(range(len(found), 0, -1), found):
            sock = None
            try:
                sock = socket.socket(family, kind, protocol)
                self.release_grip()
                self.grip = sock.dup() if tls else sock  # TLS takes the descriptor of the socket away
                sock.settimeout(self.left() if left == 1 else min(self.left() / left, ADDRESS))
                sock.connect(peer)
                sock.settimeout(self.left())
                return sock
            except BaseException as error:
                if sock:
                    sock.close()
                if left == 1 or not isinstance(error, OSError):
                    raise
        raise OSError(0, "the host has no address")

    def left(self) -> float:
        """Seconds that are left for the request."""
        left = self.deadline - monotonic()
        if left <= 0 or self.dispatcher.stop:
            raise TimeoutError
        return left

    def release_grip(self) -> None:
        grip, self.grip = self.grip, None
        if grip:
            grip.close()

    def why(self, error: Any) -> str:
        """Why a request failed, without a word of what was asked."""
        reason = getattr(error, "reason", None)
        error = reason if isinstance(reason, Exception) else error
        self.outcome.tls_failed |= type(error).__name__.startswith("SSL")
        if monotonic() >= self.deadline or isinstance(error, TimeoutError):
            return "timed out"
        if self.dispatcher.stop:
            return "cut off at the exit"
        text = str(error)
        if text.startswith("Tunnel connection failed: "):
            return f"the proxy answered {text[26:29]}"
        return getattr(error, "strerror", None) or type(error).__name__


def _basic(userinfo: str) -> str:
    """The header for user:password@ in a URI."""
    from urllib.parse import unquote_to_bytes

    user = unquote_to_bytes(userinfo if ":" in userinfo else userinfo + ":")
    return "Basic " + b2a_base64(user, newline=False).decode()


def _redirected(parts: Parts, status: int, location: str, post: bool) -> Parts | None:
    """Where a redirect leads, None if it is not followed. A POST stays with its host, and with https."""
    if status not in (301, 302, 303, 307, 308) or not 0 < len(location) <= LOCATION:
        return None
    from urllib.parse import urljoin

    scheme, userinfo, host, path, _, _ = parts
    try:
        # Headers are bytes that http.client reads as Latin-1.
        place = location.encode("latin-1").decode("utf-8", "replace")
        target = _split(urljoin(f"{scheme}://{host}{path}", place))
    except ValueError:
        return None
    if post and (status == 303 or _name(host) != _name(target[2]) or scheme > target[0]):
        return None
    if userinfo and not target[1] and (scheme, host) == (target[0], target[2]):
        return (scheme, userinfo, *target[2:])
    return target


def _name(host: str) -> str:
    """The host without its port."""
    return host.partition("]")[0] if host.startswith("[") else host.partition(":")[0]


# --- Threads, exit and fork ---------------------------------------------------------------------------


def _start(work: Any, threads: deque[None]) -> None:
    """Start a thread that no signal reaches: they are the program's.

    Not by Thread.start(): it waits until the thread runs, tens of milliseconds beside busy threads, and
    before 3.12 for ever at the end of the interpreter.
    """
    sigmask = getattr(_signal, "pthread_sigmask", None)  # None on Windows
    mask = sigmask(_signal.SIG_BLOCK, ()) if sigmask else None
    threads.append(None)
    try:
        # The new thread inherits it; if it blocked them itself, a signal could come before.
        if sigmask:  # pragma: no branch
            sigmask(_signal.SIG_BLOCK, _signal.valid_signals())
        start_new_thread(_thread, (work, threads))
    except BaseException:
        threads.pop()
        raise
    finally:
        if sigmask:  # pragma: no branch
            sigmask(_signal.SIG_SETMASK, mask)


def _thread(work: Any, threads: deque[None]) -> None:  # pragma: no cover  # the tracer begins in it
    try:
        # Debuggers and coverage set it for threads; a raw one does not inherit it. From 3.10.
        trace = getattr(threading, "gettrace", sys.gettrace)()
        if trace:  # without the GIL, settrace stops all threads
            sys.settrace(trace)
        work()
    except BaseException:  # such as a SystemExit out of somebody's logging handler: a thread would print it
        pass
    finally:
        # Logging, and others, ask for the current thread; before 3.13 the entry of a raw one stays.
        getattr(threading, "_active", {}).pop(get_ident(), None)
        threads.pop()


def _run_here(dispatcher: _Dispatcher, deadline: float) -> None:
    """Where no thread can be started, its work is done in the caller's; a SIGPIPE would end the program."""
    sigpipe = {getattr(_signal, "SIGPIPE", 0)}
    if not hasattr(_signal, "sigtimedwait"):  # pragma: no cover  # macOS, Windows
        dispatcher.run(deadline)
        return
    pending = _signal.sigpending() & sigpipe
    mask = _signal.pthread_sigmask(_signal.SIG_BLOCK, sigpipe)
    try:
        dispatcher.run(deadline)
    finally:
        if not pending:
            _signal.sigtimedwait(sigpipe, 0)  # where one came, it was ours
        _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _release(lock: Any) -> None:
    try:
        lock.release()
    except RuntimeError:  # another was as quick
        pass


def _flag() -> Any:
    """A byte that is 0 in a forked child, also where a fork did not run the hooks (on Linux)."""
    try:
        from mmap import MAP_ANONYMOUS, MAP_PRIVATE, PAGESIZE, mmap

        page = mmap(-1, PAGESIZE, MAP_PRIVATE | MAP_ANONYMOUS)
        page.madvise(18)  # MADV_WIPEONFORK, since Linux 4.14
        return page
    except Exception:  # pragma: no cover  # elsewhere
        return bytearray(1)


def _own_dispatcher() -> _Dispatcher:
    """The dispatcher of this process, also where a fork did not run the hooks."""
    if _dispatcher.pid != os.getpid():
        _after_fork_in_child()
    return _dispatcher


def _at_exit() -> None:
    _own_dispatcher().close()


def _finalize_in_multiprocessing(dispatcher: _Dispatcher) -> None:
    """Have the exit run in children of multiprocessing, too: before 3.13 they skip atexit."""
    util = sys.modules.get("multiprocessing.util")
    process = sys.modules.get("multiprocessing.process")
    if dispatcher.finalizer is None and util and process and process.parent_process() is not None:
        dispatcher.finalizer = util.Finalize(None, _at_exit, exitpriority=-100)


def _before_fork() -> None:
    """End an idle dispatcher's thread. Wait for an import: it would hang the child."""
    _dispatcher.retire()
    _dispatcher.network.loading.acquire(True, LOADING / 2)


def _after_fork_in_parent() -> None:
    _release(_dispatcher.network.loading)  # unless another thread has it


def _after_fork_in_child() -> None:
    """The notices that wait are the parent's, and so are its threads."""
    global _dispatcher
    _dispatcher = _Dispatcher()


if "_dispatcher" not in globals():  # else the module is reloaded, and what waits, and the hooks, are there
    _recorders: dict[int, Recorder] = {}  # by id, as recorders are equal if their notices are
    _dispatcher = _Dispatcher()
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
        from urllib.parse import parse_qsl

        params: dict[str, Any] = {}
        query = self.partition("#")[0].partition("?")[2]
        for name, value in parse_qsl(query, keep_blank_values=True):
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
        self._entered.append(_divert(Recorder()))
        return self._entered[-1]

    def __exit__(self, *_: object) -> None:
        _restore(self._entered.pop())


def _divert(recorder: Recorder) -> Recorder:
    return _recorders.setdefault(id(recorder), recorder)


def _restore(recorder: Recorder) -> None:
    _recorders.pop(id(recorder), None)


def _record(uri: str | None, params: dict[str, Any]) -> bool:
    """The sink of tests. Without a URI the parameters are recorded alone: tests need no environment."""
    if uri is None:
        uri = _default_uri() or None
    if uri is None and not params:
        return False
    notice = Notice(f"?{_set('', params)}" if uri is None else build_uri(uri, **params))
    for recorder in list(_recorders.values())[-1:]:  # none, if the last recording ended just now
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
    """*uri* without what must not be shown: a token, in the fragment, too; a user's name and password."""
    scheme, slashes, rest = uri.partition("://")
    authority = rest.partition("/")[0].partition("?")[0].partition("#")[0]
    user, at, _host = authority.rpartition("@")
    shown = f"{scheme}{slashes}{'***' if at else ''}{rest[len(user) :]}"
    return "#".join(["&".join(map(_mask_token, half.split("&"))) for half in shown.split("#")])


def _mask_token(part: str) -> str:
    """A parameter, and what stands before the first one."""
    pieces = part.split("?")
    for at, piece in enumerate(pieces):
        name, equals, _value = piece.partition("=")
        if equals and _decode(name).startswith("token_auth"):
            return "?".join([*pieces[:at], f"{name}=***"])
    return part


# --- Under pytest -----------------------------------------------------------------------------------


def pytest_addoption(pluginmanager: pytest.PytestPluginManager) -> None:
    """The plugin: from here on nothing is sent, and the fixture `notices` has what a test pushed.

    Of the hooks, this one is called first: before conftest.py is imported, and an app with it that may push.
    """
    import pytest

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
                self.recorder = recorder = _divert(Recorder())
                item.addfinalizer(lambda: self.end(recorder))
            return self.recorder

        def end(self, recorder: Recorder) -> None:
            _restore(recorder)
            self.recorder = None

    _silence(pluginmanager.get_plugin("pytestconfig"), pytest.MonkeyPatch())
    other = pluginmanager.get_plugin("givenotice-fixtures")
    if other is None or __name__ != "givenotice":  # a vendored copy comes before an installed one
        if other is not None:  # pragma: no cover  # it is the copy that runs here
            pluginmanager.unregister(other)
        pluginmanager.register(Plugin(), "givenotice-fixtures")


class _Unread(Recorder):
    """For what is pushed outside of tests with `notices`: it keeps nothing."""

    def append(self, notice: Notice) -> None:
        pass


def _silence(config: Any, environment: pytest.MonkeyPatch) -> None:
    """Send nothing in this run: not from this copy of the file, nor from others, nor in child processes."""
    unread = _divert(_Unread())
    environment.delenv("GIVENOTICE_URI", raising=False)  # tests see the same at each desk
    environment.setenv("GIVENOTICE_DISABLED", "1")
    for module in list(sys.modules.values()):  # a copy that was imported before has read it already
        names = getattr(module, "__dict__", {})
        if "matomo_uri" in names and "EXIT_TIMEOUT" in names:
            names["DISABLED"] = True
    config.add_cleanup(environment.undo)
    config.add_cleanup(lambda: _restore(unread))


# --- In the shell -------------------------------------------------------------------------------------

_HELP = """\
usage: givenotice [options] [URI ...] [NAME=VALUE ...]

Give notice to another service: send an HTTP request, expect no answer.
Each NAME=VALUE is set as a parameter on each URI, or on $GIVENOTICE_URI if
there is none. Whatever follows -- is an argument.

options:
  -t, --timeout SECONDS   for the whole run (default: 5)
  -v, --verbose           write a line for each notice to stderr
  -q, --quiet             write nothing but errors to stderr
  -f, --fail              exit with 1 if a notice was not delivered, or if
                          there is no URI
  -n, --dry-run           print the URIs without their tokens; send nothing
  -V, --version           print the version
  -h, --help              print this help
  --listen [[HOST:]PORT]  receive notices and print them, until Ctrl-C
                          (default: 127.0.0.1:8000)
  --demo                  send notices to a receiver of its own, and show them

environment:
  GIVENOTICE_URI          the URI where none is given
  GIVENOTICE_DISABLED     1: send nothing
  GIVENOTICE_TIMEOUT      the default of --timeout; GIVENOTICE_EXIT_TIMEOUT is
                          not used
  GIVENOTICE_BACKLOG      the most notices at once (default: 10,000)

exit status:
  0    delivered; without -f also if not delivered, or if there is no URI
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
        if arguments and options.keys() & {"demo", "listen"}:
            raise ValueError("There must be no arguments beside --listen and --demo.")
        if "demo" in options:
            return _demo()
        return _listen(options["listen"]) if "listen" in options else _give_notice(options, arguments)
    except GetoptError as error:  # its text has the whole option
        dashes = "-" if len(error.opt) == 1 else "--"
        sentence = f"Option {dashes}{_head(error.opt)} {error.msg.partition(f'-{error.opt} ')[2]}."
    except (ValueError, TypeError) as error:
        sentence = str(error)
    _tell(f"{_HELP.partition(chr(10))[0]}\ngivenotice: error: {sentence}")
    return 2


def _head(option: str) -> str:
    """What an error may show of *option*: behind its name there may be a secret."""
    import re

    name = re.split(r"[^\w.-]", option, maxsplit=1, flags=re.ASCII)[0]
    return name + "..." * (name != option)


def _give_notice(options: dict[str, str], arguments: list[str]) -> int:
    uris, params = _sort_arguments(arguments)
    timeout = _number(options.get("timeout", str(TIMEOUT)))
    if timeout is None or not 0 <= timeout < threading.TIMEOUT_MAX:
        raise ValueError("The timeout must be a number of seconds, 0 or more.")
    configured = _escape(_default_uri())
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
    for number, argument in enumerate(arguments, 1):
        name, equals, value = argument.partition("=")
        if argument.lstrip(_ENDS).lower().startswith(("http://", "https://")):
            uris.append(_escape(argument))
        elif equals and not set(name) & set("/?"):
            params.setdefault(name, []).append(value)
        else:
            raise ValueError(f"Argument {number} is neither NAME=VALUE nor a URI with http:// or https://.")
    return uris, params


def _escape(text: str) -> str:
    """Percent-encode the bytes that are not UTF-8: Python reads them as lone surrogates."""
    return "".join(f"%{ord(char) - 0xDC00:X}" if "\udc80" <= char <= "\udcff" else char for char in text)


def _build(uri: str, params: dict[str, list[str]]) -> str:
    """As `build_uri`, and with values that are not UTF-8: words stand for them meanwhile."""
    odd = {value for values in params.values() for value in values if _escape(value) != value}
    words = {value: os.urandom(8).hex() for value in odd}
    uri = build_uri(uri, **{name: [words.get(value, value) for value in params[name]] for name in params})
    for value, word in words.items():
        uri = uri.replace(word, _quote(os.fsencode(value), _UNRESERVED))
    return uri


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
    _own_dispatcher().limit = monotonic() + timeout
    for uri in uris:
        push(uri)
    flush(timeout + 0.5)  # seconds more: a request that is out of time says so itself
    _at_exit()
    return stats().sent == len(uris)


# --- A receiver for development -----------------------------------------------------------------------

_GIF = b"GIF89a\1\0\1\0\x80\0\0\0\0\0\0\0\0!\xf9\4\1\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0;"


def _receiver(host: str, port: int, show: Any) -> Any:
    """A server, in a thread, that answers as Matomo does, and tells *show* what it gets."""
    import socket
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

    class Handler(BaseHTTPRequestHandler):
        timeout = 2  # seconds of silence; Ctrl-C takes as long at most

        def do_GET(self) -> None:
            path, _, query = self.path.partition("?")
            body = self.rfile.read(max(0, min(int(self.headers.get("Content-Length", 0)), 10_000_000)))
            told, notices, answer = _read(query, body, self.headers.get("Content-Type", _FORM))
            try:
                show(f"{self.command} {path}", f"{len(query) + len(body)} bytes{told}", notices)
            except OSError as error:  # the pipe was closed, or the disk is full
                server.failure = error
            self.send_response(200 if answer else 204)
            if answer:
                self.send_header("Content-Type", "image/gif" if answer is _GIF else "application/json")
            self.end_headers()
            self.wfile.write(answer)

        do_HEAD = do_POST = do_PUT = do_GET

        def log_message(self, format: str, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        daemon_threads = False  # one that prints could crash the end of the interpreter

        def end(self) -> None:
            self.shutdown()
            self.server_close()

    server: Any = Server((host, port), Handler)
    server.handle_error = lambda *_: None  # a client that sends nonsense, or leaves in the middle
    server.failure = None
    server.base = f"http://{f'[{host}]' if ':' in host else host}:{server.server_port}"
    threading.Thread(target=server.serve_forever, args=(0.1,), daemon=True).start()
    return server


def _read(query: str, body: bytes, kind: str) -> tuple[str, list[str], bytes]:
    """What a request has: a word on its body, the queries of its notices; and Matomo's answer."""
    from json import dumps, loads

    text = body.decode("utf-8", "replace")
    try:
        notices = [request.partition("?")[2] for request in loads(text)["requests"]]
        answer = dumps({"status": "success", "tracked": len(notices), "invalid": 0}).encode()
        return f", {len(notices)} notices", notices, answer
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        is_form = not text or (_FORM in kind.lower() and text.lstrip()[:1] not in tuple('{[<-"'))
    notice = f"{query}&{text}".strip("&") if is_form else query
    gif = _GIF if "rec=1" in notice and "send_image=0" not in notice else b""
    return "" if is_form else ", the body is not shown: it is no form", [notice], gif


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
    text = "\n".join([*lines, ""]).encode(encoding, "backslashreplace").decode(encoding)
    print(text, end="", flush=True)  # in one piece, as requests come side by side


def _printable(text: str) -> str:
    """The text, without what a terminal would take for a command."""
    return text if text.isprintable() else ascii(text)


def _listen(address: str) -> int:
    host, _, port = address.rpartition(":")
    if not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise ValueError("The port to listen on must be a number from 0 to 65535.")
    server: Any = None
    try:
        server = _receiver(host.strip("[]") or "127.0.0.1", int(port), _show)
        print(f"Listening on {server.base}/ until Ctrl-C.")
        print("The value of token_auth is masked; other secrets are not.", flush=True)
        while not server.failure:
            sleep(0.2)  # seconds: the signal may reach another thread, and does not end it then
        raise server.failure
    except KeyboardInterrupt:
        return 0
    except (OSError, UnicodeError, TypeError) as error:  # the last two for a host that is none
        if server:
            raise
        why = getattr(error, "strerror", None) or "no valid host"
        raise ValueError(f"Cannot listen on {address!a}: {why}.") from None
    finally:
        if server:
            server.end()


def _demo() -> int:
    """Push notices through all of this file to a receiver in this process; show what arrives, and when."""
    global DISABLED, TIMEOUT, EXIT_TIMEOUT, BACKLOG
    DISABLED, TIMEOUT, EXIT_TIMEOUT, BACKLOG = False, 5.0, 2.0, 10_000  # whatever the environment says
    os.environ["no_proxy"] = "*"
    requests: list[Any] = []
    server = _receiver("127.0.0.1", 0, lambda *told: requests.append(told))
    print(f"A receiver listens on {server.base}/.\nA heartbeat, a page view and an event are pushed to it:\n")
    page = server.base, 1, "https://myapp.example.com/worker/"
    event = matomo_uri(*page, e_c="user", e_a="signup")
    for uri in f"{server.base}/ping/9f2c", matomo_uri(*page, action_name="worker-job"), event:
        push(uri)
        flush()
        _show(*requests[-1])
    begin = monotonic()
    for _ in range(1000):
        push(event)
    pushed = monotonic()
    flush()
    came, later = sum(len(told[2]) for told in requests[3:]), (monotonic() - pushed) * 1000
    print(f"\n1,000 more were pushed in {(pushed - begin) * 1000:.1f} ms: the program waited no longer.")
    print(f"{came:,} of them arrived in {len(requests) - 3} requests, {later:.0f} ms later.")
    server.end()
    return 0


if __name__ == "__main__":
    sys.exit(main())
