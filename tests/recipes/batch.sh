export GIVENOTICE_EXIT_TIMEOUT=120  # seconds for what is queued at the end; the script ends as soon as it is sent
export GIVENOTICE_BACKLOG=20000     # notices in the queue; the next one would be dropped
python3 batch.py
