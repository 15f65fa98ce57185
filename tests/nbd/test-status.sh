#!/usr/bin/env bash
# nbdkit-vram: vram-swap status shows which way the running server copies, or why that is not known
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh
requires_program python3

vram_swap=$VRAM_BUILD/swap/vram-swap
[ -x "$vram_swap" ] || skip "vram-swap is not built"

# A machine of its own, without swap, whose server is the one on $sock.
mkdir "$tmp/proc" "$tmp/run"
grep -E '^Mem|^Swap' /proc/meminfo >"$tmp/proc/meminfo"
printf 'Filename\tType\tSize\tUsed\tPriority\n' >"$tmp/proc/swaps"
echo "socket = /sock" >"$tmp/conf"

# swap_status OPTION...: swap is off, which is exit status 4.
swap_status ()
{
  local status=0
  timeout "$patience" "$vram_swap" --root "$tmp" --config "$tmp/conf" status "$@" >"$tmp/status" || status=$?
  cat "$tmp/status"
  [ "$status" -eq 4 ] || fail "the exit status is $status"
}

# shows WINDOW REASON [LINE]: in JSON, an empty reason for none, and to people.
shows ()
{
  swap_status --json
  WINDOW=$1 REASON=$2 python3 -c '
import json, os, sys
window = { "yes": True, "no": False, "unknown": None }[os.environ["WINDOW"]]
server = json.load (open (sys.argv[1]))["server"]
assert server["window"] is window, server
assert server.get ("generation") is None, server
assert server["window_reason"] == (os.environ["REASON"] or None), server
' "$tmp/status"
  [ $# -lt 3 ] || { swap_status && grep -Fx "copies:    $3" "$tmp/status"; }
}

shows unknown "there is no server"

start_vram size=16M window=yes
shows yes "" "by the window, and by DMA where that is faster"
grep -Ex 'server:    16\.0 MiB, VRAM of Stand-in GPU 0, 0000:01:00\.0, process [0-9]+' "$tmp/status"
stop_vram

# What it does, not what it was told: the mapping fails.
export STANDIN_VULKAN_FAULT_FILE=$tmp/fault VRAM_TEST_TMP=$tmp
start_vram size=16M window=yes window-read-max=1M
shows yes ""
touch "$tmp/fault"
wait_for "$patience" test -e "$tmp/fault.active"
nbdsh -u "$uri" -c 'h.pwrite (b"x" * 4096, 0)'
shows no "the mapping of VRAM has failed (SIGBUS)" "by DMA alone: the mapping of VRAM has failed (SIGBUS)"
rm "$tmp/fault"
stop_vram
unset STANDIN_VULKAN_FAULT_FILE

start_vram size=16M window=no
shows no "window=no" "by DMA alone: window=no"
stop_vram

# What to do about it is left to the man page.
export STANDIN_VULKAN_NO_TYPE=1
start_vram size=16M
shows no "the CPU cannot see the VRAM of this GPU"
stop_vram
unset STANDIN_VULKAN_NO_TYPE

start_vram -D"$PLUGIN_NAME.window_write_max"=-1 size=16M window=yes window-read-max=0
shows no "the window is faster or allowed for no size"
stop_vram

# The GPU goes.
export STANDIN_CUDA_LOSE_FILE=$tmp/lose
start_vram size=16M window=no
touch "$tmp/lose"
nbdsh -u "$uri" -c '
try:
    h.pwrite (b"x" * 4096, 0)
    assert False
except nbd.Error as e:
    assert e.errno == "EIO", e.errno
'
shows no "the GPU is lost" "FAIL: the GPU is lost"
end_server TERM
unset STANDIN_CUDA_LOSE_FILE

# One that listens, and says nothing for ever; and one that hangs up.
for say in "time.sleep (1000)" "c.close ()"; do
  rm -f "$sock" "$tmp/ready"
  python3 -c '
import socket, sys, time
s = socket.socket (socket.AF_UNIX)
s.bind (sys.argv[1])
s.listen ()
open (sys.argv[2], "w").close ()
while True:
    c, _ = s.accept ()
    '"$say"'
' "$sock" "$tmp/ready" &
  listener=$!
  cleanup_fn kill_server "$listener"
  wait_for "$patience" test -e "$tmp/ready"
  case $say in
    time*) shows unknown "the server does not answer" ;;
    *) shows unknown "the server hung up" ;;
  esac
  kill "$listener"
done
