#!/usr/bin/env bash
# nbdkit-vram: an elastic disk outlives its server and its daemon, and no
# acknowledged write is lost
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_program python3
swap_launcher "$tmp/conf" "size = 64M" "min-size = 64M" "elastic = yes" \
  "threads = 16"
sed -i 's/^headroom = 0$/headroom = 8M/' "$tmp/conf"
launch+=(daemon --server-only --user root)
mkdir "$tmp/shared"
export STANDIN_CUDA_SHARED=$tmp/shared STANDIN_CUDA_MEMORY=128M \
  STANDIN_CUDA_USED_FILE=$tmp/used
kills=24
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] || kills=6
python3 "$tests/nbd/elastic-daemon.py" "$kills" "$tmp" "$log" "${launch[@]}"
expect_log "took over a disk of 64 MiB"
clean_report
