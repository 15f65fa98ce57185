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
