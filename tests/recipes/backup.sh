set -eu
trap 'givenotice e_c=cron e_a=backup e_v=$?' EXIT

backup  # the work; the exit status of the script stays its own
