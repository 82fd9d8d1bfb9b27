from flask import Flask, request

import givenotice

app = Flask(__name__)


@app.after_request
def give_notice(response):
    givenotice.push(action_name=request.path, url=request.base_url)
    return response
