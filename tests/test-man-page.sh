#!/usr/bin/env bash
# nbdkit-vram: the man page's POD has no errors
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/functions.sh"
set -e -x -u

requires_program podchecker

page=$top_srcdir/man/nbdkit-vram-plugin.pod
[ -e "$page" ] || skip "the sources are not here"
podchecker -warnings "$page"
