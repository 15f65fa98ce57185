#!/usr/bin/env bash
# nbdkit-vram: the server of an elastic disk ends although the driver or the
# spill file's disk hangs
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

# After the last client, without a signal.
if vram_nbdkit "$(filter exitlast)" "$VRAM_PLUGIN" --dump-plugin \
  >/dev/null 2>&1; then
  export STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang VRAM_TEST_TMP=$tmp
  # A client that only looks whether it serves would be the last one.
  launch_vram "$(filter exitlast)" size=64M elastic=yes headroom=1M window=no \
    gpu-timeout=1
  wait_for "$patience" test -S "$sock"
  nbdsh -c '
import os, time
tmp = os.environ["VRAM_TEST_TMP"]
for i in range (1000):
    try:
        h.connect_uri ("'"$uri"'")
        break
    except nbd.Error:
        h = nbd.NBD ()
        time.sleep (0.05)
h.pwrite (b"x" * 4096, 0)
with open (tmp + "/hang-t", "w") as f:
    f.write ("cuMemGetInfo_v2 1000\n")
os.rename (tmp + "/hang-t", tmp + "/hang")
# Until the governor has looked.
time.sleep (2)
'
  wait_server
  expect_log "the driver has not answered for 1000 ms"
  unset STANDIN_CUDA_HANG_CALL_FILE
else
  echo "nbdkit's exitlast filter is not installed"
fi

preload=$VRAM_BUILD/tests/preload/.libs/aio.so
[ -e "$preload" ] || skip "not built: $preload; the rest passed"
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] ||
  skip "sanitizers and valgrind have a preload of their own; the rest passed"
export VRAM_TEST_HANG_WRITE=$tmp/hang-write
touch "$VRAM_TEST_HANG_WRITE"
run_as=(env "LD_PRELOAD=$preload")
start_vram size=64M elastic=yes spill="$tmp" window=no gpu-timeout=1
! grep "no spill file" "$log" || skip "no spill file here; the rest passed"
end_server TERM
expect_log "the spill file's disk has not answered for 10000 ms; ending"
