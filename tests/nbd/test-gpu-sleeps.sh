#!/usr/bin/env bash
# nbdkit-vram: after the machine has slept, no request is answered before the
# server knows that VRAM was preserved
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] ||
  skip "cannot replace a clock under a sanitizer or valgrind"
preload=$VRAM_BUILD/tests/preload/.libs/sleep.so
[ -e "$preload" ] || skip "$preload is not built"

mkdir "$tmp/vram"
export STANDIN_CUDA_SHARED=$tmp/vram VRAM_TEST_SLEPT=$tmp/slept \
  VRAM_TEST_TMP=$tmp
run_as=(env "LD_PRELOAD=$preload")

for window in yes no; do
  # The driver has preserved VRAM.
  start_vram size=16M window=$window
  nbdsh -u "$uri" -c '
import os
h.pwrite (b"s" * 65536, 0)
open (os.environ["VRAM_TEST_TMP"] + "/slept", "w").close ()
assert h.pread (65536, 0) == b"s" * 65536
h.pwrite (b"t" * 65536, 0)
assert h.pread (65536, 0) == b"t" * 65536
'
  expect_log_times 1 "the machine has slept, and VRAM was preserved"
  stop_vram
  rm "$tmp/slept"

  # The driver has not preserved VRAM: it has other content.
  for request in "h.pread (4096, 0)" "h.pwrite (b'w' * 4096, 0)" \
    "h.trim (4096, 0)" "h.pread (4096, 1 << 20)"; do
    start_vram size=16M window=$window
    request=$request nbdsh -u "$uri" -c '
import os
tmp = os.environ["VRAM_TEST_TMP"]
h.pwrite (b"s" * 65536, 0)
for name in os.listdir (tmp + "/vram"):
    with open (tmp + "/vram/" + name, "r+b") as f:
        f.write (bytes (65536))
open (tmp + "/slept", "w").close ()
for i in range (2):
    try:
        exec (os.environ["request"])
        assert False, "no error"
    except nbd.Error as e:
        assert e.errno == "EIO", e.errno
'
    wait_for "$patience" grep -q "the GPU is lost" "$log"
    expect_log_times 1 \
      "the GPU is lost, .*: VRAM was not preserved while the machine slept"
    end_server TERM
    [ "$status" -eq 0 ]
    rm "$tmp/slept"
  done
done

# The machine sleeps during a read, after its first check.
inside ()
{
  [ "$(calls "$1")" -ge "$2" ]
}

export STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang
start_vram size=16M window=no gpu-timeout=3600
nbdsh -u "$uri" -c 'h.pwrite (b"s" * 65536, 0)'
before=$(calls cuMemcpyDtoHAsync_v2)
echo "cuMemcpyDtoHAsync_v2 1" >"$tmp/hang-t"
mv "$tmp/hang-t" "$tmp/hang"
nbdsh -u "$uri" -c '
try:
    h.pread (4096, 0)
    assert False, "no error"
except nbd.Error as e:
    assert e.errno == "EIO", e.errno
' &
client=$!
wait_for "$patience" inside cuMemcpyDtoHAsync_v2 $((before + 1))
for file in "$tmp"/vram/*; do
  dd if=/dev/zero of="$file" bs=65536 count=1 conv=notrunc status=none
done
: >"$tmp/slept"
rm "$tmp/hang"
wait "$client"
expect_log_times 1 \
  "the GPU is lost, .*: VRAM was not preserved while the machine slept"
end_server TERM
[ "$status" -eq 0 ]
rm "$tmp/slept"
unset STANDIN_CUDA_HANG_CALL_FILE

# A server that dies after the sleep leaves no canary to the next one, which
# then goes by what the driver says.
requires_program python3
preload=$VRAM_BUILD/tests/preload/.libs
mkdir -p "$tmp/root/proc/driver/nvidia"
run_as=()
launcher
for preserves in 1 0; do
  rm -f "$tmp"/vram/* "$tmp/log.servers"
  echo "PreserveVideoMemoryAllocations: $preserves" \
    >"$tmp/root/proc/driver/nvidia/params"
  python3 - "$tests/nbd" "$tmp" "$preserves" env "VRAM_TEST_ROOT=$tmp/root" \
    "LD_PRELOAD=$preload/sleep.so:$preload/root.so" "${launch[@]}" \
    --foreground --exit-with-parent --unix="$sock" "$VRAM_PLUGIN" size=16M \
    handover=yes window=no <<'END'
import os, sys
sys.path.insert (0, sys.argv[1])
from store import *

tmp, preserves = sys.argv[2], sys.argv[3] == "1"
store = Store (sys.argv[4:], tmp)
client = Client (store.socket, 0, 16 * 256, 1, 1)

def read ():
    """Returns the error, and the bytes if there is none."""
    client.request (READ, 0, 4096)
    _, error, _ = struct.unpack (">IIQ", client.receive (16))
    return error, None if error else client.receive (4096)

store.start ()
store.wait_ready ()
client.connect ()
client.request (WRITE, 0, b"s" * 4096)
client.reply ()
open (tmp + "/slept", "w").close ()
store.end (signal.SIGKILL)
for server in range (2):
    store.start ()
    store.wait_ready ()
    client.connect ()
    error, data = read ()
    if preserves:
        assert not error and data == b"s" * 4096, error
    else:
        assert error == 5, (error, data)
    store.end (signal.SIGKILL)
END
  rm "$tmp/slept"
done
log=$tmp/log.servers
cat "$log"
expect_log "VRAM was not preserved while the machine slept"
