#!/usr/bin/env bash
# nbdkit-vram: fio reads back every byte that it wrote while the slots of an
# elastic disk move at random between VRAM and the spill file
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_fio
requires_nbdsh

start_vram size=64M elastic=yes spill="$tmp" -D"$PLUGIN_NAME.restless=1"
fio_rounds
stop_vram
