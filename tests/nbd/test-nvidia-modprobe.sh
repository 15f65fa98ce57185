#!/usr/bin/env bash
# nbdkit-vram: nvidia-modprobe runs once if CUDA's device node is missing
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
[ ! -e /dev/nvidia-uvm ] || skip "/dev/nvidia-uvm exists"

# As if the server had a score from the daemon. Raising it needs no capability.
echo 500 >/proc/self/oom_score_adj
(echo 0 >/proc/self/oom_score_adj) 2>"$tmp/refused" ||
  skip "the OOM score cannot be lowered to 0"

mkdir "$tmp/bin"
cat >"$tmp/bin/nvidia-modprobe" <<END
#!/bin/sh
echo "\$*" >>"$tmp/ran"
echo \$\$ >"$tmp/pid"
cat /proc/self/oom_score_adj >"$tmp/oom_score"
cut -d ' ' -f 9 /proc/self/stat >"$tmp/flags"
END
chmod +x "$tmp/bin/nvidia-modprobe"

preload=$VRAM_BUILD/tests/preload/.libs/flusher.so
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] && [ -e "$preload" ] || preload=
[ -z "$preload" ] || run_as=(env "LD_PRELOAD=$preload")

# It runs once, although the server tries the driver three times.
PATH=$tmp/bin:$PATH
export STANDIN_CUDA_INIT_FAIL=2:CUDA_ERROR_UNKNOWN
export VRAM_TEST_FLUSHER=$tmp/flusher
start_vram -v size=16M
[ "$(calls cuInit)" -eq 3 ]
[ "$(cat "$tmp/ran")" = "-c0 -u" ]
expect_log_times 1 \
  "ran nvidia-modprobe -c0 -u because /dev/nvidia-uvm was missing"
# The program inherits no OOM score, nor PF_MEMALLOC_NOIO and
# PF_LOCAL_THROTTLE, which PR_SET_IO_FLUSHER sets. Without CAP_SYS_RESOURCE
# only an imitation of prctl shows that they were cleared.
[ "$(cat "$tmp/oom_score")" -eq 0 ]
(($(cat "$tmp/flags") & 0x00180000)) && fail "the child is an I/O flusher"
[ -z "$preload" ] || grep -qE "^$(cat "$tmp/pid") [0-9]+ 0$" "$tmp/flusher"
stop_vram
