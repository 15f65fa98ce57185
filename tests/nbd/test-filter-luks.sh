#!/usr/bin/env bash
# nbdkit-vram: with the luks filter the disk holds encrypted data
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_nbdsh
requires_filter luks
requires_program qemu-img
requires "$NBDKIT" nbd --version

# The filter needs a header when a client connects. The header is copied to
# this disk, and a second nbdkit serves the disk with the filter.
create_luks ()
{
  qemu-img create -q -f luks --object secret,id=s,data=password \
    -o key-secret=s,iter-time=10,cipher-alg=aes-256,cipher-mode=xts \
    -o ivgen-alg=plain64 "$tmp/luks" 8M
}
# qemu-img measures how fast it derives keys, and fails if it got no CPU time
# meanwhile.
tries=1
until create_luks 2>"$tmp/create.log"; do
  grep -q 'accurate CPU usage' "$tmp/create.log" ||
    fail "$(cat "$tmp/create.log")"
  tries=$((tries + 1))
  [ "$tries" -le 5 ] || fail "$(cat "$tmp/create.log")"
done
start_vram size=16M
nbdcopy "$tmp/luks" "$uri"
"$NBDKIT" --foreground --exit-with-parent --unix "$tmp/plain" \
  "$(filter luks)" nbd socket="$sock" \
  passphrase=password >"$tmp/log.luks" 2>&1 </dev/null &
cleanup_fn kill_server "$!"
wait_for "$patience" test -S "$tmp/plain"
wait_for "$patience" nbdinfo --size "nbd+unix:///?socket=$tmp/plain"
nbdsh -u "nbd+unix:///?socket=$tmp/plain" -c '
data = bytes (range (256)) * 4096
h.pwrite (data, 1 << 20)
assert h.pread (len (data), 1 << 20) == data
'
# The disk itself holds no plain text.
nbdsh -u "$uri" -c '
assert bytes (range (256)) not in h.pread (16 << 20, 0)
'
kill_server "$!"
stop_vram
