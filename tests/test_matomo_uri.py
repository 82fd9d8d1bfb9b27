"""matomo_uri, against the rules of Matomo's tracking API, written down anew."""

from __future__ import annotations

import math
import re
import time
from datetime import datetime, timedelta, timezone
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
    ],
)
def test_the_endpoint_gets_its_script(endpoint: str, sent_to: str) -> None:
    assert matomo_uri(endpoint, 1, PAGE).startswith(sent_to)


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


now = int(time.time())


@pytest.mark.parametrize(
    "values",
    [
        {"cdt": now},
        {"cdt": now - DAY + 600},
        {"cdt": datetime.fromtimestamp(now, timezone.utc)},
        {"cdt": datetime.fromtimestamp(now, timezone(timedelta(hours=9)))},
        {"cdt": datetime.fromtimestamp(now, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")},
        {"cdt": now + 600},  # a clock that is ahead
        {"cdo": 0},
        {"cdo": DAY - 600},
        {"cdt": now - DAY // 2, "cdo": DAY // 4},
    ],
)
def test_a_time_of_the_last_day_needs_no_token(values: dict[str, Any]) -> None:
    assert event(**values).keys() >= values.keys()


REFUSED = [
    ({"e_v": "1,5"}, "Parameter 'e_v' must be a finite number, with a dot."),
    ({"e_v": "1e400"}, "Parameter 'e_v' must be a finite number, with a dot."),
    ({"e_v": 10**400}, "Parameter 'e_v' must be a finite number, with a dot."),
    ({"e_v": math.inf}, "Parameter 'e_v' must be a finite number."),
    ({"revenue": "1_000"}, "Parameter 'revenue' must be a finite number, with a dot."),
    ({"search_count": ""}, "Parameter 'search_count' must be a finite number, with a dot."),
    ({"pf_net": "nan"}, "Parameter 'pf_net' must be a finite number, with a dot."),
    ({"search_count": "\u0663"}, "Parameter 'search_count' must be a finite number, with a dot."),
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
    (
        {"cdt": now * 1000},  # milliseconds
        "Parameter 'cdt' must be seconds, and not in the future; Matomo would take its own time.",
    ),
]


@pytest.mark.parametrize(("values", "sentence"), REFUSED)
def test_what_matomo_refuses_or_changes_is_told_in_a_sentence(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(sentence)}$"):
        event(**values)


@pytest.mark.parametrize("idsite", ["1", 1.0, True, None])
def test_a_site_that_is_no_int_is_refused(idsite: Any) -> None:
    with pytest.raises(TypeError, match=r"^Parameter 'idsite' must be an int\.$"):
        matomo_uri(ENDPOINT, idsite, PAGE)


@pytest.mark.parametrize("idsite", [0, -1])
def test_a_site_below_1_is_refused(idsite: int) -> None:
    with pytest.raises(ValueError, match=r"^Parameter 'idsite' must be 1 or more\.$"):
        matomo_uri(ENDPOINT, idsite, PAGE)


@pytest.mark.parametrize(
    "url", ["", "/worker/", "myapp.example.com", "https://", "https:///x", "://x", None, b"x"]
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
        **dict.fromkeys(["e_v", "revenue", "lat", "cdo"], numbers),
        **{"cid": ids, "_id": ids, "cdt": times, "ca": st.sampled_from([0, 1]), "dimension1": texts},
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
    elif "action_name" in sent:
        assert sent.get("ca") != "1"
    if "cdt" in sent and re.fullmatch(r"\d+", sent["cdt"]):
        age = time.time() - int(sent["cdt"]) + float(sent.get("cdo", 0))
        assert token or age <= DAY + 1
