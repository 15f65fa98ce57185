#!/usr/bin/env bash
# nbdkit-vram: an unknown parameter is refused, and the message names it
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

refuses_to_start "unknown parameter 'sise'" size=16M sise=17M
