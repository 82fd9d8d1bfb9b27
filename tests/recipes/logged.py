import logging

import givenotice

logging.basicConfig(filename="notices.log")
logging.getLogger("givenotice").setLevel(logging.DEBUG)  # a line per notice: origin, status, time
givenotice.push("https://hc.example/ping/9f2c")
if not givenotice.flush(5.0):
    print(givenotice.stats())  # pushed, sent, failed, dropped, pending
