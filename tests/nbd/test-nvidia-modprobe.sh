#!/usr/bin/env bash
# nbdkit-vram: nvidia-modprobe runs once if CUDA's device node is missing
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
[ ! -e /dev/nvidia-uvm ] || skip "/dev/nvidia-uvm exists"

mkdir "$tmp/bin"
cat >"$tmp/bin/nvidia-modprobe" <<END
#!/bin/sh
echo "\$*" >>"$tmp/ran"
cat /proc/self/oom_score_adj >"$tmp/oom_score"
cut -d ' ' -f 9 /proc/self/stat >"$tmp/flags"
END
chmod +x "$tmp/bin/nvidia-modprobe"

# It runs once, although the server tries the driver three times.
PATH=$tmp/bin:$PATH
export STANDIN_CUDA_INIT_FAIL=2:CUDA_ERROR_UNKNOWN
start_vram -v size=16M
[ "$(calls cuInit)" -eq 3 ]
[ "$(cat "$tmp/ran")" = "-c0 -u" ]
expect_log_times 1 \
  "ran nvidia-modprobe -c0 -u because /dev/nvidia-uvm was missing"
# The program does not inherit the server's OOM score, nor PF_MEMALLOC_NOIO and
# PF_LOCAL_THROTTLE, which PR_SET_IO_FLUSHER sets.
cmp /proc/self/oom_score_adj "$tmp/oom_score"
(($(cat "$tmp/flags") & 0x00180000)) && fail "the child is an I/O flusher"
stop_vram
