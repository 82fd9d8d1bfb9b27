"""The URI builder, against independent oracles: parse_qsl for the way back, RFC 3986 for the form."""

from __future__ import annotations

import array
import collections
import enum
import math
import re
import time
import traceback
import types
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import idna
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from givenotice import Notice, build_uri

BASE = "https://example.com/ping"

# RFC 3986, appendix A, written down anew.
PCHAR = r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@]|%[0-9A-Fa-f]{2})"
URI = re.compile(
    r"https?://"
    r"(?:(?:[A-Za-z0-9\-._~!$&'()*+,;=:]|%[0-9A-Fa-f]{2})*@)?"
    r"(?P<host>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9\-._]+)"
    r"(?::[0-9]+)?"
    rf"(?:/{PCHAR}*)+"
    rf"(?:\?(?:{PCHAR}|[/?])*)?"
    rf"(?:#(?:{PCHAR}|[/?])*)?"
)

# Surrogates are refused, which a test of its own shows.
texts = st.text(st.characters(exclude_categories=["Cs"]))
# Any text that is no valid UTF-8 when decoded would come back as U+FFFD: the builder makes none.
params = st.dictionaries(texts, st.one_of(texts, st.lists(texts, min_size=1, max_size=3)), max_size=5)


def pairs(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (name, item)
        for name, value in values.items()
        for item in (value if isinstance(value, list) else [value])
    ]


def query(uri: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(uri).query, keep_blank_values=True)


# --- What must hold for all input -----------------------------------------------------------------


@given(params)
def test_what_goes_in_comes_back(values: dict[str, Any]) -> None:
    assert query(build_uri(BASE, **values)) == pairs(values)


@given(params)
def test_the_result_obeys_the_grammar_of_rfc_3986(values: dict[str, Any]) -> None:
    assert URI.fullmatch(build_uri(BASE, **values))


@given(params)
def test_building_twice_changes_nothing(values: dict[str, Any]) -> None:
    once = build_uri(BASE, **values)
    assert build_uri(once) == once
    assert build_uri(once, **values) == once


@given(params, params)
def test_a_later_value_replaces_an_earlier_one(first: dict[str, Any], second: dict[str, Any]) -> None:
    expected = {**first, **second}
    assert query(build_uri(build_uri(BASE, **first), **second)) == pairs(expected)


@given(st.binary().filter(lambda data: not is_utf8(data)))
def test_bytes_that_are_no_utf_8_are_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match=r"Parameter 'x' must be UTF-8"):
        build_uri(BASE, x=data)


def is_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(texts)
def test_bytes_of_utf_8_are_as_their_text(text: str) -> None:
    assert build_uri(BASE, x=text.encode()) == build_uri(BASE, x=text)


@given(st.integers(-(10**400), 10**400))
def test_an_integer_comes_back(number: int) -> None:
    assert [(name, int(value)) for name, value in query(build_uri(BASE, x=number))] == [("x", number)]


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_comes_back(number: float) -> None:
    assert [(name, float(value)) for name, value in query(build_uri(BASE, x=number))] == [("x", number)]


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_comes_back(number: Decimal) -> None:
    assert [(name, Decimal(value)) for name, value in query(build_uri(BASE, x=number))] == [("x", number)]


DAY = timedelta(days=1)
# Zones may differ from UTC by any time under a day, also by microseconds.
zones = st.builds(timezone, st.timedeltas(timedelta(microseconds=1) - DAY, DAY - timedelta(microseconds=1)))


@given(st.datetimes(timezones=zones))
def test_a_datetime_becomes_unix_seconds(moment: datetime) -> None:
    check_seconds(moment)


@pytest.mark.parametrize(
    "moment",
    [
        datetime(2514, 5, 30, 1, 53, 4, 999_999, timezone.utc),  # floats round from here on
        datetime(9999, 12, 31, 23, 59, 59, 999_999, timezone.utc),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, timezone(timedelta(hours=-23))),
        datetime(1, 1, 1, 0, 0, 0, 1, timezone.utc),
        datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=23, microseconds=1))),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, timezone.utc),
    ],
)
def test_a_datetime_of_any_year_is_exact(moment: datetime) -> None:
    check_seconds(moment)


def check_seconds(moment: datetime) -> None:
    seconds = (moment - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(seconds=1)
    assert query(build_uri(BASE, x=moment)) == [("x", str(seconds))]


@given(st.text())
def test_any_base_gives_a_uri_or_a_clear_error(base: str) -> None:
    check_base(base)


# Pieces that have confused parsers of URIs before.
PIECES = """http:// HTTPS:// // / \\ @ : ? # [ ] ::1 % %2 %41 %zz .. a b.example münchen.example xn-- . - _
    80 65536 é & = + ; < " ^ | user \uff0f \u3002 \U0001f600"""
pieces = st.sampled_from([*PIECES.split(), " ", "\t", "\n", "\x7f", "\x85", "\ud800", "\xad"])


@given(st.lists(pieces, max_size=12).map("".join))
def test_a_base_of_odd_pieces_gives_a_uri_or_a_clear_error(rest: str) -> None:
    check_base(rest)
    check_base("http://" + rest)
    check_base("http://b.example/" + rest)


def check_base(base: str) -> None:
    try:
        uri = build_uri(base, x="1")
    except (ValueError, TypeError) as error:
        assert str(error).endswith(".")
        return
    match = URI.fullmatch(uri)
    assert match
    assert build_uri(uri) == uri
    assert query(uri)[-1] == ("x", "1") or query(uri).count(("x", "1")) == 1
    # A second parser must see the same host, or a URI could be checked for one and sent to another.
    assert urlsplit(uri).hostname == match["host"].strip("[]").lower()


@given(st.text("".join(map(chr, range(33)))), st.text("".join(map(chr, range(33)))))
def test_white_space_and_control_characters_at_the_ends_are_taken_off(before: str, after: str) -> None:
    assert build_uri(f"{before}http://h.example/p{after}", x=1) == "http://h.example/p?x=1"


@given(st.sampled_from([*map(chr, range(32)), *map(chr, range(127, 160))]))
def test_control_characters_inside_are_refused(char: str) -> None:
    for uri in (f"http://h.example/{char}p", f"http://h{char}.example/", f"http://h.example/?{char}#f"):
        with pytest.raises(ValueError, match=r"^The URI must not contain control characters\.$"):
            build_uri(uri)


# Any letters, also of scripts that Unicode 3.2 had not, on which IDNA 2003 is based.
letters = st.characters(min_codepoint=0x61, categories=["Ll", "Lu", "Lo", "Mn", "Nd"])
latin = st.characters(min_codepoint=0x61, max_codepoint=0x58F, categories=["Ll", "Lu", "Mn", "Nd"])
odd = st.sampled_from(
    "\xad\xdf\u03c2\u03f7\u115f\u13a0\u1806\u1e9e\u2183\u3002\ufe0f\uffa0\U0002f868\U000e0100-"
)


@example(["\u03f7"])
@example(["\u13a0"])
@example(["a\U000e0100"])
@example(["a\u115f"])
@example(["\U0002f868"])
@given(st.lists(st.text(latin | letters | odd, min_size=1), min_size=1, max_size=3))
def test_a_host_is_the_one_that_a_browser_finds_or_is_refused(labels: list[str]) -> None:
    name = ".".join(labels)
    try:
        expected = idna.encode(name, uts46=True).decode()
        host = urlsplit(build_uri(f"http://{name}/")).hostname
    except ValueError:
        return
    assert host == expected


@given(
    st.text(), st.lists(st.sampled_from([*"?&#=%:/@", "token_auth", "%of", "%5f", "http://"])).map("".join)
)
def test_every_notice_has_a_repr(text: str, pieces: str) -> None:
    for notice in (text, pieces, pieces + text, f"http://h.example/{pieces}{text}"):
        assert isinstance(repr(Notice(notice)), str)


scalars = st.one_of(
    *[st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.binary(), st.complex_numbers()],
    *[st.dates(), st.datetimes(), st.times(), st.decimals(), st.uuids(), st.fractions(), st.builds(object)],
)
containers = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=2) | st.tuples(inner)
    ),
    max_leaves=4,  # deeper ones are refused at the first level
)


@given(containers)
def test_any_object_gives_a_uri_or_a_clear_error(value: Any) -> None:
    try:
        uri = build_uri(BASE, odd=value)
    except (ValueError, TypeError) as error:
        assert "'odd'" in str(error)
    else:
        assert URI.fullmatch(uri)


@given(st.one_of(st.none(), st.integers(), st.binary(), st.lists(st.text()), st.builds(object)))
def test_a_base_that_is_no_text_is_refused(base: Any) -> None:
    with pytest.raises(TypeError, match="The URI must be a str, not "):
        build_uri(base)


# --- Examples of each rule ------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "red&white"


class Level(enum.IntEnum):
    HIGH = 3


class Loud(str, enum.Enum):
    YES = "yes!"


class Secretive(enum.Enum):
    ONE = 1

    @property
    def value(self) -> Any:
        raise OSError("secret")


class Address(NamedTuple):
    """As the URL objects of urllib3 and SQLAlchemy: a tuple of parts, the password among them."""

    user: str = "secret"

    @property
    def url(self) -> str:
        return f"http://{self.user}@h.example/"


class OddInt(int):
    def __repr__(self) -> str:
        return "odd"

    __str__ = __repr__


class OddFloat(float):
    """As numpy's floats, whose repr is np.float64(1.5)."""

    def __repr__(self) -> str:
        return "odd"

    __str__ = __repr__


class OddText(str):
    def __str__(self) -> str:
        return "odd"

    def encode(self, encoding: str = "utf-8", errors: str = "strict") -> bytes:
        raise OSError


class Fraught(int):
    """Each method of it raises."""

    def raises(self, *_: object) -> Any:
        raise OSError("secret")

    __repr__ = __str__ = __index__ = __int__ = __float__ = __eq__ = __lt__ = __sub__ = __bool__ = raises
    __hash__ = int.__hash__


class Index:
    def __index__(self) -> int:
        return 7


class Float:
    def __float__(self) -> float:
        return 1.5


class Infinite:
    def __float__(self) -> float:
        return math.inf


class Broken:
    def __float__(self) -> float:
        raise KeyError("secret")


class Unreadable(list[int]):
    def __iter__(self) -> Any:
        raise OSError("secret")


class Lazy:
    """A text of a translation, say."""

    def __str__(self) -> str:
        return "secret"

    def encode(self) -> bytes:
        return b"secret"


class Claims:
    """A proxy: isinstance takes it for a str, and float() for a number."""

    __class__ = str  # type: ignore[assignment]

    def __float__(self) -> float:
        return 5.0


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        (Index(), "7"),
        (Float(), "1.5"),
        (Fraction(1, 4), "0.25"),
        (Decimal("1E+400"), "1E%2B400"),
        (-0.0, "-0.0"),
        ("a b+c/ä", "a%20b%2Bc%2F%C3%A4"),
        ("-._~", "-._~"),
        (b"\xc3\xa4", "%C3%A4"),
        (0, "0"),
        (-7, "-7"),
        (OddInt(5), "5"),
        (True, "1"),
        (False, "0"),
        (1.0, "1.0"),
        (0.1, "0.1"),
        (1e22, "1e%2B22"),
        (OddFloat(1.5), "1.5"),
        (Decimal("1.50"), "1.50"),
        (Colour.RED, "red%26white"),
        (Level.HIGH, "3"),
        (Loud.YES, "yes%21"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (datetime(1970, 1, 2, tzinfo=timezone.utc), "86400"),
        (datetime(1969, 12, 31, 23, 59, 59, 500_000, timezone.utc), "-1"),
        (datetime(2000, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "946684800"),
    ],
)
def test_a_value_becomes_text(value: Any, text: str) -> None:
    assert build_uri(BASE, x=value) == f"{BASE}?x={text}"


def test_a_number_with_methods_of_its_own_is_taken_as_it_is() -> None:
    assert build_uri(BASE, x=Fraught(5), y=[Fraught(6)]) == f"{BASE}?x=5&y=6"


def test_a_str_with_methods_of_its_own_is_taken_as_it_is() -> None:
    assert build_uri(OddText(BASE), x=OddText("as it is")) == f"{BASE}?x=as%20it%20is"


@pytest.mark.parametrize(
    ("base", "values", "result"),
    [
        ("http://h.example/?a=1&b=2&c=3", {"b": "x"}, "http://h.example/?a=1&b=x&c=3"),
        ("http://h.example/?a=1&b=2&a=3", {"a": "x"}, "http://h.example/?a=x&b=2"),
        ("http://h.example/?a=1&b=2", {"a": ["x", "y"]}, "http://h.example/?a=x&a=y&b=2"),
        ("http://h.example/?a=1&b=2", {"a": ("x",), "c": 3}, "http://h.example/?a=x&b=2&c=3"),
        ("http://h.example/?a=1&b=2", {"a": None}, "http://h.example/?b=2"),
        ("http://h.example/?a=1", {"a": []}, "http://h.example/"),
        ("http://h.example/", {"a": range(3)}, "http://h.example/?a=0&a=1&a=2"),
        ("http://h.example/", {"a": collections.deque([1, "x"])}, "http://h.example/?a=1&a=x"),
        ("http://h.example/", {"a": array.array("i", [1, 2])}, "http://h.example/?a=1&a=2"),
        ("http://h.example/", {"a": collections.UserList("xy")}, "http://h.example/?a=x&a=y"),
        ("http://h.example/?b=1&a=1&b=2", {"b": None, "a": [2, 3]}, "http://h.example/?a=2&a=3"),
        ("http://h.example/?a=1", {"none": None}, "http://h.example/?a=1"),
        ("http://h.example/?flag&b", {"flag": "x"}, "http://h.example/?flag=x&b"),
        ("http://h.example/?d%5B1%5D=x&y+z=1", {"d[1]": 2, "y z": 3}, "http://h.example/?d%5B1%5D=2&y%20z=3"),
        ("http://h.example/?a=%zz%41%e4", {}, "http://h.example/?a=%25zz%41%e4"),
        ("http://h.example/?&&a=1&", {"b": 2}, "http://h.example/?a=1&b=2"),
        ("http://h.example/p#top", {"a": "#"}, "http://h.example/p?a=%23#top"),
        ("http://h.example/p?#a?b#c", {}, "http://h.example/p#a?b%23c"),
        ("http://h.example", {}, "http://h.example/"),
        ("http://h.example?a=1", {}, "http://h.example/?a=1"),
        ("  HTTP://H.Example/A b/%41/é  ", {}, "http://h.example/A%20b/%41/%C3%A9"),
        ("http://münchen.example/", {}, "http://xn--mnchen-3ya.example/"),
        ("http://h.example./", {}, "http://h.example./"),
        ("http://h.example:/", {}, "http://h.example/"),
        ("http://h.example:0080/", {}, "http://h.example:80/"),
        ("http://[::1]:8080/", {}, "http://[::1]:8080/"),
        ("http://[2001:DB8:0:0::1]/", {}, "http://[2001:db8::1]/"),
        ("http://u ser:p@ss:w%41rd@h.example/", {}, "http://u%20ser:p%40ss:w%41rd@h.example/"),
        ('http://h.example/<"\\^`{|}>[]?<"\\^`{|}>[]', {}, "http://h.example/" + "?".join(
            ["%3C%22%5C%5E%60%7B%7C%7D%3E%5B%5D"] * 2)),
    ],
)  # fmt: skip
def test_a_base_is_normalised_and_its_parameters_set(base: str, values: dict[str, Any], result: str) -> None:
    assert build_uri(base, **values) == result


@pytest.mark.parametrize(
    ("value", "error", "sentence"),
    [
        (math.nan, ValueError, "Parameter 'x' must be a finite number."),
        (-math.inf, ValueError, "Parameter 'x' must be a finite number."),
        (Decimal("sNaN"), ValueError, "Parameter 'x' must be a finite number."),
        (Decimal("Infinity"), ValueError, "Parameter 'x' must be a finite number."),
        (datetime(2020, 1, 1), ValueError, "Parameter 'x' must be a datetime with a time zone; "
         "a naive one could mean any instant."),
        (b"secret\xff", ValueError, "Parameter 'x' must be UTF-8 where it is given as bytes."),
        ("secret\ud800", ValueError, "Parameter 'x' must not contain a lone surrogate."),
        ({"secret": 1}, TypeError, "Parameter 'x' must not be a dict; pass json.dumps(...) of it."),
        ([["secret"]], TypeError, "Parameter 'x' must not be of type list."),
        (["secret", None], TypeError, "Parameter 'x' must not be of type NoneType."),
        (Decimal("sNaN7"), ValueError, "Parameter 'x' must be a finite number."),
        (Decimal("NaN12"), ValueError, "Parameter 'x' must be a finite number."),
        (Fraction(10**400), ValueError, "Parameter 'x' must be a finite number."),
        (Infinite(), ValueError, "Parameter 'x' must be a finite number."),
        (Broken(), ValueError, "Parameter 'x' must be a finite number."),
        (Secretive.ONE, ValueError, "Parameter 'x' has a value that cannot be read."),
        (Unreadable(), TypeError, "Parameter 'x' is a sequence that cannot be read."),
    ],
)  # fmt: skip
def test_a_refused_value_is_named_by_its_parameter(value: Any, error: type[Exception], sentence: str) -> None:
    check_refusal(lambda: build_uri(BASE, x=value), error, sentence)


@pytest.mark.parametrize(
    "make",
    [
        lambda: {"secret"},
        lambda: frozenset({"secret"}),
        lambda: (part for part in ["secret"]),
        lambda: {"secret": 1}.keys(),
        lambda: types.MappingProxyType({"secret": 1}),
        lambda: bytearray(b"secret"),
        lambda: memoryview(b"secret"),
        lambda: date(2020, 1, 1),
        lambda: datetime(2020, 1, 1).time(),
        lambda: timedelta(seconds=1),
        lambda: Path("secret"),
        lambda: ip_address("127.0.0.1"),
        lambda: urlsplit("http://secret.example/"),
        lambda: Address(),
        lambda: collections.UserString("secret"),
        lambda: Exception("secret"),
        lambda: Lazy(),
        lambda: Claims(),
        lambda: [{"secret"}],
        lambda: 1j,
        lambda: object(),
        lambda: str,
    ],
)  # fmt: skip
def test_a_refused_value_is_told_with_what_to_pass(make: Callable[[], Any]) -> None:
    value = make()
    kind = type(value[0] if isinstance(value, list) else value).__name__
    sentence = (
        f"Parameter 'x' must not be of type {kind}. "
        "Pass a str, bytes, a number, a datetime with a time zone, or a list of those."
    )
    check_refusal(lambda: build_uri(BASE, x=value), TypeError, sentence)


# The digits that Python turns into text are limited since 3.11 (and 3.10.7, 3.9.14).
def test_an_integer_of_too_many_digits_is_refused() -> None:
    check_refusal(
        lambda: build_uri(BASE, x=10**5000), ValueError, "Parameter 'x' is an integer with too many digits."
    )


def test_a_name_with_a_lone_surrogate_is_refused() -> None:
    sentence = r"Parameter '\udc80' must not contain a lone surrogate."
    check_refusal(lambda: build_uri(BASE, **{"\udc80": "secret"}), ValueError, sentence)


DISPUTED = "The URI has a host that browsers read differently; write it as xn--... instead."


@pytest.mark.parametrize(
    ("base", "sentence"),
    [
        ("", "The URI must be absolute and begin with http:// or https://."),
        ("/secret", "The URI must be absolute and begin with http:// or https://."),
        ("ftp://secret.example/", "The URI must be absolute and begin with http:// or https://."),
        ("file:///secret", "The URI must be absolute and begin with http:// or https://."),
        ("data:,secret", "The URI must be absolute and begin with http:// or https://."),
        ("http:/secret.example", "The URI must be absolute and begin with http:// or https://."),
        ("http://h.example/secret\r\nX: y", "The URI must not contain control characters."),
        ("http://h.example/secret\x85", "The URI must not contain control characters."),
        ("http://h.example/secret\ud800", "The URI must not contain a lone surrogate."),
        ("http://", "The URI has no host, or one that is no valid domain name."),
        ("http://:80/secret", "The URI has no host, or one that is no valid domain name."),
        ("http://secret@/", "The URI has no host, or one that is no valid domain name."),
        ("http://se cret.example/", "The URI has no host, or one that is no valid domain name."),
        (
            "http://good.example\\@secret.example\\/",
            "The URI must not contain a backslash before its path.",
        ),
        ("http://good.example\\@secret.example/", "The URI must not contain a backslash before its path."),
        ("http://secret..example/", "The URI has no host, or one that is no valid domain name."),
        ("http://" + "s" * 64 + ".example/", "The URI has no host, or one that is no valid domain name."),
        ("http://" + "secret." * 37 + "e/", "The URI has no host, or one that is no valid domain name."),
        (
            "http://good.example\uff0f.secret.example/",
            "The URI has no host, or one that is no valid domain name.",
        ),
        ("http://secret\u3002\u3002example/", "The URI has a host that is no valid domain name."),
        ("http://fa\xdf.example/secret", DISPUTED),
        ("http://FA\u1e9e.example/secret", DISPUTED),
        ("http://\u03b2\u03cc\u03bb\u03bf\u03c2.example/secret", DISPUTED),
        ("http://a\u200cb.example/secret", DISPUTED),
        ("http://a\u200db.example/secret", DISPUTED),
        ("http://a\U000e0100.example/secret", DISPUTED),
        ("http://\u0378.example/secret", DISPUTED),  # no character yet
        ("http://fa%C3%9F.example/secret", "The URI has no host, or one that is no valid domain name."),
        (
            "http://" + "a\u0308." * 127 + "/secret",
            "The URI has no host, or one that is no valid domain name.",
        ),
        ("http://[::1/", "The URI has no valid IPv6 address in its brackets."),
        ("http://[secret]/", "The URI has no valid IPv6 address in its brackets."),
        ("http://[fe80::1%25secret]/", "The URI has no valid IPv6 address in its brackets."),
        ("http://[::1]secret/", "The URI has no valid IPv6 address in its brackets."),
        ("http://h.example:0/secret", "The URI has a port that is no number from 1 to 65535."),
        ("http://h.example:65536/secret", "The URI has a port that is no number from 1 to 65535."),
        ("http://h.example:secret/", "The URI has a port that is no number from 1 to 65535."),
        ("http://h.example:\u0661/secret", "The URI has a port that is no number from 1 to 65535."),
    ],
)
def test_a_refused_base_is_told_in_a_sentence(base: str, sentence: str) -> None:
    check_refusal(lambda: build_uri(base), ValueError, sentence)


def check_refusal(call: Callable[[], object], error: type[Exception], sentence: str) -> None:
    with pytest.raises(error) as raised:
        call()
    assert str(raised.value) == sentence
    # Nor does what Python prints of it show a value: the error that was its cause is not told.
    printed = "".join(traceback.format_exception_only(type(raised.value), raised.value))
    assert "secret" not in printed
    assert raised.value.__cause__ is None
    assert raised.value.__suppress_context__ or raised.value.__context__ is None


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("http://h/?50%off=1", "http://h/?50%off=1"),
        ("http://h/#token_auth=secret", "http://h/#token_auth=***"),
        ("http://h/p#?a=1&token_auth=secret?secret&b=2", "http://h/p#?a=1&token_auth=***&b=2"),
        ("http://h/a=b?token_auth=secret#f", "http://h/a=b?token_auth=***#f"),
        ("http://h/?token%5Fauth=secret&a=1", "http://h/?token%5Fauth=***&a=1"),
        ("?token_auth[]=secret", "?token_auth[]=***"),
        ("http://h/?my_token_auth=1&a=token_auth", "http://h/?my_token_auth=1&a=token_auth"),
        ("http://secret:secret@h/?a=1", "http://***@h/?a=1"),
        ("http://secret@secret@h?mail=a@b", "http://***@h?mail=a@b"),
        ("http://h?a=\udc80&b%=1", "http://h?a=\udc80&b%=1"),
    ],
)
def test_the_repr_of_a_notice_shows_no_secret(uri: str, shown: str) -> None:
    assert repr(Notice(uri)) == repr(shown)


# --- Work that grows with the square of its input ---------------------------------------------------

# What is linear takes some milliseconds; with the square it is more than a second, or an hour.
MANY = 10_000
LONG = 300_000


@pytest.mark.parametrize("base", [BASE, BASE + "?" + "&".join(f"n{at}=1" for at in range(MANY))])
def test_many_parameters_cost_as_much_each_as_few(base: str) -> None:
    values = {f"n{at}": at for at in range(MANY)}
    check_quick(lambda: build_uri(base, **values), 0.2)
    check_quick(lambda: build_uri(base, n0=range(MANY)), 0.2)
    check_quick(lambda: repr(Notice(base)), 0.2)


@pytest.mark.parametrize(
    "place", ["{}h.example/", "h.example/{}", "h.example/?{}", "h.example/#{}", "{}@h/", "[{}]"]
)
@pytest.mark.parametrize(
    "piece", ["%", "%4", "&", "=", "a&", "?", "#", "@", ":", "a\u0308", "\u0323\u0308", "."]
)
def test_a_long_uri_costs_as_much_for_each_character_as_a_short_one(place: str, piece: str) -> None:
    base = "http://" + place.format(piece * (LONG // len(piece)))

    def build() -> None:
        try:
            build_uri(base, x=1)
        except ValueError:
            pass
        repr(Notice(base))

    check_quick(build, 2.0)


def check_quick(call: Callable[[], object], seconds: float) -> None:
    """The time of the processor, and the best of three, as the machine may be busy."""
    took = []
    for _ in range(3):
        began = time.process_time()
        call()
        took.append(time.process_time() - began)
        if took[-1] < seconds:
            return
    raise AssertionError(f"took {min(took):.2f} s")


def test_values_of_modules_that_nobody_imported_cost_no_import() -> None:
    from programs import run

    ended = run(
        """
        import sys, givenotice
        givenotice.build_uri("http://h.example/", a=1, b=[2.5, True], c=b"x", d="y")
        heavy = ["decimal", "datetime", "uuid", "urllib.parse", "ipaddress", "encodings.idna"]
        print([name for name in heavy if name in sys.modules])
        """,
        options=("-S",),
    )
    assert ended.out == "[]\n", ended.err


class OnlySometimes:
    """As an array of some libraries, which is a number where it has one element."""

    def __float__(self) -> float:
        raise TypeError("only arrays of length 1 can be converted")


class Array:
    """As an array: a number where it has one element, perhaps with a warning."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shape = shape

    def __iter__(self) -> Iterator[int]:
        yield 2**60 + 1

    def __float__(self) -> float:
        raise AssertionError("it would warn here")

    def item(self) -> int:
        return 2**60 + 1


def test_an_array_without_a_dimension_is_its_value_and_any_other_is_refused() -> None:
    assert build_uri("http://a.example/", x=Array(())) == "http://a.example/?x=1152921504606846977"
    with pytest.raises(TypeError, match="'x' must not be of type Array"):
        build_uri("http://a.example/", x=Array((1,)))


def test_what_is_a_number_only_sometimes_is_told_by_its_type() -> None:
    with pytest.raises(TypeError, match="'x' must not be of type OnlySometimes"):
        build_uri("http://a.example/", x=OnlySometimes())
