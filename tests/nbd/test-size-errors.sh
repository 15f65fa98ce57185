#!/usr/bin/env bash
# nbdkit-vram: an invalid size is refused, with the parameter's name and the
# value
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

refuses_to_start "size= is missing: how much VRAM to serve"
refuses_to_start "size=0[ :]" size=0
refuses_to_start "size=4095[ :]" size=4095
refuses_to_start "size=" size=-1
refuses_to_start "size" size=-7G
refuses_to_start "size.*seven" size=seven
refuses_to_start "size.*7Q" size=7Q
refuses_to_start "size" size=
refuses_to_start "size" size=99999999999999999999
refuses_to_start "size=0%: a percentage must be more than 0 and at most 100" \
  size=0%
refuses_to_start \
  "size=100.5%: a percentage must be more than 0 and at most 100" \
  size=100.5%
refuses_to_start "size=-5%: expected a percentage" size=-5%
refuses_to_start "size=nan%: expected a percentage" size=nan%
refuses_to_start "size=%: expected a percentage" size=%
refuses_to_start "size=1.2.3%: expected a percentage" size=1.2.3%
refuses_to_start "size" size=MAX%

refuses_to_start "size=7G and size=8G: a parameter can be given only once" \
  size=7G 8G

# The driver was not called.
[ ! -e "$tmp/trace" ] || [ "$(calls cuInit)" -eq 0 ]
