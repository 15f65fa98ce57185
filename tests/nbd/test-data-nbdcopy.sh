#!/usr/bin/env bash
# nbdkit-vram: random data copied in by nbdcopy comes out the same
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program nbdcopy

random_file "$tmp/in" 64M
start_vram size=64M
nbdcopy "$tmp/in" "$uri"
nbdcopy "$uri" "$tmp/out"
cmp "$tmp/in" "$tmp/out"
stop_vram
