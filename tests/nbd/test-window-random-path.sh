#!/usr/bin/env bash
# nbdkit-vram: with a random path for each copy, on several connections, every
# byte is right
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program "$FIO"
requires_nbdsh
"$FIO" --enghelp | grep -qw nbd || skip "this fio has no nbd engine"

# Copies by DMA are slow, so that a copy that is not waited for comes too late.
export STANDIN_CUDA_DELAY=100
start_vram -D"$PLUGIN_NAME.random_path"=1 size=64M
cd "$tmp"
# fio would accept data of an earlier run, so the disk is trimmed between runs.
round ()
{
  timeout "$patience" "$FIO" --name=verify --ioengine=nbd --uri="$uri" \
    --rw=randwrite --size=16M --numjobs=4 \
    --offset_increment=16M --bsrange=512-256k --blockalign=512 --iodepth=8 \
    --verify=crc32c --verify_state_save=0 \
    --verify_fatal=1 --do_verify=1 --randrepeat=0 --output=fio.out || {
    cat fio.out
    fail "fio: see above"
  }
  nbdsh -u "$uri" -c 'h.trim (64 << 20, 0)'
}
soak round
stop_vram
