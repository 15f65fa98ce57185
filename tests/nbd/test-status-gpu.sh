#!/usr/bin/env bash
# nbdkit-vram: vram-swap status and check print power and clocks of an active
# GPU, and do not wake a sleeping one
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_program python3

vram_swap=$VRAM_SWAP
[ -x "$vram_swap" ] || skip "vram-swap is not built"
[ -e "$standin/.libs/libnvidia-ml.so.1" ] ||
  skip "the stand-in for NVML is not built"

# A daemon that runs a server only, with a root of its own, without swap.
device=$tmp/sys/bus/pci/devices/0000:01:00.0
mkdir -p "$tmp/proc" "$tmp/run" "$device/power"
grep -E '^Mem|^Swap' /proc/meminfo >"$tmp/proc/meminfo"
printf 'Filename\tType\tSize\tUsed\tPriority\n' >"$tmp/proc/swaps"
printf '%s\n' "size = 16M" "min-size = 16M" "headroom = 0" "resident = auto" \
  "window = no" "socket = $sock" \
  "plugin = $VRAM_PLUGIN" >"$tmp/conf"
echo 0x10de >"$device/vendor"
echo 0x030000 >"$device/class"
echo active >"$device/power/runtime_status"

export STANDIN_NVML_LOG=$tmp/nvml
# check runs the plugin as another user, who cannot write there.
unset STANDIN_CUDA_TRACE STANDIN_CUDA_REPORT STANDIN_VULKAN_REPORT
nvml=$standin/.libs

# says STATUS COMMAND...: vram-swap exits with STATUS. It has the stand-in for
# NVML unless $nvml is empty.
says ()
{
  local wanted=$1 status=0
  shift
  env ${nvml:+"LD_LIBRARY_PATH=$nvml"} timeout 60 "$vram_swap" --root "$tmp" \
    --config "$tmp/conf" "$@" >"$tmp/said" ||
    status=$?
  cat "$tmp/said"
  [ "$status" -eq "$wanted" ] || fail "the exit status is $status"
}

# gpu EXPRESSION: prints its value. In it gpu is that part of status --json.
gpu ()
{
  says 4 status --json
  python3 -c '
import json, sys
gpu = json.load (open (sys.argv[1]))["gpu"]
assert eval (sys.argv[2]), gpu
' "$tmp/said" "$1"
}

launcher
unset 'launch[-1]'
env "PATH=$(dirname "$(command -v "$NBDKIT")"):$PATH" "${launch[@]}" \
  "$vram_swap" --root "$tmp" --config "$tmp/conf" \
  daemon --server-only --user root >"$log" 2>&1 &
server=$!
cleanup_fn kill_server "$server"
wait_until_served
export STANDIN_NVML_POWER=70500 STANDIN_NVML_SM=345 STANDIN_NVML_SM_MAX=1980 \
  STANDIN_NVML_MEMORY=2619 \
  STANDIN_NVML_STATE=0 STANDIN_NVML_BUSY=0
says 4 status
words="GPU:       Stand-in GPU 0, 0000:01:00.0, driver 580.159.04: VRAM"
grep -Fx "$words 8.0 GiB, 2.0 GiB used, 6.0 GiB free" "$tmp/said"
grep -Fx "           70.5 W, SM 345 MHz, memory 2619 MHz, P0" "$tmp/said"
gpu 'gpu["power_mw"] == 70500 and gpu["performance_state"] == 0'
gpu 'gpu["sm_mhz"] == 345 and gpu["memory_mhz"] == 2619'

# Values that this GPU does not have are left out.
unset STANDIN_NVML_POWER STANDIN_NVML_STATE
says 4 status
grep -Fx "           SM 345 MHz, memory 2619 MHz" "$tmp/said"
gpu 'gpu["power_mw"] is None and gpu["performance_state"] is None'

# Without the library, or with one that hangs, status prints the rest.
STANDIN_NVML_HANGS=1 says 4 status
grep -E '^server: +process [0-9]+, number 1 of this disk, 16\.0 MiB' \
  "$tmp/said"
nvml='' says 4 status
grep -E '^server: +process [0-9]+, number 1 of this disk, 16\.0 MiB' \
  "$tmp/said"
if grep MHz "$tmp/said"; then \
  fail "there is a library although there is none"; fi

# check need not find other programs.
check ()
{
  local status=0
  LD_LIBRARY_PATH=$nvml timeout 60 "$vram_swap" --root "$tmp" \
    --config "$tmp/conf" check >"$tmp/said" || status=$?
  cat "$tmp/said"
}

check
grep -Fx "ok       clocks: SM 345 MHz, memory 2619 MHz, 0 % busy" "$tmp/said"
STANDIN_NVML_SM=1980 check
words="SM 1980 MHz, memory 2619 MHz, although the GPU is idle"
grep -F "warning  clocks: $words" "$tmp/said"
# Full clocks are right while the GPU works, and for an old driver.
STANDIN_NVML_SM=1980 STANDIN_NVML_BUSY=80 check
grep -F "ok       clocks: SM 1980 MHz" "$tmp/said"
STANDIN_NVML_SM=1980 STANDIN_NVML_DRIVER=570.1 check
grep -F "ok       clocks: SM 1980 MHz" "$tmp/said"
end_server TERM

# Without a server the GPU may sleep, and is not asked.
rm -f "$tmp/nvml"
echo suspended >"$device/power/runtime_status"
says 4 status
grep -Fx "GPU:       0000:01:00.0 is asleep" "$tmp/said"
check
grep -F "GPU: 0000:01:00.0 is asleep" "$tmp/said"
echo active >"$device/power/runtime_status"
says 4 status
[ ! -e "$tmp/nvml" ] ||
  fail "status or check has asked a GPU that no server uses"
