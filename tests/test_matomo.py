"""Delivery to Matomo: bulk by itself, in order, at its pace, at most once, and no token in an access log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from time import time

import pytest
from matomo import ORDINARY, POISON, SECURE, Matomo, error, success
from programs import run
from pytest_httpserver import HTTPServer
from servers import until
from werkzeug import Request, Response

import givenotice

LARGEST = 524_288  # bytes of a bulk request
VISITOR = "&cip=192.0.2.7&token_auth="  # needs its token


@pytest.fixture(scope="module")
def running() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        yield server


@pytest.fixture
def server(running: HTTPServer) -> Iterator[HTTPServer]:
    running.clear()
    yield running
    running.check_handler_errors()


@pytest.fixture
def matomo(server: HTTPServer) -> Iterator[Matomo]:
    matomo = Matomo(server)
    yield matomo
    matomo.gate.set()


def deliver(matomo: Matomo, uris: list[str]) -> tuple[int, int, int]:
    """Push *uris* while a first notice is under way; what became of them: sent, failed, dropped."""
    matomo.gate.clear()
    matomo.came.clear()
    before = givenotice.stats()
    assert givenotice.push(matomo.uri("first"))
    assert matomo.came.wait(20)
    assert all(givenotice.push(uri) for uri in uris)
    matomo.gate.set()
    assert givenotice.flush(60)
    after = givenotice.stats()
    sent, failed = after.sent - before.sent - 1, after.failed - before.failed
    return sent, failed, after.dropped - before.dropped


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def plain(matomo: Matomo, count: int, more: str = "") -> list[str]:
    return [matomo.uri(name, more) for name in names(count)]


def counts(matomo: Matomo) -> list[int]:
    """The numbers of notices in each bulk request."""
    return [count for count, _ in matomo.sizes]


def test_a_lone_event_goes_as_a_plain_get(matomo: Matomo) -> None:
    assert deliver(matomo, []) == (0, 0, 0)
    assert matomo.log == ["GET /matomo.php?idsite=1&rec=1&send_image=0&e_n=first"]


def test_a_thousand_events_cost_few_requests_and_keep_their_order(matomo: Matomo) -> None:
    assert deliver(matomo, plain(matomo, 1000)) == (1000, 0, 0)
    assert matomo.stored == ["first", *names(1000)]
    assert len(matomo.log) <= 7  # 4, where the machine is not busy
    assert matomo.most == 1


def test_a_fragment_is_no_part_of_an_event(matomo: Matomo) -> None:
    assert deliver(matomo, plain(matomo, 3, "#top&e_n=other")) == (3, 0, 0)
    assert matomo.stored == ["first", *names(3)]


@pytest.mark.parametrize(
    ("more", "requests"),
    [("&e_c=" + "a" * 3000, 300), ("&e_c=" + "\N{PILE OF POO}" * 600, 300), ("&a=1" * 700, 300)],
    ids=["ascii", "emoji", "ampersands"],
)
@pytest.mark.parametrize("token", ["", f"&token_auth={SECURE[0]}"], ids=["no token", "a token"])
def test_a_bulk_request_stays_below_512_kb(matomo: Matomo, more: str, token: str, requests: int) -> None:
    assert deliver(matomo, plain(matomo, requests, more + token)) == (requests, 0, 0)
    assert matomo.stored == ["first", *names(requests)]
    assert max(size for _, size in matomo.sizes) <= LARGEST
    assert matomo.warnings == 0


# --- Its pace -------------------------------------------------------------------------------------


def test_bulk_begins_with_a_hundred_and_grows_to_five_hundred(matomo: Matomo) -> None:
    assert deliver(matomo, plain(matomo, 3000)) == (3000, 0, 0)
    assert counts(matomo)[0] <= 100
    assert 300 <= max(counts(matomo)) <= 500


@pytest.mark.parametrize("pace", [0.003, 0.006])
def test_a_bulk_request_is_about_half_a_second_of_work(matomo: Matomo, pace: float) -> None:
    matomo.pace = pace
    assert deliver(matomo, plain(matomo, 400)) == (400, 0, 0)
    first, *others, _last = counts(matomo)
    assert first <= 100
    assert all(20 <= count <= 0.75 / pace for count in others)
    assert matomo.stored == ["first", *names(400)]


def test_a_very_slow_server_gets_twenty_at_once(matomo: Matomo) -> None:
    matomo.pace = 0.03
    for _ in range(3):
        deliver(matomo, plain(matomo, 10))
    matomo.sizes.clear()
    assert deliver(matomo, plain(matomo, 60)) == (60, 0, 0)
    *others, _last = counts(matomo)
    assert all(20 <= count <= 40 for count in others)


def test_few_events_to_a_distant_server_do_not_slow_down_many(matomo: Matomo) -> None:
    matomo.seconds = 0.1
    for _ in range(3):
        deliver(matomo, plain(matomo, 3))
    matomo.log.clear()
    assert deliver(matomo, plain(matomo, 1000)) == (1000, 0, 0)
    assert len(matomo.log) <= 10


def test_a_request_that_timed_out_is_followed_by_a_smaller_one(
    monkeypatch: pytest.MonkeyPatch, matomo: Matomo
) -> None:
    monkeypatch.setattr(givenotice, "TIMEOUT", 1.0)
    matomo.pace = 0.025
    sent, failed, dropped = deliver(matomo, plain(matomo, 200))
    assert (sent + failed, dropped) == (200, 0)
    first, second, *_ = counts(matomo)
    assert 20 <= second < first
    assert sent  # those that were few enough
    assert until(lambda: len(matomo.stored) == 201)  # Matomo goes on when its client has left
    assert max(Counter(matomo.stored).values()) == 1


@pytest.mark.parametrize("status", [408, 504, 524])
def test_a_request_that_timed_out_at_a_gateway_is_followed_by_a_smaller_one(
    matomo: Matomo, status: int
) -> None:
    matomo.seconds = 1.0
    matomo.fault = lambda items: Response(status=status) if len(items) > 60 else None
    assert deliver(matomo, plain(matomo, 150)) == (50, 100, 0)
    first, second, *_ = counts(matomo)
    assert 20 <= second < first == 100


# --- Tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("token", [ORDINARY[0], SECURE[0]], ids=["ordinary", "secure only"])
def test_events_with_a_token_go_in_bulk_as_all_others_before_the_process_ends(
    matomo: Matomo, token: str
) -> None:
    matomo.gate.set()
    matomo.seconds, matomo.pace = 0.02, 0.0015
    ended = run(
        """
        import givenotice, sys
        endpoint, token, yesterday = sys.argv[1:]
        for number in range(500):
            givenotice.push(endpoint, e_n=number, cip="192.0.2.7", cdt=yesterday, token_auth=token)
        """,
        matomo.endpoint + "?idsite=1&rec=1&send_image=0",
        token,
        str(int(time()) - 100_000),
    )
    assert (ended.status, ended.out, ended.err) == (0, "", "")
    assert matomo.stored == names(500)
    assert len(matomo.log) <= 12
    assert matomo.warnings == 0
    assert token not in "".join(matomo.log)


MIXTURES = {
    "one beside others": ["", "", "", SECURE[0], "", "", ""],
    "one as the first": [SECURE[0], "", "", ""],
    "two ordinary ones": [*ORDINARY] * 10,
    "two secure ones": [*SECURE] * 10,
    "ordinary and secure": [ORDINARY[0], SECURE[0], "", SECURE[1], ORDINARY[1], ""] * 4,
    "in blocks": [SECURE[0]] * 10 + [SECURE[1]] * 10 + [""] * 10,
}


@pytest.mark.parametrize("tokens", MIXTURES.values(), ids=MIXTURES)
def test_events_with_different_tokens_are_all_stored_in_order(matomo: Matomo, tokens: list[str]) -> None:
    uris = [matomo.uri(number, token and VISITOR + token) for number, token in enumerate(tokens)]
    assert deliver(matomo, uris) == (len(tokens), 0, 0)
    assert matomo.stored == ["first", *names(len(tokens))]
    assert not any(token in "".join(matomo.log) for token in SECURE + ORDINARY)
    assert (matomo.most, matomo.warnings) == (1, 0)


SPELLINGS = ["token_auth", "token%5Fauth", "token%5fauth", "%74oken_auth", "token_%61uth"]


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("count", [1, 7])
def test_a_token_is_accepted_and_in_no_access_log_however_its_name_is_spelled(
    matomo: Matomo, name: str, count: int
) -> None:
    uris = plain(matomo, count, f"&cip=192.0.2.7&{name}={SECURE[0]}")
    assert deliver(matomo, uris) == (count, 0, 0)
    assert matomo.stored == ["first", *names(count)]
    assert SECURE[0] not in "".join(matomo.log)
    assert len(matomo.log) == 2


@pytest.mark.parametrize(
    "more", ["&token.auth={}", "&+token_auth={}", "&token+auth={}", "&token_auth={}&token_auth="]
)
@pytest.mark.parametrize("count", [1, 7])
def test_what_php_reads_as_a_token_is_in_no_access_log(matomo: Matomo, more: str, count: int) -> None:
    deliver(matomo, plain(matomo, count, more.format(SECURE[0])))
    assert SECURE[0] not in "".join(matomo.log)


@pytest.mark.parametrize(
    "place", ["&token_auth={}&x=1", "&x=1&token_auth={}", "&token_auth={0}&token_auth={0}"]
)
def test_a_token_is_found_wherever_it_stands(matomo: Matomo, place: str) -> None:
    more = "&cip=192.0.2.7" + place.format(SECURE[0])
    assert deliver(matomo, plain(matomo, 5, more)) == (5, 0, 0)
    assert SECURE[0] not in "".join(matomo.log)


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_lone_notice_with_a_token_shows_it_in_no_access_log(matomo: Matomo, name: str) -> None:
    matomo.gate.set()
    givenotice.push(matomo.uri("secret", f"&cip=192.0.2.7&{name}={SECURE[0]}"))
    assert givenotice.flush(20)
    assert matomo.stored == ["secret"]
    assert len(matomo.forms) == 1
    assert SECURE[0] not in "".join(matomo.log)


@pytest.mark.parametrize("names", [("%69dsite", "rec"), ("idsite", "re%63"), ("%69%64site", "%72ec")])
@pytest.mark.parametrize("count", [1, 7])
def test_a_notice_is_for_matomo_however_its_parameters_are_spelled(
    matomo: Matomo, names: tuple[str, str], count: int
) -> None:
    uris = [uri.replace("idsite=", names[0] + "=") for uri in plain(matomo, count, VISITOR + SECURE[0])]
    uris = [uri.replace("rec=", names[1] + "=") for uri in uris]
    assert deliver(matomo, uris) == (count, 0, 0)
    assert SECURE[0] not in "".join(matomo.log)
    assert len(matomo.log) == 2


@pytest.mark.parametrize("refused", [Response(status=400), Response(status=500), success(0, 0)])
def test_a_token_is_in_no_log_whatever_is_answered(
    caplog: pytest.LogCaptureFixture, matomo: Matomo, refused: Response
) -> None:
    caplog.set_level("DEBUG")
    matomo.fault = lambda items: refused
    deliver(matomo, plain(matomo, 5, VISITOR + SECURE[0]))
    assert SECURE[0] not in "".join(matomo.log)
    told = [record.getMessage() for record in caplog.records if record.name == "givenotice"]
    assert told
    assert not any(SECURE[0] in text or "matomo.php" in text for text in told)


@pytest.mark.parametrize("token", ["", f"&token_auth={SECURE[0]}"], ids=["no token", "a token"])
def test_a_long_query_goes_as_a_form(matomo: Matomo, token: str) -> None:
    assert deliver(matomo, [matomo.uri("long", "&e_c=" + "x" * 9000 + token)]) == (1, 0, 0)
    assert matomo.stored == ["first", "long"]
    assert len(matomo.forms) == 1


# --- What an answer proves ------------------------------------------------------------------------


def behind(place: int) -> list[str]:
    return names(100)[place + 1 :]


@pytest.mark.parametrize("transaction", [True, False], ids=["roll-back", "none"])
@pytest.mark.parametrize("place", [0, 1, 50, 98, 99])
@pytest.mark.parametrize("kind", POISON.values(), ids=POISON)
def test_a_poisonous_event_loses_none_behind_it_and_none_is_stored_twice(
    matomo: Matomo, kind: str, place: int, transaction: bool
) -> None:
    matomo.transaction = transaction
    uris = plain(matomo, 100)
    uris[place] += kind
    sent, failed, dropped = deliver(matomo, uris)
    assert (sent + failed, dropped) == (100, 0)
    assert sent >= len(behind(place))
    assert failed >= 1
    _first, *stored = matomo.stored
    assert stored == sorted(set(stored), key=int)
    assert set(behind(place)) <= set(stored) <= {*names(100)} - {str(place)}
    assert len(matomo.log) <= 4  # the first, the bulk, perhaps the poison by itself, and those behind it


@pytest.mark.parametrize("transaction", [True, False], ids=["roll-back", "none"])
@pytest.mark.parametrize("places", [[0, 1], [10, 11, 12], [5, 50, 95], [98, 99], [0, 99], [*range(100)]])
def test_several_poisonous_events_lose_none_behind_the_last(
    matomo: Matomo, places: list[int], transaction: bool
) -> None:
    matomo.transaction = transaction
    uris = plain(matomo, 100)
    for place in places:
        uris[place] += POISON["a number without end"]
    sent, failed, dropped = deliver(matomo, uris)
    assert (sent + failed, dropped) == (100, 0)
    _first, *stored = matomo.stored
    assert stored == sorted(set(stored), key=int)
    assert set(behind(places[-1])) <= set(stored)
    assert len(matomo.log) <= 2 + 2 * len(places)


INVALID = {
    "an unknown site": "&idsite=2",
    "no token where one is needed": "&cip=192.0.2.7",
    "a wrong token where one is needed": "&cip=192.0.2.7&token_auth=wr0ng",
    "a visitor with too few digits": "&cid=abc",
    "an event without a category": "&e_c=&e_a=x",
    "an old time without a token": "&cdt=1000000000",
}
MALFORMED = {"a time that is none, and no digits": "&cid=abc&cdt=soon"}


@pytest.mark.parametrize("transaction", [True, False], ids=["roll-back", "none"])
@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("kind", [*INVALID.values(), *MALFORMED.values()], ids=[*INVALID, *MALFORMED])
def test_invalid_events_before_a_poisonous_one_make_nothing_twice(
    matomo: Matomo, kind: str, count: int, transaction: bool
) -> None:
    matomo.transaction = transaction
    uris = plain(matomo, 100)
    uris[10 : 10 + count] = [uri + kind for uri in uris[10 : 10 + count]]
    uris[20] += POISON["a number without end"]
    sent, failed, dropped = deliver(matomo, uris)
    assert (sent + failed, dropped) == (100, 0)
    _first, *stored = matomo.stored
    assert stored == sorted(set(stored), key=int)
    assert set(behind(20)) <= set(stored)


def test_events_of_a_time_that_cannot_be_read_are_not_sent_twice_beside_poison(
    matomo: Matomo,
) -> None:
    matomo.transaction = False
    for word, end in ("a", ""), ("b", POISON["a number without end"]):
        uris = [matomo.uri(f"{word}{number}", "&cdt=soon") for number in range(20)]
        uris[10] += end
        sent, failed, dropped = deliver(matomo, uris)
        assert (sent + failed, dropped) == (20, 0)
        assert bool(failed) == bool(end)
    assert Counter(matomo.stored).pop("first") == 2
    assert set(Counter(name for name in matomo.stored if name != "first").values()) == {1}


@pytest.mark.parametrize("transaction", [True, False], ids=["roll-back", "none"])
@pytest.mark.parametrize("place", [1, 5, 50])
def test_a_poisonous_event_among_several_tokens_loses_none_behind_it(
    matomo: Matomo, place: int, transaction: bool
) -> None:
    matomo.transaction = transaction
    tokens = [VISITOR + token for token in (SECURE[0], SECURE[1], ORDINARY[0])]
    uris = [matomo.uri(number, tokens[number % 3]) for number in range(100)]
    uris[place] += POISON["a number without end"]
    sent, failed, dropped = deliver(matomo, uris)
    assert (sent + failed, dropped) == (100, 0)
    _first, *stored = matomo.stored
    assert stored == sorted(set(stored), key=int)
    assert set(behind(place)) <= set(stored)
    assert len(matomo.log) <= 8


@pytest.mark.parametrize("kind", INVALID.values(), ids=INVALID)
@pytest.mark.parametrize("token", ["", VISITOR + SECURE[0]], ids=["no token", "a token"])
def test_an_invalid_event_is_skipped_and_counts_as_failed(matomo: Matomo, kind: str, token: str) -> None:
    uris = plain(matomo, 9, token)
    uris[4] = matomo.uri(4, kind)
    assert deliver(matomo, uris) == (8, 1, 0)
    assert matomo.stored == ["first", *(name for name in names(9) if name != "4")]
    assert "wr0ng" not in "".join(matomo.log)


def test_only_invalid_events_count_as_failed_and_are_not_sent_again(matomo: Matomo) -> None:
    assert deliver(matomo, plain(matomo, 9, "&idsite=2")) == (0, 9, 0)
    assert len(matomo.log) == 2


NOT_LOOKED_AT = {
    **{str(status): Response(status=status) for status in (400, 401, 403, 404, 405, 410, 411, 413, 415, 417)},
    "nothing tracked": success(0, 0),
    "nothing tracked, behind a warning": Response(b"<b>Warning</b>: x {y}<br />" + success(0, 0).data),
    "a redirect to nowhere": Response(status=301),
    "a redirect to another host": Response(status=308, headers={"Location": "http://localhost/"}),
}


@pytest.mark.parametrize("refusal", NOT_LOOKED_AT.values(), ids=NOT_LOOKED_AT)
@pytest.mark.parametrize("token", ["", VISITOR + SECURE[0]], ids=["no token", "a token"])
def test_what_was_not_looked_at_goes_singly_and_bulk_is_not_asked_again_for_now(
    matomo: Matomo, refusal: Response, token: str
) -> None:
    matomo.fault = lambda items: refusal
    assert deliver(matomo, plain(matomo, 30, token)) == (30, 0, 0)
    assert deliver(matomo, [matomo.uri("again", token) for _ in range(3)]) == (3, 0, 0)
    assert matomo.stored == ["first", *names(30), "first", *["again"] * 3]
    assert len(matomo.sizes) == 1
    assert matomo.most == 1
    assert SECURE[0] not in "".join(matomo.log)


def test_bulk_waits_a_minute_after_it_was_refused() -> None:
    assert givenotice.BULK_PAUSE == 60


@pytest.mark.parametrize("refusal", NOT_LOOKED_AT.values(), ids=NOT_LOOKED_AT)
def test_bulk_is_tried_again_after_a_pause(
    monkeypatch: pytest.MonkeyPatch, matomo: Matomo, refusal: Response
) -> None:
    monkeypatch.setattr(givenotice, "BULK_PAUSE", 0.1)
    left = [refusal]
    matomo.fault = lambda items: left.pop() if left else None
    assert deliver(matomo, plain(matomo, 20)) == (20, 0, 0)
    assert until(lambda: deliver(matomo, plain(matomo, 3)) == (3, 0, 0) and len(matomo.sizes) > 1)


def test_where_bulk_needs_a_token_each_goes_singly(matomo: Matomo) -> None:
    matomo.authentication = True
    assert deliver(matomo, plain(matomo, 100)) == (100, 0, 0)
    asked = len(matomo.sizes)
    assert deliver(matomo, plain(matomo, 20)) == (20, 0, 0)
    assert matomo.stored == ["first", *names(100), "first", *names(20)]
    assert asked == len(matomo.sizes) <= 2


def test_where_bulk_needs_a_token_those_that_have_one_go_in_bulk(matomo: Matomo) -> None:
    matomo.authentication = True
    assert deliver(matomo, plain(matomo, 50, VISITOR + SECURE[0])) == (50, 0, 0)
    assert counts(matomo) == [50]


def test_a_maintenance_passes(monkeypatch: pytest.MonkeyPatch, matomo: Matomo) -> None:
    monkeypatch.setattr(givenotice, "BULK_PAUSE", 0.1)
    matomo.statistics = False
    assert sum(deliver(matomo, plain(matomo, 20))) == 20
    matomo.statistics = True
    asked = len(matomo.sizes)
    assert until(lambda: deliver(matomo, plain(matomo, 3)) == (3, 0, 0) and len(matomo.sizes) > asked)


@pytest.mark.parametrize("place", [1, 10, 19])
@pytest.mark.parametrize("transaction", [True, False], ids=["roll-back", "none"])
def test_a_deadlock_costs_the_events_before_it_and_no_more(
    matomo: Matomo, place: int, transaction: bool
) -> None:
    def fault(items: list[str]) -> Response | None:
        if len(matomo.sizes) > 1:
            return None
        if not transaction:
            matomo.track(items[:place])
        return error(place)

    matomo.fault = fault
    assert deliver(matomo, plain(matomo, 20)) == (19 - place, place + 1, 0)
    assert matomo.stored == ["first", *names(20)[: 0 if transaction else place], *names(20)[place + 1 :]]
    asked = len(matomo.sizes)
    assert deliver(matomo, plain(matomo, 20)) == (20, 0, 0)
    assert len(matomo.sizes) == asked + 1


def test_a_deadlock_at_the_first_event_changes_nothing_in_the_long_run(
    monkeypatch: pytest.MonkeyPatch, matomo: Matomo
) -> None:
    monkeypatch.setattr(givenotice, "BULK_PAUSE", 0.1)
    left = [error(0)]
    matomo.fault = lambda items: left.pop() if left else None
    sent, failed, dropped = deliver(matomo, plain(matomo, 20))
    assert (sent + failed, dropped) == (20, 0)
    assert sent >= 19
    assert max(Counter(matomo.stored).values()) == 1
    asked = len(matomo.sizes)
    assert until(lambda: deliver(matomo, plain(matomo, 3)) == (3, 0, 0) and len(matomo.sizes) > asked)


@pytest.mark.parametrize("token", ["", VISITOR + SECURE[0]], ids=["no token", "a token"])
def test_the_answer_is_found_behind_a_warning(matomo: Matomo, token: str) -> None:
    matomo.warning = (
        "<br />\n<b>Deprecated</b>:  Undefined key {x} [1] in <b>/a.php</b> on line <b>0</b><br />\n"
    )
    uris = plain(matomo, 20, token)
    uris[5] = uris[5].replace("idsite=1", "idsite=1&cid=short")
    assert deliver(matomo, uris) == (19, 1, 0)
    uris[10] += POISON["a number without end"]
    sent, failed, _ = deliver(matomo, uris)
    assert (sent, failed) == (9, 11)
    assert matomo.stored[-9:] == names(20)[-9:]


SHAPES = [
    '{\n  "status": "success",\n  "tracked": 20,\n  "invalid": 0\n}\n',
    '{ "invalid": 0, "tracked": 20, "status": "success" }',
    '{"meta": {"tracked": null}, "status": "success", "tracked": 20, "invalid": 0}',
    '<b>{"a": 1} {{}}</b> {"status": "success", "tracked": 20, "invalid": 0} {"b": 2} {"',
]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_answer_is_read_however_its_json_is_written(matomo: Matomo, shape: str) -> None:
    matomo.fault = lambda items: Response(shape)
    assert deliver(matomo, plain(matomo, 20)) == (20, 0, 0)


HTML = "text/html"
NO_INDEX: list[object] = [-1, 20, 900, None, "many", [3], {}, float("inf")]  # of 20 notices
UNKNOWN = {
    **{str(status): Response(status=status) for status in (422, 451, 500, 501, 502, 504, 520)},
    "429, come later": Response(status=429, headers={"Retry-After": "60"}),
    "408": Response(status=408),
    "503, come later": Response(status=503, headers={"Retry-After": "60"}),
    "503 of Matomo's": Response(error(3).data, 503, mimetype=HTML),
    "500 as a page": Response("<html><body>{1}</body></html>", 500, mimetype=HTML),
    "500 that is no object": Response("[3]", 500, mimetype="application/json"),
    "500 without a count": Response('{"status":"error"}', 500, mimetype="application/json"),
    "500 cut": Response('{"status":"error","tracked":3', 500, mimetype="application/json"),
    "502 as JSON": Response(error(3).data, 502, mimetype="application/json"),
    "a page": Response("<html>", 200, mimetype=HTML),
    "the database gone": Response("Error: SQLSTATE[HY000]: General error: 2006", 200, mimetype=HTML),
    "nothing": Response("", 200),
    "a word": Response("ok", 200),
    "an empty object": Response("{}", 200),
    "200 with an error": Response(error(3).data, 200),
    "a list": Response("[1]", 200),
    "no count": success(None, None),
    "a count that is a list": success([1], 0),
    "a count that is a word": success("many", 0),
    "nested too deeply": Response("[" * 60_000, 200, mimetype="application/json"),
    "objects nested too deeply": Response('{"status":' * 60_000, 200, mimetype="application/json"),
    "an endless count": Response('{"status":"success","tracked":Infinity,"invalid":0}', 200),
    "no number": Response('{"status":"success","tracked":NaN,"invalid":0}', 200),
    "a count of 5,000 digits": Response('{"status":"success","tracked":%s,"invalid":0}' % ("9" * 5000), 200),
    **{f"500 with {told}": error(told) for told in NO_INDEX},
    "500 nested too deeply": Response('{"status":"error","tracked":' + "[" * 60_000, 500),
    "500 of 5,000 digits": Response('{"status":"error","tracked":%s,"invalid":0}' % ("9" * 5000), 500),
}


@pytest.mark.parametrize("answer", UNKNOWN.values(), ids=UNKNOWN)
@pytest.mark.parametrize("token", ["", VISITOR + SECURE[0]], ids=["no token", "a token"])
def test_after_an_unknown_outcome_there_is_no_further_request(
    matomo: Matomo, answer: Response, token: str
) -> None:
    def stored_all_the_same(items: list[str]) -> Response:
        matomo.track(items, posted=True)
        return answer

    matomo.fault = stored_all_the_same
    sent, failed, dropped = deliver(matomo, plain(matomo, 20, token))
    assert (sent + failed, dropped) == (20, 0)
    assert len(matomo.log) == 2
    assert matomo.stored == ["first", *names(20)]
    if "5,000 digits" not in next(name for name in UNKNOWN if UNKNOWN[name] is answer):
        assert sent == 0  # those digits are a number to Python 3.9


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_an_overloaded_server_gets_one_request_for_a_hundred_notices_and_bulk_later(
    matomo: Matomo, status: int
) -> None:
    left = [Response(status=status)]
    matomo.fault = lambda items: left.pop() if left else None
    assert deliver(matomo, plain(matomo, 100)) == (0, 100, 0)
    assert len(matomo.log) == 2
    assert deliver(matomo, plain(matomo, 100)) == (100, 0, 0)
    assert len(matomo.log) <= 8  # fewer at once after a failure, perhaps
    assert matomo.stored == ["first", "first", *names(100)]


LIES = [(-1, 3), (-5, 0), (0, -1), (900, 0), (0, 900), (20, 20), (-3, 3), (5, 5), (3, 0)]


@pytest.mark.parametrize(("tracked", "invalid"), LIES)
def test_counts_that_lie_make_nothing_twice_and_our_own_add_up(
    matomo: Matomo, tracked: int, invalid: int
) -> None:
    def fault(items: list[str]) -> Response:
        matomo.track(items)
        return success(tracked, invalid)

    matomo.fault = fault
    sent, failed, dropped = deliver(matomo, plain(matomo, 20))
    assert (sent + failed, dropped) == (20, 0)
    assert 0 <= sent <= 20
    assert len(matomo.log) == 2


@pytest.mark.parametrize("answer", [Response("GIF89a", mimetype="image/gif"), Response(status=204)])
def test_an_answer_without_counts_makes_nothing_twice(matomo: Matomo, answer: Response) -> None:
    matomo.fault = lambda items: answer
    assert sum(deliver(matomo, plain(matomo, 20))) == 20
    assert len(matomo.log) == 2


# --- Which notices are Matomo's -------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["/js/", "/", "/matomo.php/x", "/piwik.php", "/matomo.php", "/track", "/a/b.html"]
)
@pytest.mark.parametrize("token", ["", VISITOR + SECURE[0]], ids=["no token", "a token"])
def test_the_parameters_tell_what_is_for_matomo_whatever_the_path(
    server: HTTPServer, path: str, token: str
) -> None:
    matomo = Matomo(server, path=path)
    assert deliver(matomo, plain(matomo, 20, token)) == (20, 0, 0)
    assert matomo.stored == ["first", *names(20)]
    assert counts(matomo) == [20]
    assert matomo.most == 1
    assert SECURE[0] not in "".join(matomo.log)


@pytest.mark.parametrize(
    "query", ["rec=1&idsite=1", "url=x&idsite=1&x=y&rec=1&z=1", "rec=1&url=x&idsite=1", "idsite=1&rec=0"]
)
def test_the_parameters_may_stand_in_any_order(matomo: Matomo, query: str) -> None:
    uris = [f"{matomo.endpoint}?{query}&e_n={name}" for name in names(20)]
    assert deliver(matomo, uris) == (20, 0, 0)
    assert counts(matomo) == [20]
    assert matomo.stored == ["first", *names(20)]


@pytest.mark.parametrize(
    "target",
    [
        "/matomo.php",
        "/matomo.php?idsite=1",
        "/matomo.php?rec=1",
        "/matomo.php?xidsite=1&rec=1",
        "/matomo.php?idsite=1&xrec=1",
        "/matomo.php?idsites=1&rec=1",
        "/matomo.php?idsite=1&record=1",
        "/matomo.php?x=idsite&y=rec",
        "/matomo.php?q=idsite%3D1%26rec%3D1",
        "/idsite=1&rec=1",
        "/matomo.php#?idsite=1&rec=1",
    ],
)
def test_what_only_looks_like_matomo_goes_plain(server: HTTPServer, target: str) -> None:
    gate, came = until_told(server, target.partition("?")[0].partition("#")[0])
    givenotice.push(server.url_for(target))
    assert until(lambda: came)
    for _ in range(4):
        givenotice.push(server.url_for(target))
    gate.append(True)
    assert givenotice.flush(20)
    assert [request.method for request, _ in server.log] == ["GET"] * 5


def until_told(server: HTTPServer, path: str) -> tuple[list[bool], list[bool]]:
    """Let *path* answer once the first list has something in it; the second has, when a request came."""
    gate: list[bool] = []
    came: list[bool] = []

    def handle(_: Request) -> Response:
        came.append(True)
        until(lambda: gate)
        return Response(status=204)

    server.expect_request(path).respond_with_handler(handle)
    return gate, came


# --- Redirects ------------------------------------------------------------------------------------

TOKENS = pytest.mark.parametrize("token", ["", VISITOR + SECURE[0]], ids=["no token", "a token"])


def move(server: HTTPServer, matomo: Matomo, status: int, host: str = "127.0.0.1") -> None:
    """From now on the endpoint of *matomo* is an older address, which redirects to it on *host*."""
    there = matomo.endpoint.replace("127.0.0.1", host)

    def handle(request: Request) -> Response:
        query = request.query_string.decode()
        return Response(status=status, headers={"Location": there + (query and "?" + query)})

    path = matomo.folder + "/old.php"
    server.expect_request(path).respond_with_handler(handle)
    matomo.endpoint = server.url_for(path)


def posts(server: HTTPServer, path: str) -> int:
    return sum(request.method == "POST" and request.path.endswith(path) for request, _ in server.log)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
@TOKENS
def test_a_bulk_follows_a_redirect_to_the_same_host_as_a_bulk(
    server: HTTPServer, matomo: Matomo, status: int, token: str
) -> None:
    move(server, matomo, status)
    assert deliver(matomo, plain(matomo, 100, token)) == (100, 0, 0)
    assert matomo.stored == ["first", *names(100)]
    assert len(matomo.log) <= 4
    assert not any(SECURE[0] in request.url for request, _ in server.log)


@TOKENS
def test_what_was_posted_is_not_posted_again_after_a_303(
    server: HTTPServer, matomo: Matomo, token: str
) -> None:
    move(server, matomo, 303)
    assert deliver(matomo, plain(matomo, 20, token)) == (0, 20, 0)
    assert matomo.stored == ["first"]
    assert (posts(server, "/old.php"), posts(server, "/matomo.php")) == (1, 0)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_bulk_does_not_follow_to_another_host_but_each_may_by_itself(
    server: HTTPServer, matomo: Matomo, status: int
) -> None:
    move(server, matomo, status, "localhost")
    assert deliver(matomo, plain(matomo, 20)) == (20, 0, 0)
    assert matomo.stored == ["first", *names(20)]
    assert matomo.sizes == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("count", [1, 20])
def test_a_token_never_goes_to_another_host(
    server: HTTPServer, matomo: Matomo, status: int, count: int
) -> None:
    move(server, matomo, status, "localhost")
    assert deliver(matomo, plain(matomo, count, VISITOR + SECURE[0])) == (0, count, 0)
    assert matomo.stored == ["first"]
    assert len(matomo.log) == 1
    assert not any(SECURE[0] in request.url for request, _ in server.log)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("host", "follows"), [("127.0.0.1", True), ("localhost", False)])
def test_a_lone_token_follows_a_redirect_to_the_same_host_only_and_by_post(
    server: HTTPServer, matomo: Matomo, status: int, host: str, follows: bool
) -> None:
    matomo.gate.set()
    move(server, matomo, status, host)
    givenotice.push(matomo.uri("secret", VISITOR + SECURE[0]))
    assert givenotice.flush(20)
    follows = follows and status != 303
    assert matomo.stored == ["secret"] * follows
    assert matomo.log == ["POST /matomo.php?"] * follows
    assert not any(SECURE[0] in request.url for request, _ in server.log)


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_lone_event_follows_a_redirect_anywhere_by_get(
    server: HTTPServer, matomo: Matomo, status: int
) -> None:
    matomo.gate.set()
    move(server, matomo, status, "localhost")
    givenotice.push(matomo.uri("plain"))
    assert givenotice.flush(20)
    assert matomo.stored == ["plain"]
    assert [line.partition(" ")[0] for line in matomo.log] == ["GET"]


@pytest.mark.parametrize("status", [301, 308])
@TOKENS
def test_redirects_without_end_are_followed_five_times(server: HTTPServer, status: int, token: str) -> None:
    there = server.url_for("/loop.php?idsite=1&rec=1&e_n=x")
    server.expect_request("/loop.php").respond_with_data(status=status, headers={"Location": there})
    before = givenotice.stats()
    givenotice.push(there + token)
    assert givenotice.flush(20)
    assert givenotice.stats().failed == before.failed + 1
    assert len(server.log) <= 6
