#!/usr/bin/env bash
# nbdkit-vram: nbdcopy keeps holes: only blocks with data are read, and zeros
# do not become data
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_program nbdcopy
requires_standin

start_vram size=64M window=no
nbdsh -u "$uri" -c 'h.pwrite (b"n" * 65536, 32 << 20)'
before=$(calls cuMemcpyDtoHAsync_v2)
nbdcopy "$uri" "$tmp/out"
after=$(calls cuMemcpyDtoHAsync_v2)
[ "$(stat -c %s "$tmp/out")" -eq $((64 << 20)) ]
[ "$(($(stat -c %b "$tmp/out") * $(stat -c %B "$tmp/out")))" -lt $((1 << 20)) ]
[ $((after - before)) -le 2 ]

# Back again, from the sparse file.
nbdcopy --destination-is-zero "$tmp/out" "$uri"
[ "$(map | grep -c data)" -eq 1 ]
stop_vram
