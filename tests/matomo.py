"""A stand-in for Matomo: its tracking API as far as notices meet it, sick on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from itertools import count
from time import sleep, time
from urllib.parse import unquote_plus

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

Fault = Callable[[list[str]], "Response | None"]  # given the items of a bulk request; None: as usual
NUMBERS = (
    count()
)  # what an endpoint answered is remembered for a while, and ports come again: no endpoint may

ORDINARY = ("0rdinary", "an0ther")  # tokens that are accepted from wherever they come
SECURE = ("5ecure", "5ecret")  # those that Matomo calls "secure only"
PRIVILEGED = {"cip", "country", "region", "city", "lat", "long"}  # taken with a token only
POISON = {
    "a number without end": "&e_v=1e400",
    "a text over its column": "&e_n=" + "x" * 5_000,
    "a custom action that is no event": "&ca=1",
    "a count over its column": "&search_count=1e12",
}
VARIABLES = 1_000  # PHP's max_input_vars
WARNING = (
    "<br />\n<b>Warning</b>:  Input variables exceeded {1000} in <b>Unknown</b> on line <b>0</b><br />\n"
)
FORM = "application/x-www-form-urlencoded"


class Matomo:
    """One endpoint. Site 1 is known, others are not. The settings are attributes, to be set by a test."""

    def __init__(self, server: HTTPServer, fault: Fault | None = None, path: str = "/matomo.php") -> None:
        self.folder = f"/{next(NUMBERS)}"
        self.endpoint = server.url_for(self.folder + path)
        self.fault = fault
        self.transaction = True  # bulk_requests_use_transaction
        self.authentication = False  # bulk_requests_require_authentication
        self.statistics = True  # record_statistics; not during maintenance
        self.seconds = self.pace = 0.0  # what a request takes, and each event in it
        self.warning = ""  # what PHP prints before the answer
        self.stored: list[str] = []  # their e_n, in order
        self.log: list[str] = []  # what an access log shows, without the folder
        self.sizes: list[tuple[int, int]] = []  # notices and bytes of each bulk request
        self.forms: list[str] = []  # the bodies of single form POSTs
        self.warnings = 0  # bulk requests with more variables than PHP reads
        self.wrong = 0  # tokens, where one was needed; after 20 Matomo blocks the address
        self.busy = self.most = 0
        self.gate = threading.Event()  # the first request waits for it
        self.came = threading.Event()
        self.lock = threading.Lock()
        server.expect_request(self.folder + path).respond_with_handler(self.handle)

    def uri(self, name: object, more: str = "") -> str:
        return f"{self.endpoint}?idsite=1&rec=1&send_image=0&e_n={name}{more}"

    def handle(self, request: Request) -> Response:
        with self.lock:
            self.log.append(f"{request.method} {request.full_path.removeprefix(self.folder)}")
            self.busy += 1
            self.most = max(self.most, self.busy)
        self.came.set()
        self.gate.wait(30)
        try:
            return self.answer(request)
        finally:
            with self.lock:
                self.busy -= 1

    def answer(self, request: Request) -> Response:
        query = request.query_string.decode()
        if len(query) > 8_000:
            return Response(status=414)
        body = request.get_data().decode("utf-8", "replace")
        pieces = [piece for piece in body.split("&") if piece] if request.mimetype == FORM else []
        post = read("&".join(pieces[:VARIABLES]))  # PHP takes for a form what is called one
        if '"requests"' not in body:
            return self.single({**post, **read(query)}, body, "token_auth" in post)
        response = self.bulk(body, "token_auth" in post)
        if len(pieces) > VARIABLES:
            self.warnings += 1
        if self.warning or len(pieces) > VARIABLES:
            response.data = (self.warning or WARNING).encode() + response.data
        return response

    def single(self, params: dict[str, str], body: str, posted: bool) -> Response:
        if body:
            self.forms.append(body)
        sleep(self.seconds + self.pace)
        if self.invalid(params, posted) or poisonous(params):
            return Response(status=400)
        if self.statistics:
            self.stored.append(params["e_n"])
        return Response(status=204)

    def bulk(self, body: str, posted: bool) -> Response:
        try:
            items: list[str] = json.loads(body)["requests"]
        except ValueError:
            return success(0, 0)
        self.sizes.append((len(items), len(body.encode())))
        sleep(self.seconds + self.pace * len(items))  # whether or not the client is still there
        return (self.fault and self.fault(items)) or self.track(items, posted)

    def track(self, items: list[str], posted: bool = False) -> Response:
        """Store *items*; *posted*: with a token in $_POST, which makes those in the items secure, too."""
        requests = [read(item.partition("#")[0].partition("?")[2]) for item in items]
        requests = [params for params in requests if params]  # an item without ? is passed over
        if self.authentication and not all(valid(params.get("token_auth"), posted) for params in requests):
            return error(0)
        if not self.statistics:
            return success(0, 0)
        good: list[str] = []
        invalid: list[int] = []
        for index, params in enumerate(requests):
            if self.invalid(params, posted):
                invalid.append(index)
            elif poisonous(params):
                self.stored += [] if self.transaction else good
                return error(len(good))
            else:
                good.append(params["e_n"])
        self.stored += good
        return success(len(good), len(invalid), **({"invalid_indices": invalid} if posted else {}))

    def invalid(self, params: dict[str, str], posted: bool) -> bool:
        """Whether Matomo answers 400, or skips it in bulk."""
        token = params.get("token_auth")
        cdt = params.get("cdt", "")
        old = cdt.isdigit() and int(cdt) < time() - 86_400
        if params.get("idsite") != "1" or "rec" not in params:
            return True
        if len(params.get("cid", "x" * 16)) != 16 or params.get("e_c") == "":
            return True
        if not old and not PRIVILEGED & params.keys():
            return False
        self.wrong += token is not None and not valid(token, posted)
        return self.wrong > 20 or not valid(token, posted)


def read(query: str) -> dict[str, str]:
    """A query as PHP reads it: the last of several wins."""
    pairs = (piece.partition("=") for piece in query.split("&") if piece)
    return {unquote_plus(name): unquote_plus(value).strip() for name, _, value in pairs}


def valid(token: str | None, posted: bool) -> bool:
    return token in ORDINARY or (posted and token in SECURE)


def poisonous(params: dict[str, str]) -> bool:
    """Whether the database refuses it, and with it all others of a bulk request."""
    return (
        params.get("e_v") == "1e400"
        or len(params["e_n"]) > 4_096
        or (params.get("ca") in ("1", "2") and "e_c" not in params)
        or float(params.get("search_count", 0)) > 2**31
    )


def success(tracked: object, invalid: object, **more: object) -> Response:
    told = {"status": "success", "tracked": tracked, "invalid": invalid, **more}
    return Response(json.dumps(told), 200, mimetype="application/json")


def error(tracked: object) -> Response:
    """What Matomo answers where an item cannot be stored, at a deadlock, and where bulk needs a token."""
    told = {"status": "error", "tracked": tracked, "invalid": 0}
    return Response(json.dumps(told), 500, mimetype="application/json")
