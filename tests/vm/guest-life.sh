# nbdkit-vram: vram-swap's life without systemd: up, down, and all that can be missing
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project

attach_when_busy ()
{
  step "attached while the machine is too busy to make threads"
  # The kernel's trouble that nbd_verify () is about; it does not come each time.
  settings 'connections = 4'
  nice -n -20 stress-ng --cpu 4 --timeout 100 >/dev/null 2>&1 &
  stress=$!
  sleep 1
  expect 0 nice -n -20 vram-swap up
  echo "$out"
  kill $stress
  wait $stress
  for cpu in 0 1; do
    expect 0 timeout 20 taskset -c $cpu dd if=/dev/nbd0 of=/dev/null bs=4k count=1 iflag=direct
  done
  expect 0 vram-swap down
  all_is_off
  settings
}

# The kernel's own threads get next to nothing of the CPUs then, and it takes a while.
if [ "$BUSY" = yes ]; then
  attach_when_busy
else
  echo "SKIP: life: attached while the machine is too busy to make threads: only with BUSY=yes"
fi

step "a working life, each command twice"
expect 0 vram-swap up
said "swap is on: /dev/nbd0"
swap_is_on
[ "$(awk '$1 == "/dev/nbd0" { print $5 }' /proc/swaps)" = 1500 ] || fail "priority"
[ "$(cat /sys/block/nbd0/queue/logical_block_size)" = 4096 ] || fail "block size"
expect 0 vram-swap up
said "already"
expect 0 vram-swap down
all_is_off
expect 0 vram-swap down
said "not on"

step "status and test"
expect 4 vram-swap status
said "VRAM swap: down"
expect 0 vram-swap test
said "verified: 1.0 MiB"
all_is_off
expect 0 vram-swap test --fill
said "verified: 64.0 MiB"
all_is_off
expect 0 vram-swap up
expect 1 vram-swap test
said "swap is on"
expect 0 vram-swap status
said "VRAM swap: up"
said "<- this"
said "all of it locked, 0 B swapped out, IO_FLUSHER"
said "OOM score -1000"
echo "$out"
expect 0 vram-swap status --json
printf '%s\n' "$out" | python3 -c '
import json, sys
s = json.load (sys.stdin)
assert s["state"] == "up" and s["device"]["path"] == "/dev/nbd0", s
r = s["server"]
assert r["io_flushers"] == r["threads"] > 0 and r["locked"] > 0, r
assert s["device"]["errors"] == 0, s
' || fail "status --json: $out"
expect 0 vram-swap down

step "bench, beside another swap, which is only read"
dd if=/dev/zero of=/swapfile bs=1M count=64 status=none
chmod 600 /swapfile
mkswap /swapfile >/dev/null
swapon -p 1 /swapfile
sum=$(sha256sum </swapfile)
expect 0 vram-swap bench
echo "$out"
said "VRAM /dev/nbd0"
said "one 4K read a second"
[ "$(printf '%s\n' "$out" | grep -c '^/swapfile ')" = 3 ] || fail "/swapfile is not in each table"
[ "$(sha256sum </swapfile)" = "$sum" ] || fail "bench wrote to another swap"
all_is_off
swapoff /swapfile
rm /swapfile
expect 0 vram-swap up
expect 1 vram-swap bench
said "swap is on"
swap_is_on
expect 0 vram-swap down

step "nbd-client is missing"
mv /usr/sbin/nbd-client /root
expect 1 vram-swap up
said "nbd-client is not installed"
mv /root/nbd-client /usr/sbin
all_is_off

step "nbdkit is missing"
mv /usr/sbin/nbdkit /root 2>/dev/null || mv /usr/bin/nbdkit /root
expect 1 vram-swap up
said "nbdkit is not installed"
mv /root/nbdkit /usr/sbin
all_is_off

step "the kernel's driver is missing"
modprobe -r nbd
mv /lib/modules /lib/modules.away
expect 1 vram-swap up
said "nbd driver is not there"
mv /lib/modules.away /lib/modules
all_is_off

step "the server cannot allocate"
settings 'size = 16G' 'min-size = 8G'
expect 1 vram-swap up
said "the server's last words"
said "size"
all_is_off

step "mkswap fails, swapon fails"
settings
fake ()
{
  mkdir -p /root/fake
  printf '#!/bin/sh\n%s\n' "$2" >"/root/fake/$1"
  chmod +x "/root/fake/$1"
}
real_path=$PATH

# begin_up: 'up' goes on in the background, $pid, with what has been faked, when a fake has said that it was reached.
begin_up ()
{
  rm -f /run/reached
  PATH=/root/fake:$real_path vram-swap up >/run/out 2>&1 &
  pid=$!
  until [ -e /run/reached ] || ! kill -0 $pid; do
    sleep 0.05
  done
}

fake mkswap 'echo "mkswap: no" >&2; exit 1'
PATH=/root/fake:$real_path expect 1 vram-swap up
said "mkswap: no"
all_is_off
fake mkswap 'exit 0' # writes no signature, so that swapon (2) refuses
PATH=/root/fake:$real_path expect 1 vram-swap up
said "swapon /dev/nbd0: Invalid argument"
all_is_off
rm /root/fake/mkswap

step "the device is taken"
modprobe nbd
nbdkit -U /run/other.sock -P /run/other.pid null 1M
nbd-client -unix /run/other.sock /dev/nbd0 >/dev/null 2>&1
settings 'nbd-device = /dev/nbd0'
expect 1 vram-swap up
said "/dev/nbd0 is in use"
settings 'nbd-device = /dev/nbd99'
expect 1 vram-swap up
said "no /dev/nbd99"
settings
expect 0 vram-swap up
swap_is_on 1
expect 0 vram-swap down
[ -e /sys/block/nbd0/pid ] || fail "the other client's device was detached"
nbd-client -d /dev/nbd0 >/dev/null
kill "$(cat /run/other.pid)"
wait_for 20 ended nbdkit

step "what answers on the socket is no NBD server"
settings 'socket = /run/other-server.sock'
socat UNIX-LISTEN:/run/other-server.sock,fork SYSTEM:'echo hello to all of you who have come here' &
wait_for 20 test -S /run/other-server.sock
expect 1 vram-swap up
said "not an NBD server"
kill $!
settings
all_is_off

step "a server that never answers reads"
# shellcheck disable=SC2016
fake nbdkit 'exec /usr/sbin/nbdkit "$1" "$2" "$3" "$4" "$5" --filter=delay memory 64M rdelay=60'
PATH=/root/fake:$real_path expect 1 timeout 100 vram-swap up
said "cannot be read"
all_is_off

step "interrupted while such a one is attached anew"
# shellcheck disable=SC2016
fake nbd-client 'if [ "$1" = -d ]; then touch /run/reached; sleep 2; fi; exec /usr/sbin/nbd-client "$@"'
begin_up
kill -INT $pid
status=0
wait $pid || status=$?
[ $status = 6 ] || fail "status $status: $(cat /run/out)"
rm /root/fake/nbdkit /root/fake/nbd-client
all_is_off

step "interrupted in each step, then all is as before; killed, then 'up' recovers"
for signal in INT TERM KILL; do
  # nbdkit: while 'up' waits for the server's VRAM.
  for program in modprobe nbdkit nbd-client mkswap; do
    modprobe -r nbd
    where=$(command -v $program)
    fake $program "touch /run/reached; sleep 2; exec $where \"\$@\""
    begin_up
    kill -$signal $pid
    status=0
    wait $pid || status=$?
    rm /root/fake/$program
    if [ $signal = KILL ]; then
      sleep 3 # what it had started goes on
    else
      [ $status = 6 ] || fail "$signal in $program: status $status: $(cat /run/out)"
      sleep 0.3
      all_is_off
    fi
    expect 0 vram-swap up
    swap_is_on
    expect 0 vram-swap down
    all_is_off
  done
done

step "interrupted and killed in swapon: it is on or all is as before"
# Discarding the whole device takes its time there.
settings 'discard = once' 'plugin-args = --filter=delay delay-trim=4'
for signal in INT TERM KILL; do
  where=$(command -v mkswap)
  fake mkswap "$where \"\$@\" && touch /run/reached"
  begin_up
  rm /root/fake/mkswap
  sleep 1
  ! grep -q nbd /proc/swaps || fail "swapon has not been slow"
  kill -$signal $pid
  status=0
  wait $pid || status=$?
  echo "$signal: status $status, $(grep -c nbd /proc/swaps) swaps"
  case $status in
    0) swap_is_on ;;
    6) all_is_off ;;
    137) ;;
    *) fail "$signal in swapon: status $status: $(cat /run/out)" ;;
  esac
  expect 0 vram-swap up
  swap_is_on
  expect 0 vram-swap down
  all_is_off
done
settings

step "forgotten, but found again"
expect 0 vram-swap up
rm /run/vram-swap.state
expect 0 vram-swap up
said "already"
expect 0 vram-swap down
! grep -q nbd /proc/swaps || fail "swap is on"
pkill -x vram-swap # whose it is was forgotten, too; only what keeps a server ends it
wait_for 20 ended nbdkit

step "two at once"
vram-swap up >/run/out1 2>&1 &
first=$!
vram-swap up >/run/out2 2>&1 &
second=$!
wait $first || fail "$(cat /run/out1)"
wait $second || fail "$(cat /run/out2)"
swap_is_on
[ "$(grep -c nbd /proc/swaps)" = 1 ] || fail "two swaps: $(cat /proc/swaps)"
expect 0 vram-swap down
all_is_off

dmesg | grep -E "nbd.*(error|timed out)|I/O error" | head -5
finish
