#!/usr/bin/env bash
# nbdkit-vram: a libcuda.so.1 that cannot be loaded is named, with the reason
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

mkdir "$tmp/lib"
echo "not a library" >"$tmp/lib/libcuda.so.1"
driver=none
export LD_LIBRARY_PATH=$tmp/lib
refuses_to_start \
  "cannot load libcuda.so.1, .*$tmp/lib/.*: (file too short|invalid ELF)" \
  size=16M
