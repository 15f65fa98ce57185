#!/usr/bin/env bash
# nbdkit-vram: an elastic disk goes on growing after the driver has refused a
# chunk once, also for another reason than a lack of VRAM
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_program python3
launcher
mkdir "$tmp/shared"
export STANDIN_CUDA_SHARED=$tmp/shared
for refusal in cuMemCreate:6:CUDA_ERROR_UNKNOWN \
  cuMemAddressReserve:6:CUDA_ERROR_OUT_OF_MEMORY; do
  STANDIN_CUDA_FAIL=$refusal python3 - "$tests/nbd" "$tmp" "${launch[@]}" \
    --foreground --exit-with-parent --unix="$sock" "$VRAM_PLUGIN" size=64M \
    elastic=yes handover=yes window=no <<'END'
import sys
sys.path.insert (0, sys.argv[1])
from store import *

store = Store (sys.argv[3:], sys.argv[2])
store.start ()
store.wait_ready ()
client = Client (store.socket, 0, 64 * 256, 1, 1)
client.connect ()
for slot in range (8):
    client.request (WRITE, slot << 23, b"s" * 4096)
    _, error, _ = struct.unpack (">IIQ", client.receive (16))
    if error:
        sys.exit ("slot %d: error %d" % (slot, error))
client.socket.close ()
store.end (signal.SIGTERM)
END
  log=$tmp/log.servers
  cat "$log"
  ! grep -E "error:|refuses exportable" "$log" || fail "see above"
  clean_report
  rm "$log" "$tmp"/report.*
done
