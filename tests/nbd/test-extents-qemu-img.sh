#!/usr/bin/env bash
# nbdkit-vram: qemu-img map shows data and holes
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_program qemu-img

start_vram size=16M
nbdsh -u "$uri" -c 'h.pwrite (b"q" * 65536, 1 << 20)'
qemu-img map --output=json "$uri" | tr -d ' ' | tee "$tmp/map"
grep -E '"start":0,"length":1048576,.*"zero":true,"data":false' "$tmp/map"
grep -E '"start":1048576,"length":65536,.*"zero":false,"data":true' "$tmp/map"
grep -E '"start":1114112,"length":15663104,.*"zero":true,"data":false' \
  "$tmp/map"
stop_vram
