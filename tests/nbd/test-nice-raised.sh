#!/usr/bin/env bash
# nbdkit-vram: the log has one warning when another program raises the server's
# nice value
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram --threads=1 size=16M resident=auto
pid=$server
export pid log patience
# One connection, so that all requests have the same thread.
nbdsh -u "$uri" -c '
import os, time
def warned ():
    with open (os.environ["log"]) as log:
        return "another program, such as a process tuner" in log.read ()
h.pwrite (bytearray (512), 0)
assert not warned ()
for thread in os.listdir ("/proc/%s/task" % os.environ["pid"]):
    nice = os.getpriority (os.PRIO_PROCESS, 0) + 3
    os.setpriority (os.PRIO_PROCESS, int (thread), nice)
deadline = time.monotonic () + int (os.environ["patience"])
while not warned ():
    assert time.monotonic () < deadline
    h.pread (512, 0)
    time.sleep (0.01)
'
stop_vram
expect_log_times 1 \
  "warning: this process runs with nice value [0-9]+, .*: another program"
