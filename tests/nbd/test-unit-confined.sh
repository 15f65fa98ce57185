#!/usr/bin/env bash
# nbdkit-vram: in the unit's sandbox the server copies by mapping and DMA, and
# takes over a disk
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_program python3
requires_root
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] ||
  skip "sanitizers and valgrind need more than the unit allows"
[ -n "${VRAM_SYSCALL_GROUPS-}" ] || requires systemd-analyze syscall-filter
requires python3 -c 'import ctypes; ctypes.CDLL ("libseccomp.so.2")'
swap=$VRAM_SWAP
[ -x "$swap" ] || skip "vram-swap is not built: $swap"
mkdir "$tmp/run"
chmod 755 "$tmp"
sock=$tmp/run/sock
uri="nbd+unix:///?socket=$sock"
# The unit of a build or an installation differs only in paths.
confined=(python3 "$tests/nbd/confined.py"
  "$top_srcdir/swap/units/vram-swap.service.in" "$tmp/run")
requires "${confined[@]}" test -r "$VRAM_PLUGIN"

# What --dump-plugin prints about mappings without the sandbox.
ways=$(vram_nbdkit "$VRAM_PLUGIN" --dump-plugin |
  grep -E '^vram_(num_devices|device_name|window)=')
rm -f "$tmp"/report.* "$tmp"/vulkan.*
export STANDIN_CUDA_REPORT=$tmp/run/report.%p \
  STANDIN_VULKAN_REPORT=$tmp/run/vulkan.%p
unset STANDIN_CUDA_TRACE

# As clean_report, for a server that can write to one folder only.
clean_confined_report ()
{
  local file
  [ -z "$VRAM_REAL_GPU" ] || return 0
  [ "$(cat "$tmp"/run/report.* | sort -u)" = "dirty 0" ] ||
    fail "the driver reports: $(cat "$tmp"/run/report.*)"
  for file in "$tmp"/run/vulkan.*; do
    [ ! -s "$file" ] || fail "Vulkan reports at the end: $(cat "$file")"
  done
  rm -f "$tmp"/run/report.* "$tmp"/run/vulkan.*
}

run_as=("${confined[@]}")
[ "$(vram_nbdkit "$VRAM_PLUGIN" --dump-plugin |
  grep -E '^vram_(num_devices|device_name|window)=')" = "$ways" ] ||
  fail "in the sandbox, devices or mappings differ from: $ways"
rm -f "$tmp"/run/report.* "$tmp"/run/vulkan.*

# Single pages, by mapping or DMA, and requests that need several copies.
start_vram "-D$PLUGIN_NAME.random_path=1" size=256M min-size=256M
grep -E '^(Uid|NoNewPrivs|Seccomp|CapEff|CapBnd):' "/proc/$server/status" |
  tee "$tmp/status"
grep -qE '^Uid:[[:space:]]+6[0-9]{4}[[:space:]]' "$tmp/status"
grep -qE '^NoNewPrivs:[[:space:]]+1$' "$tmp/status"
grep -qE '^Seccomp:[[:space:]]+2$' "$tmp/status"
[ "$(locked_kib "$server")" -gt 0 ] || fail "it has locked nothing"
nbdsh -u "$uri" -c '
import random
dice = random.Random (1)
written = []
# A part of the disk for each, so that no write overlaps another one.
for n in range (64):
    size = dice.choice ([1, 4096, 32768, 1 << 20, 3 << 20])
    at = (n << 22) + dice.randrange ((4 << 20) - size + 1)
    data = dice.randbytes (size)
    h.pwrite (data, at)
    written.append ((at, data))
for at, data in written:
    assert h.pread (len (data), at) == data, "at %d" % at
for at, data in written:
    h.trim (4 << 20, at >> 22 << 22)
for at, data in written:
    assert not any (h.pread (len (data), at)), "at %d" % at
'
end_server TERM
[ "$status" -eq 0 ] || fail "the server's exit status is $status"
cat "$log"
clean_confined_report

# Daemon and server are killed under load, and the next server in the sandbox
# imports the VRAM. Needs programs that every user can read.
swap_root=$tmp/run/root
mkdir -p "$swap_root/run"
chmod 777 "$swap_root/run"
swap_launcher "$tmp/run/conf" "size = 72M" "min-size = 64M" "threads = 16" \
  "elastic = no"
python3 "$tests/nbd/swap-daemon.py" 8 72 "$tmp/run" "$log" "${launch[@]}" \
  daemon --server-only
expect_log "took over a disk of 72 MiB"
expect_log "received the disk of an earlier server: [34] descriptors"
clean_confined_report

# The VRAM of an elastic disk is given back, and its data is in a spill file.
mkdir -m 777 "$tmp/run/spill"
swap_launcher "$tmp/run/conf" "size = 64M" "min-size = 64M" \
  "elastic = yes" "spill = $tmp/run/spill"
"${launch[@]}" daemon --server-only >"$log" 2>&1 &
server=$!
cleanup_fn kill_server "$server"
wait_until_served
nbdsh -u "$uri" -c 'for i in range (8): h.pwrite (b"%d" % i * 4096, i << 23)'
if ! grep "no spill file: " "$log"; then
  wait_for "$patience" "${launch[@]}" limit 0
  swap_says 0 limit
  [[ $said == *"limit: 0 B, 0 B held"* ]] || fail "$said"
fi
nbdsh -u "$uri" -c '
for i in range (8): assert h.pread (4096, i << 23) == b"%d" % i * 4096
'
end_server TERM
[ "$status" -eq 0 ] || fail "vram-swap daemon's exit status is $status"
clean_confined_report
