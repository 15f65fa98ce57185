#!/usr/bin/env bash
# nbdkit-vram: vram-swap serve replaces a server that dies, and comes back with the disk when it dies itself
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/functions.sh"
set -e -x -u

requires_program python3
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
swap=$VRAM_BUILD/swap/vram-swap
[ -x "$swap" ] || skip "vram-swap is not built: $swap"
nbdkit_folder=$(dirname "$(command -v "$NBDKIT")")

cat >"$tmp/conf" <<END
size = 72M
min-size = 64M
headroom = 0
resident = auto
threads = 16
socket = $sock
plugin = $VRAM_PLUGIN
END
# What launch runs is nbdkit; here it is vram-swap that runs nbdkit, and under valgrind it is vram-swap that is.
launcher
unset 'launch[-1]'
export VRAM_PATIENCE=$patience
kills=12
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] || kills=6
launch=(env "PATH=$nbdkit_folder:$PATH" "${launch[@]}" "$swap" --config "$tmp/conf" serve)
python3 "$tests/adopt-serve.py" "$kills" 72 "$tmp" "$log" "${launch[@]}"
expect_log "the server was killed by"
expect_log "took over a disk of 72 MiB"
expect_log "the disk of an earlier server is there: 3 descriptors"

# What is not to be had now is tried again, and not given up; what is told to end then ends.
clean=$(cat "$tmp"/report.* 2>/dev/null | sort -u)
[ -n "$VRAM_REAL_GPU" ] || [ "$clean" = "dirty 0" ] || fail "the driver says: $clean"
"${launch[@]}" >"$log" 2>&1 &
server=$!
cleanup_fn kill_server "$server"
wait_until_served
# The process that listens is the server, wherever it is among the keeper's.
nbdkit=$(python3 - "$sock" <<'END'
import socket, struct, sys
s = socket.socket (socket.AF_UNIX)
s.connect (sys.argv[1])
print (struct.unpack ("3i", s.getsockopt (socket.SOL_SOCKET, socket.SO_PEERCRED, 12))[0])
END
)
# A byte of the checksum that the keeper has in its hands. No server can take that for its disk until it is back.
state=
for fd in "/proc/$server/fd"/*; do
  [[ "$(readlink "$fd")" != /memfd:nbdkit-vram* ]] || state=$fd
done
[ -n "$state" ] || fail "the keeper has no state"
checksum_byte ()
{
  dd bs=1 count=1 conv=notrunc status=none "$@"
}
checksum_byte "if=$state" skip=72 of="$tmp/byte"
tr '\000-\377' '\001-\377\000' <"$tmp/byte" | checksum_byte of="$state" seek=72
kill -KILL "$nbdkit"
tries ()
{
  [ "$(grep -c "the next one takes its disk over in" "$log")" -ge "$1" ]
}
wait_for "$patience" tries 4
expect_log "adopt: the disk cannot be taken over: its header is damaged"
# Later and later, unless this machine is so slow that each server lives for long.
[ "$(grep -c "takes its disk over in 0 ms" "$log")" -gt 1 ] || expect_log "takes its disk over in 400 ms"
expect_no_log "took over a disk"
checksum_byte if="$tmp/byte" of="$state" seek=72
wait_for "$patience" grep -q "took over a disk of 72 MiB" "$log"
wait_until_served
end_server TERM
[ "$status" -eq 0 ] || fail "vram-swap serve's exit status is $status"
