#!/usr/bin/env bash
# nbdkit-vram: a spill file whose disk does not answer costs EIO in time, for
# what is in it only, until it answers
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_program python3
preload=$VRAM_BUILD/tests/preload/.libs/aio.so
[ -e "$preload" ] || skip "not built: $preload"
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] ||
  skip "sanitizers and valgrind have a preload of their own"
launcher
mkdir "$tmp/shared"
export STANDIN_CUDA_SHARED=$tmp/shared STANDIN_CUDA_MEMORY=128M \
  STANDIN_CUDA_USED_FILE=$tmp/used VRAM_TEST_HANG=$tmp/hangs
python3 "$tests/nbd/elastic-spill-hangs.py" "$tmp" env "LD_PRELOAD=$preload" \
  "${launch[@]}" --foreground --exit-with-parent --threads=16 --unix="$sock" \
  "$VRAM_PLUGIN" size=64M elastic=yes handover=yes window=no gpu-timeout=5 \
  spill="$tmp" || got=$?
log=$tmp/log.servers
cat "$log"
[ "${got-0}" -ne 77 ] || skip "no spill file here"
[ "${got-0}" -eq 0 ] || fail "see above"
expect_log "cannot read the spill file: its disk has not answered for 10000 ms"
expect_log "the disk of the spill file answers again"
clean_report
