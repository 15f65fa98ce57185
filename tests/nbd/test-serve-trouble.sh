#!/usr/bin/env bash
# nbdkit-vram: vram-swap serve never gives up a disk by mistake, nor has an empty one take the place of one under swap
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
requires_standin

# An nbdkit that takes its time between asking for a signal at its parent's end and reading its parameters.
real_folder=$(dirname "$(command -v "$NBDKIT")")
nbdkit_folder=$tmp/bin
mkdir "$nbdkit_folder"
cat >"$tmp/bin/nbdkit" <<END
#!/usr/bin/env python3
import ctypes, os, signal, sys, time
if os.path.exists ("$tmp/slow"):
    ctypes.CDLL (None).prctl (1, signal.SIGTERM) # PR_SET_PDEATHSIG
    open ("$tmp/begun", "w").close ()
    while os.path.exists ("$tmp/slow"):
        time.sleep (0.05)
os.execv ("$real_folder/nbdkit", ["nbdkit"] + sys.argv[1:])
END
chmod +x "$tmp/bin/nbdkit"
swap_launcher "$tmp/conf" "size = 136M" "min-size = 64M" "threads = 16"
python3 "$tests/nbd/adopt-trouble.py" "$tmp" "$tmp/conf" "${launch[@]}" serve

# A machine of its own, where swap is on and its disk has gone: there is no other one for it.
mkdir -p "$tmp/root/proc" "$tmp/root/run" "$tmp/root/sys/block/nbd3"
printf 'Filename\tType\tSize\tUsed\tPriority\n' >"$tmp/root/proc/swaps"
printf 'device=3\nattach_pid=77\nconnections=1\n' >"$tmp/root/run/vram-swap.state"
echo 77 >"$tmp/root/sys/block/nbd3/pid"
serve ()
{
  "${launch[@]}" --root "$tmp/root" serve >"$log" 2>&1 &
  server=$!
  cleanup_fn kill_server "$server"
}
serve
wait_until_served
end_server TERM
[ "$status" -eq 0 ] || fail "vram-swap serve's exit status is $status"
echo "/dev/nbd3 partition 1024 512 1500" >>"$tmp/root/proc/swaps"
serve
wait_server
[ "$status" -eq 1 ] || fail "vram-swap serve's exit status is $status"
expect_log "swap is on, on /dev/nbd3, and its disk is not there any more"
