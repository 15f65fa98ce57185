#!/usr/bin/env bash
# nbdkit-vram: fio reads back every byte that it wrote, in requests of mixed
# sizes, at random and in order
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_fio
requires_nbdsh

start_vram size=64M
fio_rounds
stop_vram
