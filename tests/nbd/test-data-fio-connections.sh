#!/usr/bin/env bash
# nbdkit-vram: fio reads back what it wrote over 4 connections at once, each in
# its own part of the disk
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_fio

# The parts end inside of a block, so that two connections write to it.
start_vram size=64M
fio_verify --rw=randrw --rwmixread=30 --numjobs=4 --thread \
  --offset_increment=16776704 --size=16776704 --bsrange=512-64k --iodepth=16 \
  --verify_backlog=256 --io_size=16m
stop_vram
