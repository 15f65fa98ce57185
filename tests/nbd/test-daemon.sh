#!/usr/bin/env bash
# nbdkit-vram: a server in the background serves, and ends when the process in
# its pidfile is signalled
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_daemon size=16M
nbdsh -u "$uri" -c '
h.pwrite (b"d" * 100000, 1000)
assert h.pread (100002, 999) == b"\0" + b"d" * 100000 + b"\0"
'
stop_daemon
