#!/usr/bin/env bash
# nbdkit-vram: a size is rounded down to a multiple of 4 KiB
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

for n in 4096 4097 8191 $((3 * 1024 * 1024 + 4095)); do
  start_vram size="$n"
  [ "$(nbdinfo --size "$uri")" -eq $((n / 4096 * 4096)) ]
  stop_vram
done
