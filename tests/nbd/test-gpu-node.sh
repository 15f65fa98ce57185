#!/usr/bin/env bash
# nbdkit-vram: the GPU's device node is kept with the disk, so that the driver
# keeps the GPU running between servers
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
requires_standin
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] ||
  skip "cannot replace open under a sanitizer or valgrind"
preload=$VRAM_BUILD/tests/preload/.libs/root.so
[ -e "$preload" ] || skip "$preload is not built"

gpu=$tmp/root/proc/driver/nvidia/gpus/0000:01:00.0
mkdir -p "$gpu" "$tmp/root/dev"
printf '%s\n' "Model: 		 Stand-in" \
  "Bus Location: 	 0000:01:00.0" "Device Minor: 	 3" >"$gpu/information"
: >"$tmp/root/dev/nvidia3"

run_as=(env "LD_PRELOAD=$preload" "VRAM_TEST_ROOT=$tmp/root")
launcher
export VRAM_PATIENCE=$patience
mkdir "$tmp/vram"
export STANDIN_CUDA_SHARED=$tmp/vram
python3 - "$tests/nbd" "$tmp" "${launch[@]}" --foreground --exit-with-parent \
  --unix="$sock" "$VRAM_PLUGIN" size=16M \
  handover=yes <<'END'
import os, signal, sys
sys.path.insert (0, sys.argv[1])
from store import *
store = Store (sys.argv[3:], sys.argv[2])
kept = ["vram-chunk-0", "vram-gpu", "vram-state"]

def is_node (fd):
    node = sys.argv[2] + "/root/dev/nvidia3"
    return os.readlink ("/proc/self/fd/%d" % fd) == node

store.start ()
store.wait_ready ()
assert store.names () == kept, store.names ()
assert is_node (store.fds["vram-gpu"])
store.end (signal.SIGKILL)

# A server that takes the disk over keeps the node, or adds one if it is
# missing.
for forget in False, True:
    if forget:
        os.close (store.fds.pop ("vram-gpu"))
    store.start ()
    store.wait_ready ()
    assert store.names () == kept, store.names ()
    assert is_node (store.fds["vram-gpu"])
    store.end (signal.SIGKILL)

# A server that died while it checked that descriptors are kept has left this
# one.
store.fds["vram-probe"] = os.open ("/dev/null", os.O_RDWR | os.O_CLOEXEC)
store.start ()
store.wait_ready ()
assert store.end (signal.SIGTERM) == 0
assert store.names () == ["vram-probe"], store.names ()
END

# Without a device node it works, too.
rm "$tmp/root/dev/nvidia3"
python3 - "$tests/nbd" "$tmp" "${launch[@]}" --foreground --exit-with-parent \
  --unix="$sock" "$VRAM_PLUGIN" size=16M \
  handover=yes <<'END'
import signal, sys
sys.path.insert (0, sys.argv[1])
from store import *
store = Store (sys.argv[3:], sys.argv[2])
store.start ()
store.wait_ready ()
assert store.names () == ["vram-chunk-0", "vram-state"], store.names ()
assert store.end (signal.SIGTERM) == 0
END
