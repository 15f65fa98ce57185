#!/usr/bin/env bash
# nbdkit-vram: vram-swap limit and run make the server give VRAM back, and the
# daemon's other clients cannot lock root out
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_root
requires_nbdsh
requires_program python3
swap_launcher "$tmp/conf" "size = 512M" "min-size = 64M" "elastic = yes" \
  "window = no" "spill = none"
"${launch[@]}" daemon --server-only --user root >"$log" 2>&1 &
server=$!
cleanup_fn kill_server "$server"
wait_until_served

# limit_is WORDS: the output of "limit" begins with WORDS.
limit_is ()
{
  said=$(timeout "$patience" "${launch[@]}" limit 2>&1) || return 1
  [[ $said == "limit: $1"* ]]
}

# The disk has 8 slots of 64 MiB, of which one holds data.
nbdsh -u "$uri" -c 'h.pwrite (b"x" * 4096, 0)'
wait_for "$patience" limit_is "as configured, 192 MiB held"

swap_says 0 limit 128M
limit_is "128 MiB, 128 MiB held" || fail "$said"
swap_says 3 limit 1M
[[ $said == *"cannot limit VRAM to 1.0 MiB: 64.0 MiB of it hold swapped data \
that cannot be moved: no spill file; set a higher limit"* ]] || fail "$said"
limit_is "128 MiB" || fail "$said"
swap_says 0 limit 25%
limit_is "128 MiB" || fail "$said"
swap_says 2 limit much
swap_says 0 limit max
limit_is "none" || fail "$said"
swap_says 0 limit config
wait_for "$patience" limit_is "as configured, 192 MiB held"

# While a program runs, all VRAM without data is given back.
swap_says 7 run sh -c '"$@"; exit 7' sh "${launch[@]}" limit
[[ $said == *"still holds 64.0 MiB of VRAM, of which 64.0 MiB hold swapped"* &&
  $said == *"limit: 0 B, 64.0 MiB held"* ]] || fail "$said"
limit_is "as configured" || fail "$said"

# The limit of run outlives a reload of the daemon, and ends with the program
# that asked for it, even by SIGKILL.
"${launch[@]}" run sleep 1000 >"$tmp/run" 2>&1 &
run=$!
wait_for "$patience" limit_is "0 B"
swap_says 0 reload
wait_for "$patience" limit_is "0 B"
sleeper=$(pgrep -P "$run" -x sleep)
kill -KILL "$run"
wait_for "$patience" limit_is "as configured"
kill "$sleeper"

# The limits of two programs: each holds for as long as its program runs.
runs=()
for _ in 1 2; do
  "${launch[@]}" run sleep 1000 >"$tmp/run" 2>&1 &
  runs+=($!)
  wait_for "$patience" limit_is "0 B, 64.0 MiB held"
done
for run in "${runs[@]}"; do
  limit_is "0 B" || fail "$said"
  kill "$run"
  wait "$run" || :
done
wait_for "$patience" limit_is "as configured, 192 MiB held"

# A limit that is set while there is no server.
swap_says 4 status --json
pid=$(sed -n 's/^ *"pid": \([0-9]*\).*/\1/p' <<<"$said")
kill -KILL "$pid"
swap_says 0 limit 64M
wait_for "$patience" limit_is "64.0 MiB, 64.0 MiB held"
wait_until_served
nbdsh -u "$uri" -c 'assert h.pread (4096, 0) == b"x" * 4096'
swap_says 0 limit config
wait_for "$patience" limit_is "as configured, 192 MiB held"

# Members of the group cannot use up the connections that are root's.
chmod 711 "$tmp"
mkfifo "$tmp/end"
python3 - "$swap_root/run/vram-swap/control" "$tmp/end" <<'END' &
import os, socket, sys
end = os.open (sys.argv[2], os.O_RDWR)
os.setgroups ([])
os.setgid (0)
os.setuid (65534)
connections = []
for _ in range (40):
    connections.append (socket.socket (socket.AF_UNIX))
    connections[-1].connect (sys.argv[1])
    try:
        connections[-1].send (b'{"request":"limit","size":0,"hold":true}\n')
    except BrokenPipeError:     # refused already
        pass
answered = 0
for c in connections:
    try:
        answered += b'"ok"' in c.recv (1000)
    except ConnectionError:
        pass
print ("answered: %d of %d" % (answered, len (connections)))
assert 0 < answered < len (connections)
os.read (end, 1)
END
crowd=$!
wait_for "$patience" limit_is "0 B"
swap_says 4 status --json
[[ $said == *'"daemon": true'* ]] || fail "root has no answer: $said"
echo 1<>"$tmp/end"
wait "$crowd"
end_server TERM
[ "$status" -eq 0 ] || fail "vram-swap daemon's exit status is $status"
