#!/usr/bin/env bash
# nbdkit-vram: qemu-io writes and verifies patterns at odd offsets
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program qemu-io

start_vram size=16M
qemu-io -f raw "$uri" \
  -c "write -P 0x11 0 1M" -c "write -P 0x22 1023 3" \
  -c "write -P 0x33 4097 8191" -c "write -z 65536 4k" \
  -c "discard 128k 64k" -c "write -P 0x44 16776704 512" \
  -c "writev -P 0x55 2M 512 1024 4096" -c flush \
  -c "read -P 0x11 0 1023" -c "read -P 0x22 1023 3" \
  -c "read -P 0x11 1026 3071" -c "read -P 0x33 4097 8191" \
  -c "read -P 0x11 12288 53248" -c "read -P 0 65536 4k" \
  -c "read -P 0 128k 64k" -c "read -P 0x11 192k 64k" \
  -c "read -P 0x44 16776704 512" -c "read -P 0x55 2M 5632" \
  -c "read -P 0 2102784 1M" | tee "$tmp/out"
! grep -Ei 'pattern verification failed|error|failed' "$tmp/out" ||
  fail "qemu-io: see above"
[ "$(grep -c '^read ' "$tmp/out")" -eq 11 ]
stop_vram
