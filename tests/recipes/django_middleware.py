# settings.py: MIDDLEWARE = [..., "django_middleware.give_notice"]
from hashlib import sha256
from os import environ
from secrets import token_hex

import givenotice

TOKEN = environ.get("MATOMO_TOKEN")  # without it, Matomo refuses a visitor's address


def give_notice(get_response):
    def middleware(request):
        response = get_response(request)
        visitor = request.COOKIES.get("visitor") or token_hex(8)
        response.set_cookie("visitor", visitor, httponly=True, samesite="Lax")
        givenotice.push(
            action_name=request.path,
            url=request.build_absolute_uri(request.path),
            urlref=request.headers.get("Referer"),
            ua=request.headers.get("User-Agent"),
            lang=request.headers.get("Accept-Language"),
            cid=sha256(visitor.encode()).hexdigest()[:16],  # always 16 hexadecimal digits
            cip=request.META.get("REMOTE_ADDR") if TOKEN else None,
            token_auth=TOKEN,
        )
        return response

    return middleware
