#!/usr/bin/env bash
# nbdkit-vram: with nbdkit -u the user that nbdkit changes to may connect
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nobody

chmod 777 "$tmp"
start_vram --user=65534 size=16M
chmod 777 "$sock"
"${as_nobody[@]}" timeout "$patience" nbdinfo --size "$uri"
if setpriv --reuid=65533 --regid=65534 --clear-groups timeout "$patience" \
  nbdinfo --size "$uri"; then
  fail "user 65533 was served"
fi
expect_log_times 1 "refused a client with uid 65533: only root and uid 65534"
stop_vram
