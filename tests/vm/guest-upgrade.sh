# nbdkit-vram: under systemd: another build takes the place of this one while
# swap is in use, and this one of an old one
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh disable=SC2016,SC2317 # evaluated and called by within and wait_for
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=300M
settings 'size = 256M' 'min-size = 256M' 'connections = 1' 'threads = 4'

property ()
{
  systemctl show -P "$1" vram-swap.service
}

property_is ()
{
  [ "$(property "$1")" = "$2" ]
}

# replaced N: wait until the kernel was given new connections N times.
replaced ()
{
  within 60 outages_are "$1" ||
    fail "the server was replaced $(remembered outages) times, not $1: $(journal)"
}

expect 0 systemctl start vram-swap.service
swap_is_on
lock_vram_to_the_end
cat /run/lockvram.out
[ "$(property NFileDescriptorStore)" = 5 ] ||
  fail "systemd keeps $(property NFileDescriptorStore) descriptors, not 5"

part=$(($(available) + 60))
fill $part random
echo "$part MiB filled, swapped: $(swapped) MiB"

step "another build"
program=$(command -v vram-swap)
old=$(vram-swap --version)
# As a package manager does: the new file takes the old one's place.
replace ()
{
  ! cmp -s "$1" "$2" || fail "$2: the same build"
  cp "$1" "$2.new"
  mv "$2.new" "$2"
}
replace "next/${plugin##*/}" "$plugin"
replace next/vram-swap "$program"
echo "from $old to $(vram-swap --version)"
kill -STOP $filler
daemon=$(property MainPID)
expect 0 systemctl reload vram-swap.service
replaced 1
kill -CONT $filler
grep -q "$(stat -c %i "$plugin") .*/${plugin##*/}\$" \
  "/proc/$(pgrep -x nbdkit)/maps" ||
  fail "the old build still runs: $(grep plugin.so "/proc/$(pgrep -x nbdkit)/maps" | head -n 1)"
within 20 eval \
  '[ "$(stat -Lc %i "/proc/$(property MainPID)/exe")" = "$(stat -c %i "$program")" ]' ||
  fail "the old daemon still runs: $(readlink "/proc/$(property MainPID)/exe")"
[ "$(property MainPID)" = "$daemon" ] || fail "the daemon is another process"
property_is NRestarts 0 || fail "systemd has restarted the daemon"
swap_is_on
expect 0 systemctl is-active vram-swap.service
expect 0 vram-swap status
said "outages:   1 time"
echo "$out"
# Both go on to be what they were.
kill -KILL "$(pgrep -x nbdkit)"
replaced 2

step "no program noticed"
sleep 5
kill $filler
wait $filler || fail "memfill: $(cat "/run/memfill.$filler")"
cat "/run/memfill.$filler"
dmesg | grep -E "I/O error|Read-error|Write-error|Out of memory" &&
  fail "the kernel met errors"

step "stop is the end"
expect 0 systemctl stop vram-swap.service
all_is_off
within 5 property_is NFileDescriptorStore 0 ||
  fail "systemd still keeps $(property NFileDescriptorStore) descriptors"

step "no other disk in the place of one that was given up under swap"
# Nothing is swapped out. systemd's descriptors are dropped, and server and
# daemon die.
expect 0 systemctl start vram-swap.service
swap_is_on
python3 - <<'END'
import mmap, os, struct
pid = int (os.popen ("systemctl show -P MainPID vram-swap.service").read ())
for fd in os.listdir ("/proc/%d/fd" % pid):
    path = "/proc/%d/fd/%s" % (pid, fd)
    if os.readlink (path).startswith ("/memfd:nbdkit-vram"):
        with open (path, "r+b") as f:
            f.seek (2048 + 8) # struct superblock_shared, ended
            f.write (struct.pack ("Q", 1))
END
daemon=$(property MainPID)
kill -KILL "$daemon" "$(pgrep -x nbdkit)"
within 30 eval '! property_is MainPID $daemon && ! property_is MainPID 0' ||
  fail "no other daemon"
state_becomes failed
swap_is_on
out=$(journal)
said "the server's disk is lost"
! pgrep -x nbdkit || fail "there is a server"
expect 0 systemctl stop vram-swap.service
all_is_off

if [ -d before ]; then
  step "from the version that had seven units"
  systemctl daemon-reload
  rm -rf /run/vram-swap
  cp -a before/. /
  rm -f /usr/local/lib/systemd/system/vram-swap-sleep@.service
  mkdir -p /etc/systemd/system/vram-swap-server.service.d
  cp /etc/systemd/system/vram-swap.service.d/stand-in.conf \
    /etc/systemd/system/vram-swap-server.service.d
  systemctl daemon-reload
  settings 'size = 256M' 'min-size = 256M' 'connections = 1' 'threads = 4' \
    'socket = /run/vram-swap/nbd.sock'
  expect 0 systemctl start vram-swap.service
  swap_is_on
  systemctl stop lockvram
  lock_vram_to_the_end
  fill $part random
  kill -STOP $filler
  echo "$part MiB filled, swapped: $(swapped) MiB"
  # What a package manager does.
  cp -a --remove-destination dest/. /
  rm -f /usr/local/lib/systemd/system/vram-swap-{server,policy,reconnect,sleep}.{service,timer}
  systemctl daemon-reload
  settings 'size = 256M' 'min-size = 256M' 'connections = 1' 'threads = 4'
  swap_is_on
  expect 0 vram-swap status
  said "kept by an earlier version"
  # It goes on as it was until it is told otherwise, and then refuses what
  # would lose something.
  expect 1 timeout 300 systemctl restart vram-swap.service
  journal | tail -n 12
  out=$(journal)
  said "kept by an earlier version"
  said "would fit elsewhere"
  swap_is_on
  kill -CONT $filler
  sleep 3
  kill $filler
  wait $filler || fail "memfill: $(cat "/run/memfill.$filler")"
  cat "/run/memfill.$filler"
  # With room it is emptied, and the new one takes its place.
  expect 0 timeout 300 systemctl restart vram-swap.service
  swap_is_on
  [ "$(pgrep -x nbdkit | wc -l)" = 1 ] || fail "servers: $(pgrep -x nbdkit)"
  expect 0 vram-swap status
  echo "$out" | head -3
  expect 0 systemctl stop vram-swap.service
  all_is_off
fi

[ "$failures" = 0 ] || journal
finish
