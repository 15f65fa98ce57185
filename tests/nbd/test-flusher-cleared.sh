#!/usr/bin/env bash
# nbdkit-vram: every thread that serves requests makes itself an I/O flusher
# again if a library has cleared that
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] ||
  skip "cannot replace prctl under a sanitizer or valgrind"
preload=$VRAM_BUILD/tests/preload/.libs/flusher.so
[ -e "$preload" ] || skip "$preload is not built"

# Prints how many threads of the server have set the flag.
flushers ()
{
  awk -v pid="$server" '$1 == pid && $3 == 1 { print $2 }' \
    "$VRAM_TEST_FLUSHER" | sort -u | wc -l
}

# With one thread for each connection, each has a thread of its own.
export VRAM_TEST_FLUSHER=$tmp/flusher
run_as=(env "LD_PRELOAD=$preload")
start_vram --threads=1 size=16M
before=$(flushers)
VRAM_TEST_URI=$uri nbdsh -c '
import nbd, os
clients = [nbd.NBD () for _ in range (3)]
for h in clients:
    h.connect_uri (os.environ["VRAM_TEST_URI"])
clients[0].pread (4096, 0)
clients[1].pwrite (b"f" * 4096, 0)
clients[2].flush ()
for h in clients:
    h.pread (4096, 0)
    h.shutdown ()
'
[ "$(flushers)" -eq $((before + 3)) ]
# That is said once.
expect_log_times 1 \
  "warning: PR_SET_IO_FLUSHER of a thread was cleared by .*, and set again"
stop_vram
