#!/usr/bin/env bash
# nbdkit-vram: with a random path for each copy, on several connections, every
# byte is right
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_fio
requires_nbdsh

# Copies by DMA are slow, so that a copy that is not waited for comes too late.
export STANDIN_CUDA_DELAY=100
start_vram -D"$PLUGIN_NAME.random_path"=1 size=64M
# fio would accept data of an earlier run, so the disk is trimmed between runs.
round ()
{
  fio_verify --rw=randwrite --size=16M --numjobs=4 --offset_increment=16M \
    --bsrange=512-256k --iodepth=8
  nbdsh -u "$uri" -c 'h.trim (64 << 20, 0)'
}
soak round
stop_vram
