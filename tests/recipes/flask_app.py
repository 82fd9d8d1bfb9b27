from hashlib import sha256
from os import environ
from secrets import token_hex

from flask import Flask, request

import givenotice

app = Flask(__name__)
TOKEN = environ.get("MATOMO_TOKEN")  # without it, Matomo refuses a visitor's address


@app.after_request
def give_notice(response):
    visitor = request.cookies.get("visitor") or token_hex(8)
    response.set_cookie("visitor", visitor, httponly=True, samesite="Lax")
    givenotice.push(
        action_name=request.path,
        url=request.base_url,
        urlref=request.referrer,
        ua=request.headers.get("User-Agent"),
        lang=request.headers.get("Accept-Language"),
        cid=sha256(visitor.encode()).hexdigest()[:16],  # always 16 hexadecimal digits
        cip=request.remote_addr if TOKEN else None,
        token_auth=TOKEN,
    )
    return response
