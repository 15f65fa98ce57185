#!/usr/bin/env bash
# nbdkit-vram: a flush is answered, before and after writes
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
nbdsh -u "$uri" -c '
h.flush ()
h.pwrite (b"1" * 4096, 0)
h.flush ()
assert h.pread (4096, 0) == b"1" * 4096
'
stop_vram
