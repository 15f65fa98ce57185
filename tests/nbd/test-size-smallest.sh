#!/usr/bin/env bash
# nbdkit-vram: a disk of one block works, also with a driver that cannot
# allocate chunks
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

for no_chunks in 0 1; do
  export STANDIN_CUDA_NO_VMM=$no_chunks
  start_vram size=4K
  nbdsh -u "$uri" -c '
h.pwrite (b"s" * 4096, 0)
assert h.pread (4096, 0) == b"s" * 4096
'
  stop_vram
done
