#!/usr/bin/env bash
# nbdkit-vram: nvidia-modprobe is run once where CUDA's device node is missing
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
[ ! -e /dev/nvidia-uvm ] || skip "/dev/nvidia-uvm is there"

mkdir "$tmp/bin"
cat >"$tmp/bin/nvidia-modprobe" <<END
#!/bin/sh
echo "\$*" >>"$tmp/ran"
END
chmod +x "$tmp/bin/nvidia-modprobe"

# However often the driver has to be tried.
PATH=$tmp/bin:$PATH
export STANDIN_CUDA_INIT_FAIL=2:CUDA_ERROR_UNKNOWN
start_vram -v size=16M
[ "$(calls cuInit)" -eq 3 ]
[ "$(cat "$tmp/ran")" = "-c0 -u" ]
expect_log_times 1 "ran nvidia-modprobe -c0 -u because /dev/nvidia-uvm was missing"
stop_vram
