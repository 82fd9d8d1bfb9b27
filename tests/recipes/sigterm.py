import signal
import sys

import givenotice

signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
givenotice.push(e_c="worker", e_a="started")
