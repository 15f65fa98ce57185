#!/usr/bin/env bash
# nbdkit-vram: with scrub=no VRAM is not overwritten at the end
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_standin

start_vram size=16M scrub=no
nbdsh -u "$uri" -c 'h.pwrite (b"known" * 20000, 0)'
end_server TERM
[ "$status" -eq 0 ]
[ "$(cat "$tmp"/report.*)" = "dirty 100000" ]
