#!/usr/bin/env bash
# nbdkit-vram: a file system is made on the disk through nbdfuse, and fsck
# finds no error
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program mke2fs
requires_program e2fsck
requires_program nbdfuse
requires test -w /dev/fuse
[ -n "$(type -P fusermount3 fusermount umount)" ] ||
  skip "no program to unmount is installed"

start_vram size=32M
mkdir "$tmp/mnt"
: >"$tmp/mnt/disk"
nbdfuse --pidfile "$tmp/fuse.pid" "$tmp/mnt/disk" "$uri" &
fuse=$!
unmount ()
{
  fusermount3 -u "$1" || fusermount -u "$1" || umount "$1"
} 2>/dev/null
cleanup_fn unmount "$tmp/mnt/disk"
for ((i = 0; i < patience * 10; i++)); do
  [ ! -s "$tmp/fuse.pid" ] || break
  ! ended "$fuse" || skip "nbdfuse cannot mount here"
  sleep 0.1
done
cp -r "$tests/nbd" "$tmp/files"
random_file "$tmp/files/random" 5M
mke2fs -q -t ext4 -d "$tmp/files" "$tmp/mnt/disk"
e2fsck -fn "$tmp/mnt/disk"
unmount "$tmp/mnt/disk"
wait "$fuse"
# Check it again, without nbdfuse.
nbdcopy "$uri" "$tmp/back"
e2fsck -fn "$tmp/back"
debugfs -R "dump /random $tmp/random" "$tmp/back"
cmp "$tmp/files/random" "$tmp/random"
stop_vram
