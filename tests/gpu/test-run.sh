#!/usr/bin/env bash
# nbdkit-vram: a program that vram-swap run starts gets the VRAM that the disk
# held, without a refusal, and the disk's data is unharmed
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_root
requires_nbdsh
requires_program python3
competitor=$VRAM_BUILD/tests/gpu/competitor
[ -x "$competitor" ] || skip "competitor is not built"
if [ -n "$VRAM_REAL_GPU" ]; then
  size=4096 data=3072 step=256
else
  size=512 data=256 step=32
  mkdir "$tmp/shared"
  export STANDIN_CUDA_SHARED=$tmp/shared STANDIN_CUDA_MEMORY=640M
fi
mkdir "$tmp/spill"
swap_launcher "$tmp/conf" "size = ${size}M" "min-size = 64M" "elastic = yes" \
  "spill = $tmp/spill"
"${launch[@]}" daemon --server-only --user root >"$log" 2>&1 &
server=$!
cleanup_fn kill_server "$server"
wait_until_served
! grep 'no spill file: ' "$log" ||
  skip "no spill file here: $(grep 'no spill file: ' "$log")"

# is FIELD MIB: status shows at least so much of elastic VRAM.
is ()
{
  swap_says 4 status --json
  python3 -c '
import json, sys
e = json.loads (sys.argv[1])["server"]["elastic"]
sys.exit (e[sys.argv[2]] >> 20 < int (sys.argv[3]))' "$said" "$@"
}

wait_for "$patience" is spill_size "$size"
blocks="
import random
random.seed (1)
data = random.randbytes (1 << 20)
for i in range ($data): "
nbdsh -u "$uri" \
  -c "${blocks}h.pwrite (b'%8d' % i + data[8:], i << 20)"
wait_for "$patience" is held "$data"

# The program takes most of what the disk holds besides what is free now.
free=$(vram_nbdkit "$VRAM_PLUGIN" --dump-plugin |
  sed -n 's/^vram_device_memory_free=//p')
take=$((((free >> 20) + data - 2 * step) / step * step))
swap_says 0 run "$competitor" "${take}M" "${step}M" <<<""
[[ $said == *"allocated=$((take << 20)) refusals=0 "* ]] || fail "$said"
swap_says 0 limit
[[ $said == "limit: as configured"* ]] || fail "$said"
nbdsh -u "$uri" \
  -c "${blocks}assert h.pread (1 << 20, i << 20) == b'%8d' % i + data[8:], i"
end_server TERM
[ "$status" -eq 0 ] || fail "vram-swap daemon's exit status is $status"
