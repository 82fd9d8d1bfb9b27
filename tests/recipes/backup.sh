#!/bin/sh
set -eu
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM
trap '/usr/local/bin/givenotice e_c=cron e_a=backup e_v=$?' EXIT

/usr/local/bin/backup  # the work; the script keeps its exit status
