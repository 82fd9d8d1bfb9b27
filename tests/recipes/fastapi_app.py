from hashlib import sha256
from os import environ
from secrets import token_hex

from fastapi import FastAPI, Request

import givenotice

app = FastAPI()
TOKEN = environ.get("MATOMO_TOKEN")  # without it, Matomo refuses a visitor's address


@app.middleware("http")
async def give_notice(request: Request, call_next):
    response = await call_next(request)
    visitor = request.cookies.get("visitor") or token_hex(8)
    response.set_cookie("visitor", visitor, httponly=True, samesite="lax")
    givenotice.push(  # returns at once: there is nothing to await
        action_name=request.url.path,
        url=str(request.url.replace(query="")),
        urlref=request.headers.get("Referer"),
        ua=request.headers.get("User-Agent"),
        lang=request.headers.get("Accept-Language"),
        cid=sha256(visitor.encode()).hexdigest()[:16],  # always 16 hexadecimal digits
        cip=request.client.host if TOKEN and request.client else None,
        token_auth=TOKEN,
    )
    return response
