"""The stand-in answers as a real Matomo was seen to."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from matomo import FORM, ORDINARY, POISON, SECURE, Matomo
from pytest_httpserver import HTTPServer

GOOD = "?idsite=1&rec=1&e_n=good"
NOBODY = "?idsite=2&rec=1&e_n=nobody"
BAD = GOOD + POISON["a number without end"]


@pytest.fixture
def matomo() -> Iterator[Matomo]:
    with HTTPServer(host="127.0.0.1", threaded=True) as server:
        matomo = Matomo(server)
        matomo.gate.set()
        yield matomo
        server.check_handler_errors()


def ask(matomo: Matomo, query: str = "", body: str | None = None, mime: str = FORM) -> tuple[int, bytes]:
    data = body.encode() if body is not None else None
    try:
        with urlopen(Request(matomo.endpoint + query, data, {"Content-Type": mime}), timeout=20) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def bulk(matomo: Matomo, *items: str, mime: str = "application/json", extra: str = "") -> tuple[int, Any]:
    requests = json.dumps(items).replace("&", "\\u0026")
    body = f'{{"_": {json.dumps(extra)}, "requests": {requests}}}'
    status, answer = ask(matomo, "", body, mime)
    return status, json.loads(answer)


def told(status: str, tracked: int, invalid: int, **more: object) -> dict[str, object]:
    return {"status": status, "tracked": tracked, "invalid": invalid, **more}


def test_a_single_is_stored_or_refused(matomo: Matomo) -> None:
    assert ask(matomo, GOOD) == (204, b"")
    assert ask(matomo, NOBODY)[0] == 400
    assert ask(matomo, BAD)[0] == 400
    assert ask(matomo, GOOD + "x" * 8_000)[0] == 414
    assert matomo.stored == ["good"]


def test_invalid_items_are_skipped_in_bulk(matomo: Matomo) -> None:
    assert bulk(matomo, GOOD, NOBODY, GOOD) == (200, told("success", 2, 1))
    assert bulk(matomo, GOOD[1:]) == (200, told("success", 0, 0))  # without its question mark
    assert (
        ask(matomo, "", '{"requests": [', "application/json")[1] == json.dumps(told("success", 0, 0)).encode()
    )
    assert matomo.stored == ["good"] * 2


@pytest.mark.parametrize(("transaction", "stored"), [(True, 0), (False, 2)])
def test_poison_answers_the_number_of_those_before_it(matomo: Matomo, transaction: bool, stored: int) -> None:
    matomo.transaction = transaction
    assert bulk(matomo, GOOD, NOBODY, GOOD, BAD, GOOD) == (500, told("error", 2, 0))
    assert len(matomo.stored) == stored


@pytest.mark.parametrize("kind", POISON.values(), ids=POISON)
def test_each_poison_is_one(matomo: Matomo, kind: str) -> None:
    assert bulk(matomo, GOOD, GOOD + kind) == (500, told("error", 1, 0))


@pytest.mark.parametrize("privilege", ["&cip=192.0.2.7", "&country=de", "&cdt=1000000000"])
def test_a_secure_token_counts_only_in_a_form(matomo: Matomo, privilege: str) -> None:
    item = f"{GOOD}{privilege}&token_auth="
    token = SECURE[0]
    assert bulk(matomo, GOOD + privilege, item + "wrong", item + token) == (200, told("success", 0, 3))
    assert bulk(matomo, item + ORDINARY[0]) == (200, told("success", 1, 0))
    as_form = bulk(matomo, item + token, NOBODY, mime=FORM, extra=f"&token_auth={token}&")
    assert as_form == (200, told("success", 1, 1, invalid_indices=[1]))
    assert ask(matomo, item + token)[0] == 400
    assert ask(matomo, "", (item + token)[1:])[0] == 204
    assert ask(matomo, "", (item + token)[1:], "application/json")[0] == 400


def test_the_query_wins_over_the_body(matomo: Matomo) -> None:
    assert ask(matomo, GOOD, "e_n=other")[0] == 204
    assert matomo.stored == ["good"]


def test_a_form_has_a_thousand_variables(matomo: Matomo) -> None:
    body = json.dumps({"requests": [GOOD + "&a=1" * 1_000]})
    status, answer = ask(matomo, "", body)
    assert (status, answer[:6], matomo.warnings) == (200, b"<br />", 1)
    assert json.loads(answer[answer.index(b'{"status') :]) == told("success", 1, 0)
    assert ask(matomo, "", body, "application/json")[1][:1] == b"{"


def test_the_twenty_first_wrong_token_blocks(matomo: Matomo) -> None:
    item = GOOD + "&cip=192.0.2.7&token_auth="
    assert bulk(matomo, *[item + "wrong"] * 20, item + ORDINARY[0]) == (200, told("success", 1, 20))
    assert bulk(matomo, item + "wrong", item + ORDINARY[0]) == (200, told("success", 0, 2))


def test_settings_and_maintenance(matomo: Matomo) -> None:
    matomo.authentication = True
    assert bulk(matomo, GOOD) == (500, told("error", 0, 0))
    assert bulk(matomo, f"{GOOD}&token_auth={ORDINARY[0]}") == (200, told("success", 1, 0))
    matomo.authentication = matomo.statistics = False
    assert bulk(matomo, GOOD) == (200, told("success", 0, 0))
    assert ask(matomo, GOOD) == (204, b"")
    assert matomo.stored == ["good"]
