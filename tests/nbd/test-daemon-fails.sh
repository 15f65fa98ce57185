#!/usr/bin/env bash
# nbdkit-vram: a server in the background that gets no VRAM ends and leaves nobody to connect to
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# nbdkit itself has gone into the background by then, with success.
export STANDIN_CUDA_MEMORY=1G STANDIN_CUDA_USED=1G
launch_daemon size=16M
wait_for "$patience" test -s "$tmp/pid"
for ((i = 0; i < patience * 20; i++)); do
  ! ended "$(cat "$tmp/pid")" || break
  sleep 0.05
done
ended "$(cat "$tmp/pid")" || fail "the server does not end"
! timeout "$patience" nbdinfo --size "$uri" || fail "somebody answers"
clean_report
