"""A stand-in for Matomo: its tracking API as far as notices meet it, sick on demand."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from itertools import count
from urllib.parse import parse_qs

from pytest_httpserver import HTTPServer
from werkzeug import Request, Response

Fault = Callable[[list[str]], "Response | None"]  # given the queries of a bulk request; None: as usual
NUMBERS = count()  # that an endpoint refused bulk is remembered, and ports come again: no endpoint may


class Matomo:
    """One endpoint; site 1 is known, others are not, and `e_v=1e400` is poison."""

    def __init__(self, server: HTTPServer, fault: Fault | None = None) -> None:
        self.folder = f"/{next(NUMBERS)}"
        path = self.folder + "/matomo.php"
        self.endpoint = server.url_for(path)
        self.fault = fault
        self.stored: list[str] = []  # their e_n, in order
        self.log: list[str] = []  # what an access log shows, without the folder
        self.sizes: list[tuple[int, int]] = []  # notices and bytes of each bulk request
        self.forms: list[str] = []
        self.busy = self.most = 0
        self.gate = threading.Event()  # the first request waits for it
        self.came = threading.Event()
        self.lock = threading.Lock()
        server.expect_request(path).respond_with_handler(self.handle)

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
        body = request.get_data()
        if request.mimetype == "application/json":
            items = json.loads(body)["requests"]
            self.sizes.append((len(items), len(body)))
            response = self.fault(items) if self.fault else None
            return response or self.bulk(items)
        query = request.query_string.decode()
        if len(query) > 8_000:
            return Response(status=414)
        if body:
            self.forms.append(body.decode())
        if not self.store([query + body.decode()]):
            return Response(status=400)
        return Response(status=204)

    def bulk(self, items: list[str]) -> Response:
        if any("e_v=1e400" in item for item in items):
            return Response(status=500)
        tracked = self.store([item[1:] for item in items if item.startswith("?")])
        return success(tracked, len(items) - tracked)

    def store(self, queries: list[str]) -> int:
        good = [
            params["e_n"][0]
            for params in map(parse_qs, queries)
            if params.get("idsite") == ["1"] and params.get("e_v") != ["1e400"]
        ]
        self.stored += good
        return len(good)

    def uri(self, name: object, more: str = "") -> str:
        return f"{self.endpoint}?idsite=1&rec=1&send_image=0&e_n={name}{more}"


def success(tracked: int, invalid: int) -> Response:
    told = {"status": "success", "tracked": tracked, "invalid": invalid}
    return Response(json.dumps(told), 200, mimetype="application/json")
