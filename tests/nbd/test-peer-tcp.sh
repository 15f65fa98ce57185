#!/usr/bin/env bash
# nbdkit-vram: over TCP, where nobody can be asked who he is, there is one warning
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3

# A port that was free a moment ago; it is the last of several if others take them.
for _ in 1 2 3 4 5; do
  port=$(python3 -c 'import socket; s = socket.socket (); s.bind (("127.0.0.1", 0)); print (s.getsockname ()[1])')
  transport=(--ipaddr 127.0.0.1 --port "$port")
  uri=nbd://127.0.0.1:$port
  launch_vram size=16M
  for ((i = 0; i < patience * 20; i++)); do
    ! timeout 5 nbdinfo --size "$uri" || break 2
    ! ended "$server" || break
    sleep 0.05
  done
done
nbdinfo --size "$uri"
nbdinfo --size "$uri"
expect_log_times 1 "warning: whoever can reach this server's address can read and write the disk; use --unix, or allow=any"
stop_vram

launch_vram size=16M allow=any
for ((i = 0; i < patience * 20; i++)); do
  ! timeout 5 nbdinfo --size "$uri" || break
  sleep 0.05
done
expect_no_log "whoever can reach"
stop_vram
