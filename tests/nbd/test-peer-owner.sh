#!/usr/bin/env bash
# nbdkit-vram: the server's own user and root may connect
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nobody

chown 65534 "$tmp"
run_as=("${as_nobody[@]}")
start_vram size=16M
chmod 755 "$tmp"
"${as_nobody[@]}" timeout "$patience" nbdinfo --size "$uri"
nbdinfo --size "$uri"
if setpriv --reuid=65533 --regid=65534 --clear-groups timeout "$patience" \
  nbdinfo --size "$uri"; then
  fail "user 65533 was let in"
fi
# Repeat it without the socket's permissions.
chmod 777 "$sock"
if setpriv --reuid=65533 --regid=65534 --clear-groups timeout "$patience" \
  nbdinfo --size "$uri"; then
  fail "user 65533 was let in"
fi
expect_log_times 1 "refused a client with uid 65533: only root and uid 65534"
stop_vram
