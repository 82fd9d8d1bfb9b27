from datetime import datetime, timedelta, timezone
from os import environ

import givenotice

START = datetime(2026, 1, 1, tzinfo=timezone.utc)
TOKEN = environ["MATOMO_TOKEN"]  # Matomo takes a time older than a day only with a token

for hour in range(2000):
    givenotice.push(
        action_name="import",
        url="https://myapp.example.com/import/",
        cid="00000000000000ab",
        cdt=START + timedelta(hours=hour),
        token_auth=TOKEN,
    )
