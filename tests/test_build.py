"""The URI builder, against independent oracles: parse_qsl for the way back, RFC 3986 for the form."""

from __future__ import annotations

import enum
import math
import re
import traceback
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from givenotice import build_uri

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


@given(st.datetimes(timezones=st.just(timezone.utc)))
def test_a_datetime_becomes_unix_seconds(moment: datetime) -> None:
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


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
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
        ({"secret"}, TypeError, "Parameter 'x' must not be of type set."),
        (bytearray(b"secret"), TypeError, "Parameter 'x' must not be of type bytearray."),
        (datetime(2020, 1, 1).date(), TypeError, "Parameter 'x' must not be of type date."),
    ],
)  # fmt: skip
def test_a_refused_value_is_named_by_its_parameter(value: Any, error: type[Exception], sentence: str) -> None:
    check_refusal(lambda: build_uri(BASE, x=value), error, sentence)


# The digits that Python turns into text are limited since 3.11 (and 3.10.7, 3.9.14).
def test_an_integer_of_too_many_digits_is_refused() -> None:
    check_refusal(
        lambda: build_uri(BASE, x=10**5000), ValueError, "Parameter 'x' is an integer with too many digits."
    )


def test_a_name_with_a_lone_surrogate_is_refused() -> None:
    sentence = r"Parameter '\udc80' must not contain a lone surrogate."
    check_refusal(lambda: build_uri(BASE, **{"\udc80": "secret"}), ValueError, sentence)


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
