#!/usr/bin/env bash
# nbdkit-vram: command lines that were written for nbdkit's own OpenCL plugin
# work unchanged
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

# serves ARGUMENT...: a server with these arguments serves 16 MiB.
serves ()
{
  start_vram "$@"
  [ "$(nbdinfo --size "$uri")" -eq $((16 << 20)) ]
  stop_vram
}

serves 16M
serves size=16M
serves 16777216
serves device=0 size=16M
serves 16M device=0
device=$(vram_nbdkit "$VRAM_PLUGIN" --dump-plugin |
  sed -n 's/^vram_device_name=//p' | head -n 1)
serves 16M device="$device"

# --dump-plugin has the same keys for devices.
vram_nbdkit "$VRAM_PLUGIN" --dump-plugin >"$tmp/dump"
for key in vram_num_devices vram_device_index vram_device_name; do
  grep -E "^$key=.+" "$tmp/dump"
done
