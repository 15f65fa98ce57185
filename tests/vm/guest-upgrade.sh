# nbdkit-vram: under systemd: the server, and what keeps it, are killed and upgraded while swap is in use
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh disable=SC2317 # called by within and wait_for
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=300M
settings 'size = 256M' 'min-size = 256M' 'connections = 1' 'threads = 4'

property ()
{
  systemctl show -P "$1" vram-swap-server.service
}

property_is ()
{
  [ "$(property "$1")" = "$2" ]
}

outages ()
{
  sed -n 's/^count=//p' /run/vram-swap.outages
}

outages_reach ()
{
  [ "$(outages)" -ge "$1" ]
}

# replaced N: wait until the kernel was given new connections N times.
replaced ()
{
  within 60 outages_reach "$1" ||
    fail "the server was replaced $(outages) times, not $1: $(journal)"
}

expect 0 systemctl start vram-swap.service
swap_is_on
lock_vram "$(property MainPID)"
cat /run/lockvram.out
[ "$(property NFileDescriptorStore)" = 5 ] || fail "systemd keeps $(property NFileDescriptorStore) descriptors, not 5"

part=$(($(available) + 60))
fill $part random
echo "$part MiB filled, swapped: $(swapped) MiB"

step "the server is killed"
kill -KILL "$(pgrep -x nbdkit)"
replaced 1
[ "$(property NRestarts)" = 0 ] || fail "systemd had to start it again"

step "what keeps it is killed"
kill -STOP $filler
kill -KILL "$(property MainPID)"
replaced 2
[ "$(property NRestarts)" = 1 ] || fail "systemd started it again $(property NRestarts) times"
lock_vram "$(property MainPID)"
kill -CONT $filler

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
expect 0 systemctl restart vram-swap-server.service
replaced 3
lock_vram "$(property MainPID)"
kill -CONT $filler
grep -q "$(stat -c %i "$plugin") .*/${plugin##*/}\$" "/proc/$(pgrep -x nbdkit)/maps" ||
  fail "the old build still runs: $(grep plugin.so "/proc/$(pgrep -x nbdkit)/maps" | head -n 1)"
swap_is_on
expect 0 systemctl is-active vram-swap.service
expect 0 vram-swap status
said "outages:   3 times"
echo "$out"

step "nobody noticed"
sleep 5
kill $filler
wait $filler || fail "memfill: $(cat /run/memfill.$filler)"
cat "/run/memfill.$filler"
dmesg | grep -E "I/O error|Read-error|Write-error|Out of memory" && fail "the kernel met errors"

step "stop is the end"
expect 0 systemctl stop vram-swap.service
server_is_gone
all_is_off
within 5 property_is NFileDescriptorStore 0 || fail "systemd still keeps $(property NFileDescriptorStore) descriptors"

# is_failed: wait until the server's unit is.
is_failed ()
{
  within 30 property_is ActiveState failed ||
    fail "the server's unit is $(property ActiveState): $(journal)"
}

step "no other disk in the place of one that was given up under swap"
# Nothing is swapped out. The main process is what may end the disk, and is told to; the server does not get round to it.
expect 0 systemctl start vram-swap.service
swap_is_on
kill -TERM "$(property MainPID)"
sleep 1
kill -KILL "$(pgrep -x nbdkit)"
is_failed
systemctl reset-failed vram-swap-server.service
systemctl start vram-swap-server.service
is_failed
swap_is_on
out=$(journal)
said "swap is on, on /dev/nbd0, and its disk is not there any more"
! pgrep -x nbdkit || fail "there is a server"

[ "$failures" = 0 ] || journal
finish
