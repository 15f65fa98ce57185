#!/usr/bin/env bash
# nbdkit-vram: an invalid staging size is refused
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

refuses_to_start "staging" size=16M staging=0
refuses_to_start "staging" size=16M staging=8191
refuses_to_start "staging=65M is too large: at most 64 MiB" size=16M \
  staging=65M
refuses_to_start "staging" size=16M staging=-8K
refuses_to_start "staging" size=16M staging=big
