#!/usr/bin/env bash
# nbdkit-vram: parameters with a list of values refuse other values
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

refuses_to_start "scrub=perhaps: it must be no or yes" size=16M scrub=perhaps
refuses_to_start "scrub=2: it must be no or yes" size=16M scrub=2
refuses_to_start "boost=perhaps: it must be no or yes" size=16M boost=perhaps
refuses_to_start "resident=perhaps: it must be no, auto, yes or required" \
  size=16M resident=perhaps
refuses_to_start "allow=root: it must be owner or any" size=16M allow=root
