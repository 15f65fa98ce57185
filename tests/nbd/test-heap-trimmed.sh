#!/usr/bin/env bash
# nbdkit-vram: the buffers of nbdkit's threads are given back when the last
# client has gone
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
# Instrumented programs have a heap of another kind.
requires_full_speed
requires_program nbdcopy

# The resident heap in KiB.
heap ()
{
  awk '/\[heap\]$/ { heap = 1 } /^Rss:/ && heap { print $2; exit }' \
    "/proc/$server/smaps"
}

# 16 threads for each of 4 connections, and a buffer of 1 MiB for each thread.
heap_is_small ()
{
  [ "$(heap)" -lt 24576 ]
}

options=(--threads=16)
start_vram size=256M
random_file "$tmp/data" 256M
nbdcopy --connections=4 --requests=16 --request-size=1048576 "$tmp/data" "$uri"
nbdcopy --connections=4 --requests=16 --request-size=1048576 "$uri" null:
wait_for 30 heap_is_small
stop_vram
