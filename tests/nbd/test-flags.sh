#!/usr/bin/env bash
# nbdkit-vram: the disk announces what it can do
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh

start_vram size=16M
nbdsh -u "$uri" -c '
assert not h.is_read_only ()
assert not h.is_rotational ()
assert h.can_multi_conn ()
assert h.can_fua ()
assert h.can_flush ()
assert h.can_trim ()
assert h.can_zero ()
assert h.can_fast_zero ()
assert h.can_cache ()
assert h.can_df ()
'
stop_vram
