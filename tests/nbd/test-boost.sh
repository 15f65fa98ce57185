#!/usr/bin/env bash
# nbdkit-vram: the driver is told not to raise an idle GPU's clocks, unless
# boost=yes
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_ENVIRONMENT=$tmp/environment

# driver_saw VALUE PARAMETER...: cuInit finds VALUE in the environment.
driver_saw ()
{
  local value=$1
  shift
  rm -f "$tmp/environment"
  start_vram size=16M "$@"
  stop_vram
  [ "$(cat "$tmp/environment")" = "CUDA_DISABLE_PERF_BOOST=$value" ]
}

unset CUDA_DISABLE_PERF_BOOST
driver_saw 1
driver_saw 1 boost=no
driver_saw "(unset)" boost=yes

# The user's own setting is kept.
export CUDA_DISABLE_PERF_BOOST=0
driver_saw 0
vram_nbdkit "$VRAM_PLUGIN" --dump-plugin >"$tmp/dump"
grep -x 'vram_boost=no' "$tmp/dump"
words='CUDA_DISABLE_PERF_BOOST is set to another value than 1'
grep -x "vram_quiet=no: .*$words" "$tmp/dump"

unset CUDA_DISABLE_PERF_BOOST
vram_nbdkit "$VRAM_PLUGIN" boost=yes --dump-plugin >"$tmp/dump"
grep -x 'vram_boost=yes' "$tmp/dump"
