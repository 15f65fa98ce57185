#!/usr/bin/env bash
# nbdkit-vram: vram-swap daemon replaces a server that dies, and the next
# daemon goes on with the server
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
swap_launcher "$tmp/conf" "size = 72M" "min-size = 64M" "threads = 16" \
  "elastic = no"
command=("${launch[@]}")
launch+=(daemon --server-only --user root)
kills=12
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] || kills=8
python3 "$tests/nbd/swap-daemon.py" "$kills" 72 "$tmp" "$log" "${launch[@]}"
expect_log "the server was killed by"
expect_log "took over a disk of 72 MiB"
expect_log "received the disk of an earlier server: [34] descriptors"
expect_log "continuing with the server of the previous daemon, process"

# A disk that cannot be taken over is kept and tried again, and a daemon that
# is told to end meanwhile ends.
clean=$(cat "$tmp"/report.* 2>/dev/null | sort -u)
[ -n "$VRAM_REAL_GPU" ] || [ "$clean" = "dirty 0" ] ||
  fail "the driver reports: $clean"
"${launch[@]}" >"$log" 2>&1 &
server=$!
cleanup_fn kill_server "$server"
wait_until_served
# The process that listens on the socket is the server.
nbdkit=$(python3 - "$sock" <<'END'
import socket, struct, sys
s = socket.socket (socket.AF_UNIX)
s.connect (sys.argv[1])
peer = s.getsockopt (socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
print (struct.unpack ("3i", peer)[0])
END
)
# Change a byte of the checksum in the daemon's superblock. No server can take
# over the disk until the byte is restored.
state=
for fd in "/proc/$server/fd"/*; do
  [[ "$(readlink "$fd")" != /memfd:nbdkit-vram* ]] || state=$fd
done
[ -n "$state" ] || fail "the daemon has no superblock"
checksum_byte ()
{
  dd bs=1 count=1 conv=notrunc status=none "$@"
}
checksum_byte "if=$state" skip=72 of="$tmp/byte"
tr '\000-\377' '\001-\377\000' <"$tmp/byte" | checksum_byte of="$state" seek=72
kill -KILL "$nbdkit"
tries ()
{
  [ "$(grep -c "the next one takes over its disk in" "$log")" -ge "$1" ]
}
wait_for "$patience" tries 4
expect_log "adopt: the disk cannot be taken over: its header is damaged"
# The daemon waits longer each time, unless this machine is so slow that each
# server lives for long.
[ "$(grep -c "takes over its disk in 0 ms" "$log")" -gt 1 ] ||
  expect_log "takes over its disk in 400 ms"
expect_no_log "took over a disk"
checksum_byte if="$tmp/byte" of="$state" seek=72
wait_for "$patience" grep -q "took over a disk of 72 MiB" "$log"
wait_until_served
# It is the second server of this disk. Servers that failed do not count.
"${command[@]}" status --json >"$tmp/status" || [ $? -eq 4 ]
grep '"generation": 2' "$tmp/status" || fail "status: $(cat "$tmp/status")"
"${command[@]}" status >"$tmp/status" || [ $? -eq 4 ]
grep -E '^server: +process [0-9]+, number 2 of this disk, 72\.0 MiB, ' \
  "$tmp/status" || fail "status: $(cat "$tmp/status")"
end_server TERM
[ "$status" -eq 0 ] || fail "vram-swap daemon's exit status is $status"
