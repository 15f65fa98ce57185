#!/usr/bin/env bash
# nbdkit-vram: vram-swap reload takes all new settings or none, and a daemon
# that cannot become the installed program leaves the disk to the next one
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_program python3
swap_launcher "$tmp/conf" "size = 64M" "min-size = 64M" "elastic = no"
# A program of its own, which can be replaced.
cp "$swap" "$tmp/vram-swap"
launch=("${launch[@]/#$swap/$tmp/vram-swap}")
cp "$tmp/conf" "$tmp/usual"
"${launch[@]}" daemon --server-only --user root >"$log" 2>&1 &
daemon=$!
cleanup_fn kill_server "$daemon"
wait_until_served

# settings SETTING...: the configuration has these besides the usual ones.
settings ()
{
  cp "$tmp/usual" "$tmp/conf"
  printf '%s\n' "$@" >>"$tmp/conf"
}

serves ()
{
  swap_says 4 status --json
  [[ $said == *'"ready": true'* ]]
}

# another_server SOCKET: kills the server. The next one serves SOCKET.
another_server ()
{
  local pid
  swap_says 4 status --json
  pid=$(sed -n 's/^ *"pid": \([0-9]*\).*/\1/p' <<<"$said")
  kill -KILL "$pid"
  rm -f "$1"
  wait_for "$patience" test -S "$1"
  wait_for "$patience" serves
  kill -0 "$daemon" || fail "the daemon has ended"
}

# refused WORDS: reload refuses with WORDS, and the settings stay.
refused ()
{
  swap_says 1 reload
  [[ $said == *"$1"* && $said == *"the settings stay as they are"* ]] ||
    fail "$said"
  another_server "$sock"
}

settings "plugin-args = $(printf 'scrub=yes %.0s' {1..1000})"
refused "the server's command line is too long; shorten plugin-args"
settings "socket = /proc/nowhere/nbd.sock"
sed -i "0,/^socket/{/^socket/d}" "$tmp/conf"
refused "/proc/nowhere"
settings "nonsense = 1"
swap_says 2 reload
[[ $said == *"unknown key"* ]] || fail "$said"

# A missing folder is made for the next server.
settings "outage-timeout = 5min" "socket = $tmp/new/nbd.sock"
sed -i "0,/^socket/{/^socket/d}" "$tmp/conf"
swap_says 0 reload
[[ $said == *"outage-timeout: 10min -> 5min: takes effect now"* ]] ||
  fail "$said"
[[ $said == *"socket: "*": takes effect with the next server"* ]] ||
  fail "$said"
another_server "$tmp/new/nbd.sock"

# systemd starts another daemon after this status, and not after 1 or 2.
swap_says 4 status --json
server=$(sed -n 's/^ *"pid": \([0-9]*\).*/\1/p' <<<"$said")
cleanup_fn kill_server "$server"
echo "not a program" >"$tmp/other"
chmod +x "$tmp/other"
mv "$tmp/other" "$tmp/vram-swap"
launch=("${launch[@]/#$tmp\/vram-swap/$swap}")
swap_says 0 reload
got=0
wait "$daemon" || got=$?
[ "$got" = 7 ] || fail "the daemon ended with status $got"
expect_log "$tmp/vram-swap: Exec format error"
kill -0 "$server" || fail "the server has ended with the daemon"
