"""A Django application that pushes in a middleware."""

from __future__ import annotations

from collections.abc import Callable

import ledger
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpRequest, HttpResponse
from django.urls import path

Handler = Callable[[HttpRequest], HttpResponse]


def push_each_request(get_response: Handler) -> Handler:
    def middleware(request: HttpRequest) -> HttpResponse:
        ledger.push(request.path[1:])
        return get_response(request)

    return middleware


def view(_request: HttpRequest, **_names: str) -> HttpResponse:
    return HttpResponse("ok")


urlpatterns = [path("<name>", view)]
settings.configure(
    ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[f"{__name__}.push_each_request"], USE_TZ=True
)
application = get_wsgi_application()
