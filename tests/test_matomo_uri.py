"""matomo_uri, against the rules of Matomo's tracking API, written down anew."""

from __future__ import annotations

import math
import re
import time
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from givenotice import matomo_uri

ENDPOINT = "https://matomo.example.com/matomo.php"
PAGE = "https://myapp.example.com/worker/"
DAY = 86_400  # seconds


def params(uri: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(uri).query, keep_blank_values=True))


def event(**values: Any) -> dict[str, str]:
    return params(matomo_uri(ENDPOINT, 1, PAGE, **values))


def test_a_page_view_is_as_documented() -> None:
    assert matomo_uri("https://matomo.example.com", 1, PAGE, action_name="worker-job") == (
        "https://matomo.example.com/matomo.php?idsite=1&rec=1&send_image=0"
        "&url=https%3A%2F%2Fmyapp.example.com%2Fworker%2F&action_name=worker-job"
    )


@pytest.mark.parametrize(
    ("endpoint", "sent_to"),
    [
        ("https://m.example", "https://m.example/matomo.php?idsite"),
        ("https://m.example/", "https://m.example/matomo.php?idsite"),
        ("https://m.example/stats/", "https://m.example/stats/matomo.php?idsite"),
        ("https://m.example/piwik.php", "https://m.example/piwik.php?idsite"),
        ("https://m.example/?bots=1", "https://m.example/matomo.php?bots=1&idsite"),
        ("https://m.example/?idsite=7", "https://m.example/matomo.php?idsite=1&rec"),
        ("https://m.example/#top", "https://m.example/matomo.php?idsite"),
        ("https://m.example/js/", "https://m.example/js/?idsite"),
        ("https://m.example/stats/js", "https://m.example/stats/js?idsite"),
        ("https://m.example/adjs/", "https://m.example/adjs/matomo.php?idsite"),
        ("https://m.example/matomo.php/x", "https://m.example/matomo.php/x?idsite"),
        ("https://m.example/a.phpx", "https://m.example/a.phpx/matomo.php?idsite"),
        ("https://u:p@m.example:8443", "https://u:p@m.example:8443/matomo.php?idsite"),
        (" https://m.example/?a=b#?idSite=1&period=day\n", "https://m.example/matomo.php?a=b&idsite"),
    ],
)
def test_the_endpoint_gets_its_script(endpoint: str, sent_to: str) -> None:
    uri = matomo_uri(endpoint, 1, PAGE)
    assert uri.startswith(sent_to)
    assert "#" not in uri


def test_an_event_is_marked_as_a_custom_action() -> None:
    assert event(e_c="user", e_a="signup", e_v=0)["ca"] == "1"
    assert event(e_c="user", e_a="signup", e_v=0)["e_v"] == "0"
    assert event(e_c="user", e_a="signup", ca=0)["ca"] == "0"


def test_parameters_that_are_not_known_here_pass_through() -> None:
    given_ones = {"dimension1": "x", "dimension[2]": "y", "ma_id": "video", "bots": "1"}
    assert given_ones.items() <= event(**given_ones).items()


def test_none_leaves_a_parameter_out() -> None:
    assert event(action_name=None, cid=None, e_c=None).keys() == {"idsite", "rec", "send_image", "url"}


@pytest.mark.parametrize("name", ["token_auth", "endpoint"])
def test_a_token_permits_what_needs_one(name: str) -> None:
    endpoint = ENDPOINT + "?token_auth=t" * (name == "endpoint")
    token = {"token_auth": "t"} if name == "token_auth" else {}
    old = int(time.time()) - 2 * DAY
    uri = matomo_uri(endpoint, 1, PAGE, cip="10.0.0.1", country="de", lat=1.5, cdt=old, **token)
    assert params(uri)["cip"] == "10.0.0.1"


@pytest.mark.parametrize(
    "tail", ["#token_auth=t", "?my_token_auth=t", "?token_auth=", "?token_auth=t&token_auth=%20"]
)
def test_what_is_no_token_permits_nothing(tail: str) -> None:
    with pytest.raises(ValueError, match=r"^Parameter 'cip' needs token_auth"):
        matomo_uri(ENDPOINT + tail, 1, PAGE, cip="10.0.0.1")


def test_the_parameters_of_the_endpoint_are_checked_too() -> None:
    with pytest.raises(ValueError, match=r"^Parameter 'cid' must have 16 hexadecimal digits\.$"):
        matomo_uri(ENDPOINT + "?cid=x", 1, PAGE)
    with pytest.raises(ValueError, match=r"^Parameter 'cip' needs token_auth"):
        matomo_uri(ENDPOINT + "?token_auth=t", 1, PAGE, cip="10.0.0.1", token_auth=None)


@pytest.mark.parametrize("name", ["e_v", "revenue", "pf_net", "search_count", "cdo", "lat"])
def test_numbers_are_sent_without_white_space(name: str) -> None:
    assert event(**{name: " 5 \n", "token_auth": "t"})[name] == "5"
    assert event(**{name: b" 5", "token_auth": "t"})[name] == "5"


def test_texts_are_sent_as_they_are() -> None:
    assert event(e_c=" a ", e_a="b", e_n=" 5 ")["e_n"] == " 5 "


@pytest.mark.parametrize(
    "values",
    [
        {"e_c": "a" * 4_096, "e_a": "b", "e_n": "\xe4" * 2_048, "e_v": -1.5},
        {"action_name": "\xe4" * 512, "uid": "u" * 200, "cid": "0123456789abcdefABCDEF"[6:], "_id": 10**15},
        {"pf_net": 0, "pf_srv": 16_777_215, "action_name": "x"},
        {"search": "x", "search_cat": "y", "search_count": 4_294_967_295},
        {"idgoal": 7, "revenue": Decimal("12.50")},
        {"idgoal": 0, "ec_id": "A-1", "revenue": 1, "ec_st": 0.5},
        {"link": "https://a.example/", "ca": 1},
        {"link": "https://a.example/", "c_n": "ad", "c_i": "click"},
        {"c_n": "ad", "c_p": "banner", "c_t": "https://a.example/", "ca": 1},
        {"ma_id": "video", "ca": 1},
        {"action_name": "x", "ca": 0},
        {"action_name": "", "e_c": "a", "e_a": "b", "search": None},
        {"lat": 90, "long": -180.0, "token_auth": "t"},
    ],
)
def test_what_matomo_stores_passes(values: dict[str, Any]) -> None:
    assert event(**values).keys() >= {name for name, value in values.items() if value is not None}


now = int(time.time())
FORMS = ["%Y-%m-%d %H:%M:%S%z", "%Y-%m-%dT%H:%M:%S%z", "%Y-%m-%dT%H:%M:%S.123456%z"]
# Taken for UTC, it would be a day and more ago.
ago_16_hours = datetime.fromtimestamp(now - 16 * 3600, timezone(timedelta(hours=-10)))


@pytest.mark.parametrize(
    "values",
    [
        {"cdt": now},
        {"cdt": now - DAY + 600},
        {"cdt": datetime.fromtimestamp(now, timezone.utc)},
        {"cdt": datetime.fromtimestamp(now, timezone(timedelta(hours=9)))},
        {"cdt": datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")},
        {"cdt": datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")},
        {"cdt": datetime.fromtimestamp(now, timezone(timedelta(hours=9))).isoformat()},
        {"cdt": now + 600},  # a clock that is ahead
        {"cdt": now + 3600, "cdo": 7200},  # an hour ago
        *[{"cdt": ago_16_hours.strftime(form)} for form in FORMS],
        {"cdo": 0},
        {"cdo": DAY - 600},
        {"cdt": now - DAY // 2, "cdo": DAY // 4},
    ],
)
def test_a_time_of_the_last_day_needs_no_token(values: dict[str, Any]) -> None:
    assert event(**values).keys() >= values.keys()


REFUSED = [
    ({"e_v": "1,5"}, "Parameter 'e_v' must be a finite number, with a decimal point."),
    ({"e_v": "1e400"}, "Parameter 'e_v' must be a finite number, with a decimal point."),
    ({"e_v": 10**400}, "Parameter 'e_v' must be a finite number, with a decimal point."),
    ({"e_v": math.inf}, "Parameter 'e_v' must be a finite number."),
    ({"revenue": "1_000"}, "Parameter 'revenue' must be a finite number, with a decimal point."),
    (
        {"search_count": ""},
        "Parameter 'search_count' must be a finite number, with a decimal point.",
    ),
    ({"pf_net": "nan"}, "Parameter 'pf_net' must be a finite number, with a decimal point."),
    (
        {"search_count": "\u0663"},
        "Parameter 'search_count' must be a finite number, with a decimal point.",
    ),
    ({"cid": "0123456789abcde"}, "Parameter 'cid' must have 16 hexadecimal digits."),
    ({"_id": "0123456789abcdeg"}, "Parameter '_id' must have 16 hexadecimal digits."),
    ({"e_c": "user"}, "Parameter 'e_a' must not be empty: an event has both e_c and e_a."),
    ({"e_a": "signup"}, "Parameter 'e_c' must not be empty: an event has both e_c and e_a."),
    ({"e_c": " ", "e_a": "x"}, "Parameter 'e_c' must not be empty: an event has both e_c and e_a."),
    ({"e_c": "x", "e_a": []}, "Parameter 'e_a' must not be empty: an event has both e_c and e_a."),
    ({"ca": 1, "action_name": "x"}, "Parameter 'ca' must not be 1 for a page view."),
    ({"cip": "10.0.0.1"}, "Parameter 'cip' needs token_auth; without it Matomo answers 400."),
    ({"city": "Ulm", "token_auth": ""}, "Parameter 'city' needs token_auth; without it Matomo answers 400."),
    ({"cdt": now - 2 * DAY}, "Parameter 'cdt' is older than 24 hours, which needs token_auth."),
    ({"cdt": "2001-02-03 04:05:06"}, "Parameter 'cdt' is older than 24 hours, which needs token_auth."),
    ({"cdo": DAY + 600}, "Parameter 'cdo' is older than 24 hours, which needs token_auth."),
    ({"cdt": now - DAY + 600, "cdo": 900}, "Parameter 'cdt' is older than 24 hours, which needs token_auth."),
    ({"cdt": "yesterday"}, "Parameter 'cdt' must be Unix seconds, or YYYY-MM-DD HH:MM:SS in UTC."),
    *[
        (
            {"cdt": cdt},
            "Parameter 'cdt' must be seconds, and not in the future; Matomo would use the current time.",
        )
        for cdt in (
            *[now * 1000, now + 3600, datetime.fromtimestamp(now + 7200, timezone.utc)],
            *["9999-12-31T23:59:59-12:00", datetime.fromtimestamp(now + 3600, timezone.utc).isoformat()],
        )
    ],
    *[
        (
            {"cdt": cdt, "token_auth": "t"},
            "Parameter 'cdt' is older than 20 years; Matomo would use the current time.",
        )
        for cdt in (0, -1, now - 20 * 365 * DAY, "2001-02-03", "0001-01-01T00:00:00+12:00")
    ],
    ({"cdo": 10.5}, "Parameter 'cdo' must be an integer from 0 to 630,720,000."),
    ({"cdo": -5}, "Parameter 'cdo' must be an integer from 0 to 630,720,000."),
    (
        {"cdt": now - 20 * 365 * DAY + 60, "cdo": 61, "token_auth": "t"},
        "Parameter 'cdt' is older than 20 years; Matomo would use the current time.",
    ),
    *[
        ({name: value}, f"Parameter {name!r} must be an integer from 0 to 16,777,215.")
        for name in ("pf_net", "pf_srv", "pf_tfr", "pf_dm1", "pf_dm2", "pf_onl")
        for value in (1.5, -1, "1e3", 16_777_216, "+5")
    ],
    ({"search_count": "1e12"}, "Parameter 'search_count' must be an integer from 0 to 4,294,967,295."),
    ({"search_count": 2**32}, "Parameter 'search_count' must be an integer from 0 to 4,294,967,295."),
    ({"idgoal": "abc"}, "Parameter 'idgoal' must be a finite number, with a decimal point."),
    ({"idgoal": 1.5}, "Parameter 'idgoal' must be an integer from 0 to 2,147,483,647."),
    ({"lat": 90.5, "token_auth": "t"}, "Parameter 'lat' must be a number from -90 to 90."),
    ({"long": -181, "token_auth": "t"}, "Parameter 'long' must be a number from -180 to 180."),
    ({"e_c": "x", "e_a": "y", "e_n": "x" * 5_000}, "Parameter 'e_n' must have at most 4,096 bytes."),
    ({"e_c": "x", "e_a": "\xe4" * 2_049}, "Parameter 'e_a' must have at most 4,096 bytes."),
    ({"action_name": "\xe4" * 513}, "Parameter 'action_name' must have at most 1,024 bytes."),
    ({"uid": "\xe4" * 101}, "Parameter 'uid' must have at most 200 bytes."),
    ({"ca": 1}, "Parameter 'ca' must not be 1 for a page view."),
    ({"ca": True, "search": "x"}, "Parameter 'ca' must not be 1 for a page view."),
    ({"ca": 2, "e_c": "x", "e_a": "y"}, "Parameter 'ca' must be an integer from 0 to 1."),
    *[
        (
            {"e_c": "x", "e_a": "y", name: 1},
            f"Parameter {name!r} must not be beside 'e_c': a request records one action.",
        )
        for name in ("action_name", "search", "link", "download", "c_n", "idgoal")
    ],
    (
        {"action_name": "x", "search": "y"},
        "Parameter 'search' must not be beside 'action_name': a request records one action.",
    ),
    ({"link": "x", "c_n": "y"}, "Parameter 'c_n' must not be beside 'link': a request records one action."),
]


@pytest.mark.parametrize(("values", "sentence"), REFUSED)
def test_what_matomo_refuses_or_changes_is_told_in_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        event(**values)


class Index:
    def __index__(self) -> int:
        return 7


def test_a_site_may_be_an_integer_of_another_library() -> None:
    assert params(matomo_uri(ENDPOINT, Index(), PAGE))["idsite"] == "7"  # type: ignore[arg-type]


class Fraught(int):
    def __index__(self) -> int:
        raise OSError


def test_a_site_with_methods_of_its_own_is_taken_as_it_is() -> None:
    assert params(matomo_uri(ENDPOINT, Fraught(7), PAGE))["idsite"] == "7"


@pytest.mark.parametrize("url", ["android-app://com.x/", "x+y.z://a", " HTTPS://a.example ", "file:///a/b"])
def test_an_address_may_have_any_scheme(url: str) -> None:
    assert params(matomo_uri(ENDPOINT, 1, url))["url"] == url


@pytest.mark.parametrize("idsite", ["1", 1.0, True, None, b"1", [1], Decimal(1)])
def test_a_site_that_is_no_int_is_refused(idsite: Any) -> None:
    with pytest.raises(TypeError, match=r"^Parameter 'idsite' must be an int\.$"):
        matomo_uri(ENDPOINT, idsite, PAGE)


@pytest.mark.parametrize("idsite", [0, -1])
def test_a_site_below_1_is_refused(idsite: int) -> None:
    with pytest.raises(ValueError, match=r"^Parameter 'idsite' must be 1 or more\.$"):
        matomo_uri(ENDPOINT, idsite, PAGE)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/worker/",
        "myapp.example.com",
        "https://",
        "https:///x",
        "://x",
        None,
        b"x",
        "1a://x",
        "a_b://x",
        "a b://x",
        "\xe4://x",
        "+://x",
        "-a://x",
    ],
)
def test_an_address_that_is_not_absolute_is_refused(url: Any) -> None:
    with pytest.raises(ValueError, match=r"^Parameter 'url' must be an absolute URL, such as "):
        matomo_uri(ENDPOINT, 1, url)


@pytest.mark.parametrize("name", ["idsite", "rec", "send_image", "url"])
def test_what_it_sets_by_itself_cannot_be_set(name: str) -> None:
    with pytest.raises(TypeError, match=rf"^Parameter '{name}' is set by matomo_uri itself"):
        event(**{name: 1})


# --- Any call: what is accepted, Matomo accepts ---------------------------------------------------

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
numbers = st.one_of(
    st.integers(-(10**9), 10**9), st.floats(), st.sampled_from(["1.5", "1,5", "1e400", "x", ""])
)
ids = st.one_of(st.from_regex(r"[0-9a-f]{16}", fullmatch=True), texts)
times = st.one_of(st.integers(now - 2 * DAY, now + 2 * DAY), st.just(now * 1000), texts)
calls = st.fixed_dictionaries(
    {},
    optional={
        **dict.fromkeys(["e_c", "e_a", "e_n", "action_name", "uid", "cip", "city", "token_auth"], texts),
        **dict.fromkeys(["search", "link"], st.sampled_from(["", "x"])),
        **dict.fromkeys(["e_v", "revenue", "lat", "cdo", "pf_net", "search_count", "idgoal"], numbers),
        **{"cid": ids, "_id": ids, "cdt": times, "ca": st.sampled_from([0, 1, 2, True]), "dimension1": texts},
    },
)


@given(calls)
def test_what_is_accepted_is_accepted_by_matomo(values: dict[str, Any]) -> None:
    try:
        sent = event(**values)
    except ValueError as error:
        named = re.match(r"Parameter '(\w+)'", str(error))
        assert named
        # e_a is named where only e_c was given, and the other way round.
        assert named[1] in values or {"e_a", "e_c"} & values.keys()
        return
    assert (sent["idsite"], sent["rec"], sent["send_image"], sent["url"]) == ("1", "1", "0", PAGE)
    token = bool(sent.get("token_auth", "").strip())
    assert token or not sent.keys() & {"cip", "city", "lat"}
    for name in sent.keys() & {"e_v", "revenue", "lat", "cdo"}:
        assert math.isfinite(float(sent[name]))
    for name in sent.keys() & {"cid", "_id"}:
        assert re.fullmatch("[0-9a-fA-F]{16}", sent[name].strip())
    if sent.keys() & {"e_c", "e_a"}:
        assert sent["e_c"].strip()
        assert sent["e_a"].strip()
        assert "ca" in sent
    elif not sent.get("link"):
        assert sent.get("ca", "0") == "0"
    actions = [
        name for name in ("e_c", "action_name", "search", "link", "idgoal") if sent.get(name, "").strip()
    ]
    assert len(actions) <= 1
    for name in sent.keys() & {"pf_net", "search_count", "idgoal", "cdo"}:
        assert re.fullmatch("[0-9]+", sent[name])
    assert len(sent.get("action_name", "").strip().encode()) <= 1024
    if "cdt" in sent and re.fullmatch(r"\d+", sent["cdt"]):
        age = time.time() - int(sent["cdt"]) + float(sent.get("cdo", 0))
        assert -DAY / 24 < age <= (20 * 365 * DAY if token else DAY + 1)
