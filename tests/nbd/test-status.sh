#!/usr/bin/env bash
# nbdkit-vram: vram-swap status prints the facts of the daemon and of the
# superblock, and what is known without a daemon
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh
requires_program python3
swap_launcher "$tmp/conf" "size = 16M" "min-size = 16M"

# swap_status OPTION...: prints the status. It exits with 4, because swap is
# off.
swap_status ()
{
  local status=0
  timeout "$patience" "${launch[@]}" status "$@" >"$tmp/status" || status=$?
  cat "$tmp/status"
  [ "$status" -eq 4 ] || fail "the exit status is $status"
}

# shows EXPRESSION...: each is true. In it S is the output of status --json.
shows ()
{
  swap_status --json
  python3 -c '
import json, sys
S = json.load (open (sys.argv[1]))
for expression in sys.argv[2:]:
    assert eval (expression), (expression, S)
' "$tmp/status" "$@"
}

# begin SETTING...: starts a daemon with these and the usual settings.
begin ()
{
  swap_launcher "$tmp/conf" "size = 16M" "min-size = 16M" "$@"
  "${launch[@]}" daemon --server-only --user root >"$log" 2>&1 &
  server=$!
  cleanup_fn kill_server "$server"
  wait_until_served
}

shows 'S["schema"] == 2' 'S["state"] == "off" and S["daemon"] is False' \
  'S["reason"] == "the daemon is not running"' \
  'S["server"]["ready"] is False and S["server"]["pid"] is None' \
  'S["server"]["generation"] is None' \
  'S["device"] is None and S["swap"] is None'
swap_status
grep -Fx "VRAM swap: off: the daemon is not running" "$tmp/status"
grep -Fx "server:    none" "$tmp/status"

begin "window = yes"
shows 'S["state"] == "on" and S["daemon"] is True' \
  'S["server"]["ready"] is True and S["server"]["pid"] > 0' \
  'S["server"]["generation"] == 1 and S["server"]["size"] == 16 << 20' \
  'S["server"]["used"] == 0' \
  'S["server"]["lost"] is False' 'S["server"]["threads"] > 0'
nbdsh -u "$uri" -c 'h.pwrite (b"x" * 8192, 0)'
shows 'S["server"]["used"] == 8192'
swap_status
words='number 1 of this disk, 16\.0 MiB, 8 KiB of it in use'
grep -E "^server: +process [0-9]+, $words" "$tmp/status"
pid=$(sed -n 's/^server: *process \([0-9]*\).*/\1/p' "$tmp/status")
kill -KILL "$pid"
wait_for "$patience" grep -q "$PLUGIN_NAME: info: took over a disk" "$log"
wait_until_served
shows 'S["server"]["generation"] == 2 and S["server"]["used"] == 8192' \
  "S[\"server\"][\"pid\"] != $pid"
# The plugin has written the path of copies to the superblock.
if shows 'S["server"]["copy_path"] == "mapping"' 2>/dev/null; then
  swap_status
  grep -Fx "copies:    by the window, and by DMA where that is faster" \
    "$tmp/status"
fi
end_server TERM
[ "$status" -eq 0 ] || fail "the daemon's exit status is $status"
shows 'S["state"] == "off" and S["daemon"] is False' \
  'S["reason"] == "the service was stopped"'
