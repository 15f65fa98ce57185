#!/usr/bin/env bash
# nbdkit-vram: a mapping that fails at the start is not used
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh

export STANDIN_VULKAN_FAULT_FILE=$tmp/fault
touch "$tmp/fault"
start_vram -v size=16M
expect_log "no mapping, copies go by DMA alone: .*SIGBUS"
nbdsh -u "$uri" \
  -c 'h.pwrite (b"x" * 9000, 5); assert h.pread (9000, 5) == b"x" * 9000'
stop_vram
refuses_to_start "window=yes: .*SIGBUS" size=16M window=yes
