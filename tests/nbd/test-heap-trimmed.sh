#!/usr/bin/env bash
# nbdkit-vram: the memory of nbdkit's request buffers is freed after the last
# client has disconnected
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
# Sanitizers replace the heap.
requires_full_speed
requires_program nbdcopy

# Prints the resident size of the heap in KiB.
heap ()
{
  awk '/\[heap\]$/ { heap = 1 } /^Rss:/ && heap { print $2; exit }' \
    "/proc/$server/smaps"
}

# glibc's caches for each thread may hold a small block at the end of the heap,
# which keeps the buffers below it: with glibc 2.43, 13 to 24 MiB of them.
export GLIBC_TUNABLES=glibc.malloc.tcache_count=0

# 4 connections have 16 threads each, which have a buffer of 1 MiB each.
heap_is_small ()
{
  [ "$(heap)" -lt 24576 ]
}

options=(--threads=16)
start_vram size=256M
random_file "$tmp/data" 256M
nbdcopy --connections=4 --requests=16 --request-size=1048576 "$tmp/data" "$uri"
nbdcopy --connections=4 --requests=16 --request-size=1048576 "$uri" null:
wait_for "$patience" heap_is_small
stop_vram
