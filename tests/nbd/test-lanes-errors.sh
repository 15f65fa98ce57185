#!/usr/bin/env bash
# nbdkit-vram: an invalid number of lanes is refused
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

refuses_to_start "lanes=0: it must be a number from 1 to 64" size=16M lanes=0
refuses_to_start "lanes=65: it must be a number from 1 to 64" size=16M lanes=65
refuses_to_start "lanes" size=16M lanes=-1
refuses_to_start "lanes" size=16M lanes=many
refuses_to_start "lanes" size=16M lanes=
