#!/usr/bin/env bash
# nbdkit-vram: clients over TCP are refused unless allow=any
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3

# serves_port ARGUMENT...: starts a server on a port that was just free. If
# another program takes it first, tries another one.
serves_port ()
{
  local i
  for _ in 1 2 3 4 5; do
    port=$(python3 -c 'import socket
s = socket.socket ()
s.bind (("127.0.0.1", 0))
print (s.getsockname ()[1])')
    transport=(--ipaddr 127.0.0.1 --port "$port")
    uri=nbd://127.0.0.1:$port
    launch_vram "$@"
    for ((i = 0; i < patience * 20; i++)); do
      # The kernel accepts connections as soon as the server listens.
      ! timeout "$patience" python3 \
        -c "import socket; socket.create_connection (('127.0.0.1', $port))" ||
        return 0
      ! ended "$server" || break
      sleep 0.05
    done
  done
  fail "no server on any of five ports"
}

serves_port size=16M
! timeout "$patience" nbdinfo --size "$uri" ||
  fail "a client over TCP was served"
! timeout "$patience" nbdinfo --size "$uri" ||
  fail "a client over TCP was served"
expect_log_times 1 \
  "refused a client that is not connected .*; use nbdkit --unix, or allow=any"
expect_log_times 1 "refused"
stop_vram

serves_port size=16M allow=any
[ "$(timeout "$patience" nbdinfo --size "$uri")" -eq $((16 << 20)) ]
expect_no_log "refused"
stop_vram
