# nbdkit-vram: under systemd another build replaces this one while swap is in
# use, and this one replaces the version with seven units
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
# Functions and expressions are evaluated by within and wait_for:
# shellcheck disable=SC2016,SC2317
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=300M
settings 'size = 256M' 'min-size = 256M' 'connections = 1' 'threads = 4'

property_is ()
{
  [ "$(property "$1")" = "$2" ]
}

# replaced N: waits until the kernel has been given new connections N times.
replaced ()
{
  within 60 outages_are "$1" ||
    fail "replaced $(remembered outages) times, not $1: $(journal)"
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

step "reload replaces server and daemon by another build"
program=$(command -v vram-swap)
old=$(vram-swap --version)
# replace NEW OLD: renames a copy of NEW to OLD, as a package manager does.
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
maps=/proc/$(pgrep -x nbdkit)/maps
grep -q "$(stat -c %i "$plugin") .*/${plugin##*/}\$" "$maps" ||
  fail "the old build still runs: $(grep -m 1 plugin.so "$maps")"
new_daemon_runs ()
{
  [ "/proc/$(property MainPID)/exe" -ef "$program" ]
}
within 20 new_daemon_runs ||
  fail "the old daemon still runs: $(readlink "/proc/$(property MainPID)/exe")"
[ "$(property MainPID)" = "$daemon" ] || fail "the daemon is another process"
property_is NRestarts 0 || fail "systemd has restarted the daemon"
swap_is_on
expect 0 systemctl is-active vram-swap.service
expect 0 vram-swap status
said "outages:   1 time"
echo "$out"
# The new daemon replaces the new server after its death.
kill -KILL "$(pgrep -x nbdkit)"
replaced 2

step "no program noticed"
sleep 5
unnoticed "$filler"
dmesg | grep "Out of memory" && fail "a program was killed"

step "a stop leaves nothing behind"
expect 0 systemctl stop vram-swap.service
all_is_off
within 5 property_is NFileDescriptorStore 0 ||
  fail "systemd still keeps $(property NFileDescriptorStore) descriptors"

step "a disk that has ended is not replaced by another under swap"
# Nothing is swapped out. The disk is marked as ended, and server and daemon
# die.
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
  step "this version replaces the one with seven units"
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
  # That version does not know this key.
  sed -i '/^elastic/d' "$conf"
  expect 0 systemctl start vram-swap.service
  swap_is_on
  systemctl stop lockvram
  lock_vram_to_the_end
  fill $part random
  kill -STOP $filler
  echo "$part MiB filled, swapped: $(swapped) MiB"
  # Replace the files as make install does. That version was in sbin.
  cp -a --remove-destination dest/. /
  rm -f /usr/local/sbin/vram-swap
  units=/usr/local/lib/systemd/system
  rm -f $units/vram-swap-{server,policy,reconnect,sleep}.{service,timer}
  systemctl daemon-reload
  settings 'size = 256M' 'min-size = 256M' 'connections = 1' 'threads = 4'
  swap_is_on
  expect 0 vram-swap status
  said "kept by an earlier version"
  # The old swap stays on until a restart, which refuses to lose data.
  expect 1 timeout 300 systemctl restart vram-swap.service
  journal | tail -n 12
  out=$(journal)
  said "an earlier version of vram-swap has swap on"
  said "would fit elsewhere"
  swap_is_on
  kill -CONT $filler
  sleep 3
  kill $filler
  wait $filler || fail "memfill: $(cat "/run/memfill.$filler")"
  cat "/run/memfill.$filler"
  # Now the data fits elsewhere, and the new version replaces the old one.
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
