#!/usr/bin/env bash
# nbdkit-vram: any request is served, 4 KiB are preferred, 32 MiB is the
# maximum
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
nbdsh -u "$uri" -c '
assert h.get_block_size (nbd.SIZE_MINIMUM) == 1
assert h.get_block_size (nbd.SIZE_PREFERRED) == 4096
assert h.get_block_size (nbd.SIZE_MAXIMUM) == 32 << 20
'
stop_vram
