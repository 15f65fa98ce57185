#!/usr/bin/env bash
# nbdkit-vram: a file system copied onto the disk and back is unchanged
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program mke2fs
requires_program e2fsck
requires_program nbdcopy

cp -r "$tests/nbd" "$tmp/files"
random_file "$tmp/files/random" 5M
truncate -s 32M "$tmp/image"
mke2fs -q -t ext4 -d "$tmp/files" "$tmp/image"
start_vram size=32M
nbdcopy "$tmp/image" "$uri"
nbdcopy "$uri" "$tmp/back"
stop_vram
e2fsck -fn "$tmp/back"
cmp "$tmp/image" "$tmp/back"
