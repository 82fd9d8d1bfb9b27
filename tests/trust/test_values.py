"""Values as numpy and pandas hand them out."""

from __future__ import annotations

import math
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from givenotice import build_uri, matomo_uri

np = pytest.importorskip("numpy")
pd = pytest.importorskip("pandas")
BASE = "https://example.com/ping"
PAGE = "https://myapp.example.com/worker/"


def sent(value: Any) -> list[str]:
    return [text for _, text in parse_qsl(urlsplit(build_uri(BASE, x=value)).query, keep_blank_values=True)]


@pytest.mark.parametrize(
    "kind", [np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64]
)
def test_an_integer_of_numpy_is_sent_as_an_integer(kind: Any) -> None:
    for number in (np.iinfo(kind).min, 0, np.iinfo(kind).max):
        assert sent(kind(number)) == [str(number)]


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_float_of_numpy_comes_back(number: float) -> None:
    for kind in (np.float32, np.float64, np.longdouble):
        assert [float(text) for text in sent(kind(number))] == [number]


def test_what_pandas_calculates_is_sent_as_python_calculates_it() -> None:
    frame = pd.DataFrame({"x": [1, 2, 3]})
    assert sent(frame.x.count()) + sent(frame.x.sum()) + sent(frame.x.mean()) == ["3", "6", "2.0"]
    assert sent((frame.x > 2).any()) + sent(np.bool_(False)) == ["1", "0"]
    assert sent(frame.x.tolist()) == sent(list(frame.x)) == ["1", "2", "3"]
    assert sent(np.str_("a b")) + sent(np.array(2**60 + 1)) == ["a b", str(2**60 + 1)]
    assert "idsite=3&" in matomo_uri(BASE, frame.x.max(), PAGE)


# Nanoseconds of 64 bits reach from 1677 to 2262.
@given(st.integers(-(2**63) + 10**18, 2**63 - 10**18))
def test_a_timestamp_of_pandas_is_exact(nanoseconds: int) -> None:
    assert sent(pd.Timestamp(nanoseconds, tz="UTC")) == [str(nanoseconds // 10**9)]


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/St_Johns", "Asia/Kathmandu"])
def test_a_timestamp_of_any_zone_is_the_same_instant(zone: str) -> None:
    assert sent(pd.Timestamp("2024-07-01T12:00:00.999999999Z").tz_convert(zone)) == ["1719835200"]


@pytest.mark.parametrize(
    "value",
    [
        *[pd.NaT, pd.NA, pd.Timestamp("2024-01-01"), pd.Timedelta(5, "s"), pd.Series([1, 2]), pd.Series([1])],
        *[np.array([5]), np.ma.masked, np.ma.array(5)],
        *[
            np.datetime64("2024-01-01"),
            np.datetime64(1, "ns"),
            np.datetime64("NaT", "ns"),
            np.timedelta64(5, "ns"),
        ],
        *[np.float64(math.nan), np.float32(math.inf), np.complex64(1 + 2j), np.array([1, 2]), np.void(b"ab")],
    ],
    ids=repr,
)
def test_what_is_no_single_number_or_instant_is_told_in_a_sentence(value: Any) -> None:
    with pytest.raises((ValueError, TypeError), match=r"^Parameter 'x' must .*\."):
        build_uri(BASE, x=value)
