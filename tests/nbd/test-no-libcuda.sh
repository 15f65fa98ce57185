#!/usr/bin/env bash
# nbdkit-vram: without libcuda.so.1 the log names the file and the package that
# has it
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
! /sbin/ldconfig -p | grep -F libcuda.so.1 ||
  skip "this machine has a libcuda.so.1"

driver=none
refuses_to_start \
  "cannot load libcuda.so.1, .*: .*cannot open .*; install .*libcuda1" \
  size=16M
