#!/usr/bin/env bash
# nbdkit-vram: a disk that does not match is not taken over, the reason is
# logged, and a later server can still take it over
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
launcher
python3 "$tests/nbd/adopt-refused.py" "$tmp" "${launch[@]}" --foreground \
  --exit-with-parent --unix="$sock" \
  "$VRAM_PLUGIN" size=136M handover=yes

# Messages about the value of adopt=.
refuses_to_start "adopt=...disk: expected FD:NAME" size=16M adopt=disk
refuses_to_start "adopt=...1:vram-state: expected FD:NAME" size=16M \
  adopt=1:vram-state
refuses_to_start "adopt=...3:disk: unknown name; expected vram-state or" \
  size=16M adopt=3:disk
refuses_to_start "adopt=...3:vram-chunk-128: unknown name" size=16M \
  adopt=3:vram-chunk-128
refuses_to_start "adopt=...999:vram-state: Bad file descriptor" size=16M \
  adopt=999:vram-state
refuses_to_start "adopt=: expected|adopt=\.\.\.: expected" size=16M adopt=
exec 7</dev/null
refuses_to_start "adopt=...7:vram-state: the name is given twice" size=16M \
  adopt=7:vram-state,7:vram-state
refuses_to_start "it is not a memfd of this plugin" size=16M \
  adopt=7:vram-state
refuses_to_start \
  "adopt=7:vram-state and adopt=7:vram-chunk-0: .* can be given only once" \
  size=16M adopt=7:vram-state adopt=7:vram-chunk-0
