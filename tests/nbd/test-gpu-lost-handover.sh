#!/usr/bin/env bash
# nbdkit-vram: the superblock has the time at which the GPU was lost, and the
# next server starts with a new disk
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
requires_standin
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
launcher
export VRAM_PATIENCE=$patience STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang
mkdir "$tmp/vram"
export STANDIN_CUDA_SHARED=$tmp/vram
python3 - "$tests/nbd" "$tmp" "${launch[@]}" --foreground --exit-with-parent \
  --unix="$sock" "$VRAM_PLUGIN" size=16M \
  handover=yes window=no gpu-timeout=1 <<'END'
import os, signal, struct, sys, time
sys.path.insert (0, sys.argv[1])
from store import *
store = Store (sys.argv[3:], sys.argv[2])

def lost ():
    """The field lost of struct superblock_shared, which begins at 2048."""
    word = os.pread (store.fds["vram-state"], 8, 2048 + 7 * 8)
    return struct.unpack ("Q", word)[0]

store.start ()
store.wait_ready ()
client = Client (store.socket, 0, 16, 1, 1)
client.connect ()
assert lost () == 0
with open (sys.argv[2] + "/hang-t", "w") as f:
    f.write ("cuEventQuery 1000")
os.rename (sys.argv[2] + "/hang-t", sys.argv[2] + "/hang")
before = time.clock_gettime_ns (time.CLOCK_BOOTTIME) // 1000000
try:
    client.request (WRITE, 0, b"l" * 4096)
    client.reply ()
    raise AssertionError
except SystemExit as e:
    assert "error 5" in str (e), e
after = time.clock_gettime_ns (time.CLOCK_BOOTTIME) // 1000000
assert before <= lost () <= after, (before, lost (), after)
os.unlink (sys.argv[2] + "/hang")
store.end (signal.SIGKILL)
store.start ()
store.wait_ready ()
assert lost () == 0
assert store.end (signal.SIGTERM) == 0
END
