from celery import Celery
from celery.signals import worker_process_shutdown

import givenotice

app = Celery()
worker_process_shutdown.connect(lambda **_: givenotice.flush(), weak=False)  # the pool ends with os._exit


@app.task
def resize(image):
    givenotice.push(e_c="worker", e_a="resized", e_n=image)
