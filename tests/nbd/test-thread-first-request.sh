#!/usr/bin/env bash
# nbdkit-vram: a thread's first request, of any kind, makes the CUDA context
# current
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh

start_vram --threads=1 size=16M window=no resident=no
VRAM_TEST_TRACE=$tmp/trace VRAM_TEST_URI=$uri nbdsh -u "$uri" -c '
import nbd, os
def entered ():
    with open (os.environ["VRAM_TEST_TRACE"]) as trace:
        return dict (line.split () for line in trace)["cuCtxSetCurrent"]
h.flush ()
# The idle check makes the context current, too, but not again so soon.
other = nbd.NBD ()
other.connect_uri (os.environ["VRAM_TEST_URI"])
before = entered ()
other.flush ()
first = entered ()
assert int (first) > int (before), (before, first)
other.pwrite (b"x" * 4096, 0)
other.pread (4096, 0)
assert entered () == first, (first, entered ())
other.shutdown ()
'
stop_vram
