"""Delivery to Matomo: bulk by itself, in order, at most once, and no token in an access log."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from matomo import Matomo, success
from pytest_httpserver import HTTPServer
from werkzeug import Response

import givenotice


@pytest.fixture
def server() -> Iterator[HTTPServer]:
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        yield server


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
    assert givenotice.flush(30)
    after = givenotice.stats()
    sent, failed = after.sent - before.sent - 1, after.failed - before.failed
    return sent, failed, after.dropped - before.dropped


def names(count: int) -> list[str]:
    return [str(number) for number in range(count)]


def test_a_lone_event_goes_as_a_plain_get(matomo: Matomo) -> None:
    assert deliver(matomo, []) == (0, 0, 0)
    assert matomo.log == ["GET /matomo.php?idsite=1&rec=1&send_image=0&e_n=first"]


def test_a_thousand_events_cost_three_requests_and_keep_their_order(matomo: Matomo) -> None:
    assert deliver(matomo, [matomo.uri(name) for name in names(1000)]) == (1000, 0, 0)
    assert matomo.stored == ["first", *names(1000)]
    assert len(matomo.log) == 3
    assert [count for count, _ in matomo.sizes] == [500, 500]
    assert matomo.most == 1


@pytest.mark.parametrize("text", ["a" * 3000, "\N{PILE OF POO}" * 600], ids=["ascii", "emoji"])
def test_a_bulk_request_stays_below_512_kb(matomo: Matomo, text: str) -> None:
    assert deliver(matomo, [matomo.uri(name, f"&e_c={text}") for name in names(300)]) == (300, 0, 0)
    assert matomo.stored == ["first", *names(300)]
    assert max(size for _, size in matomo.sizes) <= 520_000  # with the quotes and commas of JSON


def test_a_poisonous_notice_costs_exactly_itself(matomo: Matomo) -> None:
    uris = [matomo.uri(name, "&e_v=1e400" * (name == "50")) for name in names(100)]
    assert deliver(matomo, uris) == (99, 1, 0)
    assert matomo.stored == ["first", *(name for name in names(100) if name != "50")]


def test_an_unknown_site_is_skipped_and_counts_as_failed(matomo: Matomo) -> None:
    uris = [matomo.uri(name) for name in names(9)]
    uris[4] = uris[4].replace("idsite=1", "idsite=2")
    assert deliver(matomo, uris) == (8, 1, 0)
    assert len(matomo.log) == 2


REFUSALS = {
    "the plugin is off": Response(status=400),
    "a login page": Response("<html>", 200, mimetype="text/html"),
    "nothing tracked": success(0, 0),
    "too large": Response(status=413),
    "a redirect": Response(status=301, headers={"Location": "/elsewhere"}),
    "a redirect by POST": Response(status=307, headers={"Location": "/elsewhere"}),
    "bulk needs a token": Response(status=500),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_what_is_refused_in_bulk_goes_singly_and_bulk_is_not_asked_again(
    matomo: Matomo, refusal: Response
) -> None:
    matomo.fault = lambda items: refusal
    assert deliver(matomo, [matomo.uri(name) for name in names(100)]) == (100, 0, 0)
    assert deliver(matomo, [matomo.uri("again") for _ in range(3)]) == (3, 0, 0)
    assert matomo.stored == ["first", *names(100), "first", *["again"] * 3]
    assert len(matomo.sizes) == 1


UNKNOWN = {
    "502": Response(status=502),
    "503": Response(status=503),
    "504": Response(status=504),
    "nested too deeply": Response("[" * 60_000, 200, mimetype="application/json"),
    "an endless count": Response('{"status":"success","tracked":Infinity,"invalid":0}', 200),
}


@pytest.mark.parametrize("answer", UNKNOWN.values(), ids=UNKNOWN)
def test_after_an_unknown_outcome_nothing_is_stored_twice_or_lost_from_the_counts(
    matomo: Matomo, answer: Response
) -> None:
    def stored_all_the_same(items: list[str]) -> Response:
        matomo.bulk(items)
        return answer

    matomo.fault = stored_all_the_same
    assert deliver(matomo, [matomo.uri(name) for name in names(20)]) == (0, 20, 0)
    assert matomo.stored == ["first", *names(20)]


@pytest.mark.parametrize("answer", ["", "ok", "{}", "[1]", '{"tracked": null}'])
def test_a_server_that_is_not_matomo_gets_nothing_twice_and_then_no_bulk(matomo: Matomo, answer: str) -> None:
    def stored_all_the_same(items: list[str]) -> Response:
        matomo.bulk(items)
        return Response(answer, 200)

    matomo.fault = stored_all_the_same
    assert deliver(matomo, [matomo.uri(name) for name in names(20)]) == (0, 20, 0)
    assert deliver(matomo, [matomo.uri("again") for _ in range(3)]) == (3, 0, 0)
    assert matomo.stored == ["first", *names(20), "first", *["again"] * 3]
    assert len(matomo.sizes) == 1


@pytest.mark.parametrize(
    "answer", [Response("GIF89a", 200, mimetype="image/gif"), Response(status=204)], ids=["gif", "204"]
)
def test_a_gif_and_no_content_are_success(matomo: Matomo, answer: Response) -> None:
    matomo.fault = lambda items: answer
    assert deliver(matomo, [matomo.uri(name) for name in names(20)]) == (20, 0, 0)
    assert len(matomo.log) == 2


@pytest.mark.parametrize("name", ["token_auth", "token%5Fauth", "token%5fauth"])
def test_a_token_is_never_in_an_access_log_and_neighbours_keep_their_order(matomo: Matomo, name: str) -> None:
    uris = [matomo.uri(number, f"&{name}=sekret" * (number == "3")) for number in names(7)]
    assert deliver(matomo, uris) == (7, 0, 0)
    assert matomo.stored == ["first", *names(7)]
    assert len(matomo.forms) == 1 and "sekret" in matomo.forms[0]
    assert "sekret" not in "".join(matomo.log)


def test_a_long_query_goes_as_a_form(matomo: Matomo) -> None:
    assert deliver(matomo, [matomo.uri("long", "&e_c=" + "x" * 9000)]) == (1, 0, 0)
    assert matomo.stored == ["first", "long"]
    assert len(matomo.forms) == 1


@pytest.mark.parametrize("target", ["/p?idsite=1&rec=1", "/m.php?idsite=1&rec=10", "/m.php?xidsite=1&rec=1"])
def test_what_only_looks_like_matomo_goes_plain(server: HTTPServer, target: str) -> None:
    server.expect_request(target.partition("?")[0]).respond_with_data(status=204)
    for _ in range(5):
        givenotice.push(server.url_for(target))
    assert givenotice.flush(20)
    assert [request.method for request, _ in server.log] == ["GET"] * 5


@pytest.mark.parametrize("name", ["token_auth", "token%5Fauth"])
def test_a_lone_notice_with_a_token_shows_it_in_no_access_log(matomo: Matomo, name: str) -> None:
    matomo.gate.set()
    givenotice.push(matomo.uri("secret", f"&{name}=sekret"))
    assert givenotice.flush(20)
    assert matomo.stored == ["secret"]
    assert "sekret" not in "".join(matomo.log)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("host", "follows"), [("127.0.0.1", True), ("localhost", False)])
def test_a_token_follows_a_redirect_to_the_same_host_only_and_by_post(
    server: HTTPServer, matomo: Matomo, status: int, host: str, follows: bool
) -> None:
    matomo.gate.set()
    there = matomo.endpoint.replace("127.0.0.1", host)
    server.expect_request("/old.php").respond_with_data(status=status, headers={"Location": there})
    givenotice.push(server.url_for("/old.php") + "?idsite=1&rec=1&e_n=secret&token_auth=sekret")
    assert givenotice.flush(20)
    assert matomo.stored == ["secret"] * follows
    assert matomo.log == ["POST /matomo.php?"] * follows
    assert not any("sekret" in request.url for request, _ in server.log)
