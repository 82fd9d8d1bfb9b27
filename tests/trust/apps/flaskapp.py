"""A Flask application that pushes in a view."""

from __future__ import annotations

import ledger
from flask import Flask

application = Flask(__name__)


@application.get("/<name>")
def view(name: str) -> str:
    ledger.push(name)
    return "ok"
