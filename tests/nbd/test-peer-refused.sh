#!/usr/bin/env bash
# nbdkit-vram: only root and the server's own user may connect
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nobody

chmod 711 "$tmp"
start_vram size=16M
chmod 777 "$sock"
if "${as_nobody[@]}" timeout "$patience" nbdinfo --size "$uri"; then
  fail "user 65534 was let in"
fi
expect_log_times 1 \
  "refused a client with uid 65534: only root and uid 0, .*; allow=any accepts"
# Repeated attempts do not fill the log.
for ((i = 0; i < 20; i++)); do
  if "${as_nobody[@]}" timeout "$patience" nbdinfo --size "$uri"; then
    fail "user 65534 was let in"
  fi
done
expect_log_times 1 "refused"
# The first attempt of another user is logged.
if setpriv --reuid=65533 --regid=65534 --clear-groups timeout "$patience" \
  nbdinfo --size "$uri"; then
  fail "user 65533 was let in"
fi
expect_log_times 1 "refused a client with uid 65533: only root"
# After that, root is still served.
nbdinfo --size "$uri"
stop_vram
