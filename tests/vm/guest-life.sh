# nbdkit-vram: without systemd the daemon switches swap on and off, also when
# programs are missing, fail or interfere
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
# Functions are called by within and expect:
# shellcheck disable=SC2317
. ./guest.sh
install_project

# Swap is on, or the daemon has ended.
swap_or_end ()
{
  grep -q nbd /proc/swaps || ! kill -0 "$daemon" 2>/dev/null
}

attach_when_busy ()
{
  step "the device works after it was attached on a very busy machine"
  # The kernel's fault that nbd_verify () is about. It does not occur each
  # time.
  settings 'connections = 4'
  nice -n -20 stress-ng --cpu 4 --timeout 100 >/dev/null 2>&1 &
  stress=$!
  sleep 1
  vram-swap daemon >>/run/daemon.log 2>&1 &
  daemon=$!
  renice -n -20 $daemon >/dev/null
  state_becomes on 100
  kill $stress
  wait $stress
  for cpu in 0 1; do
    expect 0 timeout 20 taskset -c $cpu dd if=/dev/nbd0 of=/dev/null bs=4k \
      count=1 iflag=direct
  done
  stop_daemon
  settings
}

# This takes long, because the kernel's own threads get hardly any CPU time.
if [ "$BUSY" = yes ]; then
  attach_when_busy
else
  echo "SKIP: life: attached on a very busy machine: only with BUSY=yes"
fi

step "each command works, and may be given twice"
expect 1 vram-swap up
said "the daemon is not running"
expect 0 vram-swap down
said "not on"
daemon
swap_is_on
[ "$(awk '$1 == "/dev/nbd0" { print $5 }' /proc/swaps)" = 1500 ] ||
  fail "priority"
[ "$(cat /sys/block/nbd0/queue/logical_block_size)" = 4096 ] ||
  fail "block size"
expect 1 vram-swap daemon
said "is already running"
expect 0 vram-swap up
swap_is_on
expect 0 vram-swap down
said "swap is off: /dev/nbd0"
all_is_off
expect 0 vram-swap down
expect 4 vram-swap status
said "VRAM swap: off"
expect 0 vram-swap up
said "swap is on: /dev/nbd0"
swap_is_on
stop_daemon

step "at rest the daemon has one child, the server, and does not wake up"
daemon
# Prints how often the daemon has waited.
switches ()
{
  awk '/^voluntary_ctxt/ { print $2 }' "/proc/$daemon/status"
}
sleep 5
before=$(switches)
sleep 20
echo "the daemon was woken up $(($(switches) - before)) times in 20 s;" \
  "its children: $(pgrep -P $daemon -l | paste -sd ,)"
[ "$(($(switches) - before))" = 0 ] || fail "the daemon does not rest"
[ "$(pgrep -P $daemon | wc -l)" = 1 ] ||
  fail "its children: $(pgrep -P $daemon -l)"
server=$(pgrep -x nbdkit)
grep -E '^(Uid|NoNewPrivs|CapEff|CapBnd):' "/proc/$server/status" |
  paste -sd ' '
[ "$(stat -c %U "/proc/$server")" = vram-swap ] ||
  fail "the server runs as $(stat -c %U "/proc/$server")"
grep -q '^NoNewPrivs:.1$' "/proc/$server/status" || fail "new privileges"
grep -q '^CapBnd:.0000000001004000$' "/proc/$server/status" ||
  fail "the bounding set"
for fd in "/proc/$server/fd"/*; do
  case $(readlink "$fd") in
    */server.lock) ;; # the next daemon finds the server by it
    *vram-swap/*) fail "the server has $fd: $(readlink "$fd")" ;;
  esac
done

step "status and test report what they find"
expect 1 vram-swap test
said "not possible in state 'on'; run 'vram-swap down' first"
expect 0 vram-swap status
said "VRAM swap: on"
said "<- this"
said "all of it locked, 0 B swapped out, IO_FLUSHER"
said "OOM score -1000"
echo "$out"
expect 0 vram-swap status --json
printf '%s\n' "$out" | python3 -c '
import json, sys
s = json.load (sys.stdin)
assert s["state"] == "on" and s["device"]["path"] == "/dev/nbd0", s
r = s["server"]
assert r["io_flushers"] == r["threads"] > 0 and r["locked"] > 0, r
assert r["generation"] == 1 and r["size"] == 64 << 20 and r["lost"] is False, r
' || fail "status --json: $out"
expect 0 vram-swap down
expect 0 vram-swap test
said "verified: 1.0 MiB"
all_is_off
expect 0 vram-swap test --fill
said "verified: 64.0 MiB"
all_is_off
stop_daemon
# Without a daemon.
expect 0 vram-swap test
said "verified: 1.0 MiB"
all_is_off

step "only root and the group vram-swap may make requests"
daemon
useradd -M member
useradd -M stranger
usermod -a -G vram-swap member
# ask USER REQUEST
ask ()
{
  setpriv --reuid "$1" --regid "$1" --init-groups python3 -c '
import socket, sys
s = socket.socket (socket.AF_UNIX)
s.connect ("/run/vram-swap/control")
s.sendall (sys.argv[1].encode () + b"\n")
print (s.makefile ().readline ())' "$2"
}
expect 0 ask member '{"request":"status"}'
said '"state":"on"'
expect 0 ask member '{"request":"stop"}'
said 'only root may do'
expect 1 ask stranger '{"request":"status"}'
said 'PermissionError'
for bad in '{"request":"nothing"}' '{}' 'nonsense' '[1]' \
  '{"request":"status","request":"stop"}'; do
  expect 0 ask root "$bad"
  said 'unknown request'
done
expect 0 ask root '{"request":"limit","size":1}'
said 'set elastic = yes'
swap_is_on

step "another program switches swap off: the daemon ends and says why"
for how in "swapoff /dev/nbd0" "swapoff -a"; do
  $how
  status=0
  wait $daemon || status=$?
  [ "$status" = 0 ] || fail "the daemon's status is $status"
  all_is_off
  expect 4 vram-swap status
  said "off: switched off by another program (swapoff)"
  daemon
done

step "another program detaches the device: the daemon ends and says why"
nbd-client -d /dev/nbd0 >/dev/null
status=0
wait $daemon || status=$?
[ "$status" = 0 ] || fail "the daemon's status is $status"
all_is_off
expect 4 vram-swap status
said "was detached by another program"

step "status and down work after the node was removed or renamed"
daemon
rm /dev/nbd0
expect 0 vram-swap status
said "VRAM swap: on"
expect 0 vram-swap down
all_is_off
mknod /dev/nbd0 b 43 0
expect 0 vram-swap up
mv /dev/nbd0 /dev/nbd0-renamed
expect 0 vram-swap status
said "VRAM swap: on"
stop_daemon
mv /dev/nbd0-renamed /dev/nbd0

step "the same after down and up"
daemon
expect 0 vram-swap down
expect 0 vram-swap up
swapoff /dev/nbd0 && swap_was_off=yes
wait $daemon
[ "${swap_was_off-}" = yes ] || fail "swapoff"
all_is_off

step "/run is full: swap is not switched on, and can be switched off"
# A file system of its own, so that the test's files have room.
mkdir -p /run/vram-swap
mount -t tmpfs -o size=64k,mode=755 none /run/vram-swap
dd if=/dev/zero of=/run/vram-swap/fill bs=4k 2>/dev/null
vram-swap daemon >>/run/daemon.log 2>&1 &
daemon=$!
status=0
wait $daemon || status=$?
[ "$status" = 1 ] || fail "the daemon's status is $status"
all_is_off
for left in 4 12 24; do
  rm -f /run/vram-swap/*
  dd if=/dev/zero of=/run/vram-swap/fill bs=1k count=$((64 - left)) 2>/dev/null
  vram-swap daemon >/run/out 2>&1 &
  daemon=$!
  within 10 swap_or_end || fail "neither on nor ended: $(cat /run/out)"
  if kill -0 $daemon 2>/dev/null; then
    stop_daemon
  else
    echo "$left KiB: $(grep error /run/out | head -n 1)"
    all_is_off
  fi
done
rm -f /run/vram-swap/*
daemon
dd if=/dev/zero of=/run/vram-swap/fill bs=4k 2>/dev/null
mv /usr/sbin/nbd-client /root
stop_daemon
mv /root/nbd-client /usr/sbin
umount /run/vram-swap

# fails WORDS [SECONDS]: the daemon does not start, and says WORDS.
fails ()
{
  expect 1 timeout "${2-60}" vram-swap daemon
  said "$1"
  all_is_off
}

step "the daemon says that nbd-client is missing"
mv /usr/sbin/nbd-client /root
fails "nbd-client is not installed"
mv /root/nbd-client /usr/sbin

step "the daemon says that nbdkit is missing"
mv /usr/bin/nbdkit /root
fails "nbdkit is not installed"
mv /root/nbdkit /usr/bin

step "the daemon says that the server's user is missing"
userdel vram-swap
fails "user 'vram-swap', which the server runs as, does not exist"
getent group vram-swap >/dev/null || groupadd --system vram-swap
useradd --system -g vram-swap vram-swap

step "the daemon says that the kernel's nbd driver is missing"
modprobe -r nbd
mv /lib/modules /lib/modules.away
fails "cannot load the nbd module"
mv /lib/modules.away /lib/modules

step "the daemon says that the nbd driver has no devices"
modprobe nbd nbds_max=0
fails "nbds_max=0"
modprobe -r nbd

step "the daemon says that there is less VRAM than min-size"
settings 'size = 16G' 'min-size = 8G'
fails "size"
# The daemon loads the nbd driver meanwhile, and does not leave it half loaded.
[ -e /sys/block/nbd15 ] || fail "the driver's devices: $(echo /sys/block/nbd*)"
settings

step "the daemon passes on the errors of mkswap and swapon"
fake ()
{
  mkdir -p /run/fake
  printf '#!/bin/sh\n%s\n' "$2" >"/run/fake/$1"
  chmod +x "/run/fake/$1"
}
real_path=$PATH

fake mkswap 'echo "mkswap: no" >&2; exit 1'
PATH=/run/fake:$real_path fails "mkswap: no"
fake mkswap 'exit 0' # without a signature swapon (2) refuses
PATH=/run/fake:$real_path fails "swapon /dev/nbd0: Invalid argument"
rm /run/fake/mkswap

step "the daemon refuses an nbd-client without netlink"
# shellcheck disable=SC2016
fake nbd-client 'exec /usr/sbin/nbd-client -nonetlink "$@"'
PATH=/run/fake:$real_path fails "not attached by netlink"
rm /run/fake/nbd-client

step "a device in use is not taken"
modprobe nbd
nbdkit -U /run/other.sock -P /run/other.pid null 1M
nbd-client -unix /run/other.sock /dev/nbd0 >/dev/null 2>&1
settings 'nbd-device = /dev/nbd0'
expect 1 vram-swap daemon
said "/dev/nbd0 is in use"
settings 'nbd-device = /dev/nbd99'
expect 1 vram-swap daemon
said "/dev/nbd99 does not exist"
settings
daemon
swap_is_on 1
expect 0 vram-swap down
[ -e /sys/block/nbd0/pid ] || fail "the other client's device was detached"
nbd-client -d /dev/nbd0 >/dev/null
kill "$(cat /run/other.pid)"
stop_daemon

step "the daemon gives up on a server that does not answer reads"
# shellcheck disable=SC2016
fake nbdkit 'exec /usr/bin/nbdkit "$1" "$2" "$3" "$4" "$5" --filter=delay \
  memory 64M rdelay=60'
PATH=/run/fake:$real_path fails "cannot be read" 100
rm /run/fake/nbdkit

step "the daemon undoes an interrupted start, and recovers after a killed one"
for signal in TERM KILL; do
  # nbdkit: while the daemon waits until the server has its VRAM.
  for program in modprobe nbdkit nbd-client mkswap; do
    modprobe -r nbd
    where=$(command -v $program)
    fake $program "touch /tmp/reached; sleep 2; exec $where \"\$@\""
    rm -f /tmp/reached
    PATH=/run/fake:$real_path vram-swap daemon >>/run/daemon.log 2>&1 &
    daemon=$!
    wait_for 30 test -e /tmp/reached
    kill -$signal $daemon
    status=0
    wait $daemon || status=$?
    rm /run/fake/$program
    if [ $signal = TERM ]; then
      all_is_off || echo "after $signal in $program"
    else
      sleep 3 # the program that it had started goes on
    fi
    daemon
    swap_is_on
    stop_daemon
  done
done

step "a command that is interrupted is undone"
daemon
expect 0 vram-swap down
where=$(command -v mkswap)
kill $daemon
wait $daemon
fake mkswap "touch /tmp/reached; sleep 5; exec $where \"\$@\""
PATH=/run/fake:$real_path vram-swap daemon >>/run/daemon.log 2>&1 &
daemon=$!
state_becomes on
expect 0 vram-swap down
rm -f /tmp/reached
vram-swap up >/run/out 2>&1 &
pid=$!
wait_for 30 test -e /tmp/reached
kill -INT $pid
status=0
wait $pid || status=$?
[ $status = 6 ] || fail "status $status: $(cat /run/out)"
state_becomes off
all_is_off
rm /run/fake/mkswap
stop_daemon

step "the daemon is killed: the next one goes on with the server and its swap"
daemon
server=$(pgrep -x nbdkit)
kill -KILL $daemon
wait $daemon 2>/dev/null
swap_is_on
daemon
[ "$(pgrep -x nbdkit)" = "$server" ] || fail "another server"
swap_is_on
expect 0 vram-swap status
echo "$out" | head -n 3
stop_daemon

step "the next daemon finds the swap without the state file"
daemon
kill -KILL $daemon
wait $daemon 2>/dev/null
rm /run/vram-swap/state
vram-swap daemon >>/run/daemon.log 2>&1 &
daemon=$!
state_becomes on
stop_daemon

step "two commands at once switch on one swap"
daemon
expect 0 vram-swap down
vram-swap up >/run/out1 2>&1 &
first=$!
vram-swap up >/run/out2 2>&1 &
second=$!
wait $first || wait $second || fail "$(cat /run/out1 /run/out2)"
state_becomes on
[ "$(grep -c nbd /proc/swaps)" = 1 ] || fail "two swaps: $(cat /proc/swaps)"
stop_daemon

step "swap can be switched on and off while CPUs go offline and return"
if [ -e /sys/devices/system/cpu/cpu1/online ]; then
  settings 'connections = auto'
  daemon
  expect 0 vram-swap down
  echo 0 >/sys/devices/system/cpu/cpu1/online
  expect 0 timeout 120 vram-swap up
  said "2 connections"
  expect 0 timeout 60 vram-swap down
  echo 1 >/sys/devices/system/cpu/cpu1/online
  expect 0 timeout 120 vram-swap up
  grep nbd /proc/swaps || fail "swap is not on"
  expect 0 timeout 60 vram-swap down
  expect 0 timeout 120 vram-swap up
  expect 0 vram-swap status
  stop_daemon
  settings
fi

step "a device that the kernel does not release is left alone"
# Its number of queues changes while a CPU is offline. After that the kernel
# waits for ever for a request of that CPU.
if [ -e /sys/devices/system/cpu/cpu1/online ]; then
  settings 'connections = 2'
  daemon
  expect 0 vram-swap down
  settings 'connections = 1'
  expect 0 vram-swap reload
  echo 0 >/sys/devices/system/cpu/cpu1/online
  expect 0 timeout 120 vram-swap up
  expect 0 timeout 60 vram-swap down
  echo 1 >/sys/devices/system/cpu/cpu1/online
  settings 'connections = 2'
  expect 0 vram-swap reload
  expect 0 timeout 120 vram-swap up
  echo "$out"
  grep nbd /proc/swaps || fail "swap is not on"
  expect 0 timeout 60 vram-swap down
  kill -TERM $daemon
  status=0
  wait $daemon || status=$?
  [ "$status" = 0 ] || fail "the daemon ended with $status"
  # The shutdown would wait for that device, too.
  (sleep 20; echo o >/proc/sysrq-trigger) >/dev/null 2>&1 &
fi

dmesg | grep -E "nbd.*(error|timed out)|I/O error" | head -5
[ "$failures" = 0 ] || tail -n 60 /run/daemon.log
finish
