#!/usr/bin/env bash
# nbdkit-vram: when the mapping fails, requests go on by DMA, none fails, and
# the log has one line
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh

export STANDIN_VULKAN_FAULT_FILE=$tmp/fault VRAM_TEST_TMP=$tmp
for first in pread pwrite; do
  rm -f "$tmp/fault"
  start_vram size=16M window=yes window-read-max=1M
  nbdsh -u "$uri" -c "first = '$first'" -c '
import os, time
tmp = os.environ["VRAM_TEST_TMP"]
data = bytes (range (256)) * 64
h.pwrite (data, 100)
assert h.pread (16384, 100) == data
open (tmp + "/fault", "w")
while not os.path.exists (tmp + "/fault.active"):
    time.sleep (0.01)
# The request that meets the fault gets the right data.
if first == "pread":
    assert h.pread (16384, 100) == data
else:
    data = data[::-1]
    h.pwrite (data, 100)
assert h.pread (16384, 100) == data
h.pwrite (b"y" * 5000, 3 << 20)
assert h.pread (5000, 3 << 20) == b"y" * 5000
# The mapping is not used again, even if it works again.
os.unlink (tmp + "/fault")
while os.path.exists (tmp + "/fault.active"):
    time.sleep (0.01)
h.pwrite (b"z" * 5000, 3 << 20)
assert h.pread (5000, 3 << 20) == b"z" * 5000
'
  expect_log_times 1 \
    "the CPU's mapping of VRAM has failed \(SIGBUS\): copies go by DMA alone"
  stop_vram
done
