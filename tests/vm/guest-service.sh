# nbdkit-vram: under systemd the service starts, stops, reloads, follows its
# policies, survives sleep, and fails with a reason
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
# Functions and expressions are evaluated by within and wait_for:
# shellcheck disable=SC2016,SC2317
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=2G

look ()
{
  expect 0 vram-swap look
}

step "systemctl enable --now switches swap on"
expect 0 systemctl enable --now vram-swap.service || journal
swap_is_on
expect 0 vram-swap status
said "OOM score -1000"
echo "$out"
pid=$(pgrep -x nbdkit)
[ "$(stat -c %U "/proc/$pid")" = vram-swap ] ||
  fail "the server runs as $(stat -c %U "/proc/$pid")"
[ "$(head -c 7 "/proc/$pid/cmdline")" = @nbdkit ] ||
  fail "its name does not begin with @"
[ "$(field VmLck "/proc/$pid/status")" -gt 0 ] || fail "it has locked nothing"
[ "$(stat -c '%a %U' /run/vram-swap/server)" = "700 vram-swap" ] ||
  fail "$(stat -c '%a %U' /run/vram-swap/server)"
[ "$(stat -c '%a %U %G' /run/vram-swap/control)" = "660 root vram-swap" ] ||
  fail "$(ls -l /run/vram-swap)"
grep -E '^(NoNewPrivs|Seccomp|CapEff|CapBnd):' "/proc/$pid/status" |
  paste -sd ' '
systemd-analyze --no-pager security vram-swap.service | tail -1
for sleep in suspend hibernate hybrid-sleep suspend-then-hibernate; do
  requires=/etc/systemd/system/systemd-$sleep.service.requires
  [ -L "$requires/vram-swap-sleep@$sleep.service" ] ||
    fail "not before $sleep: $(find /etc/systemd/system -name '*vram-swap*')"
done
[ "$(cat /sys/fs/cgroup/init.scope/memory.swap.max)" = 0 ] ||
  fail "PID 1 may be swapped out"

step "reload says when each setting counts, and replaces the server"
settings 'priority = 7' 'power-policy = down-on-battery'
expect 0 systemctl reload vram-swap.service
out=$(journal)
said "priority: 1500 -> 7: takes effect after"
said "power-policy: keep -> down-on-battery: takes effect now"
[ "$(pgrep -x nbdkit)" != "$pid" ] || fail "the server is the old one"
swap_is_on

step "stop works although nbd-client is missing"
mv /usr/sbin/nbd-client /root
expect 0 systemctl stop vram-swap.service
mv /root/nbd-client /usr/sbin
all_is_off
[ "$(property NFileDescriptorStore)" = 0 ] ||
  fail "systemd keeps $(property NFileDescriptorStore) descriptors"
[ "$(cat /sys/fs/cgroup/init.scope/memory.swap.max)" = max ] ||
  fail "PID 1 is still kept out of swap"

step "the next start uses the new settings"
expect 0 systemctl start vram-swap.service
[ "$(awk '$1 ~ "nbd" { print $5 }' /proc/swaps)" = 7 ] ||
  fail "$(cat /proc/swaps)"

step "a typo in the configuration prevents a start, but not a stop"
echo "prio = 1" >>"$conf"
expect 0 vram-swap status
said "unknown key 'prio'"
expect 0 systemctl stop vram-swap.service
all_is_off
expect 1 systemctl start vram-swap.service
all_is_off
settings
expect 0 systemctl start vram-swap.service
swap_is_on

step "systemctl isolate leaves swap on"
# The target that the machine has started, and this test's own service.
systemctl add-wants multi-user.target vm-agent.service
expect 0 systemctl isolate multi-user.target
sleep 2
swap_is_on
[ "$(property ActiveState)" = active ] ||
  fail "the service is $(property ActiveState)"

step "another program switches swap off: the service ends and says why"
expect 0 systemctl stop dev-nbd0.swap
within 20 eval '[ "$(property ActiveState)" = inactive ]' ||
  fail "the service is $(property ActiveState)"
all_is_off
expect 4 vram-swap status
said "switched off by another program"
expect 0 systemctl start vram-swap.service
swap_is_on

step "up works at once after down"
for _ in 1 2 3; do
  expect 0 bash -c "vram-swap down && vram-swap up"
  swap_is_on
done

step "a server that is late is ended, and a stop need not wait for it"
expect 0 systemctl stop vram-swap.service
# The GPU does not answer while this file exists.
use_stand_in STANDIN_CUDA_MEMORY=2G STANDIN_CUDA_HANG_FILE=/run/hang
settings 'gpu-timeout = 1s' 'start-timeout = 5s'
touch /run/hang
expect 1 timeout 300 systemctl start vram-swap.service
all_is_off
[ "$(property ActiveState)" = failed ] || fail "$(systemctl status vram-swap)"
settings 'gpu-timeout = 1s' 'start-timeout = 10min'
systemctl start --no-block vram-swap.service
wait_for 30 eval 'pgrep -x nbdkit >/dev/null'
sleep 1
expect 0 timeout 300 systemctl stop vram-swap.service
all_is_off
rm /run/hang
settings
use_stand_in STANDIN_CUDA_MEMORY=2G
systemctl reset-failed vram-swap.service
expect 0 systemctl start vram-swap.service
swap_is_on

step "the idle policy ends the server, and starts it again"
settings 'idle-down = 1'
expect 0 systemctl reload vram-swap.service
state_becomes paused
all_is_off
expect 4 vram-swap status
said "paused by the idle policy"
[ "$(property StatusText)" = paused ] ||
  fail "systemd says $(property StatusText)"
settings
expect 0 systemctl reload vram-swap.service
look
state_becomes on
swap_is_on

step "down during a pause keeps swap off when the pause ends"
settings 'idle-down = 1'
expect 0 systemctl reload vram-swap.service
state_becomes paused
expect 0 vram-swap down
settings
expect 0 systemctl reload vram-swap.service
look
sleep 2
state_becomes off
all_is_off
expect 0 vram-swap up
swap_is_on

step "the power policy pauses on battery, and ends the pause on mains"
# What the kernel shows of a laptop. It must be there when the daemon starts.
expect 0 systemctl stop vram-swap.service
mount -t tmpfs none /sys/class/power_supply
supply ()
{
  mkdir -p "/sys/class/power_supply/$1"
  printf '%s\n' "$2" >"/sys/class/power_supply/$1/$3"
}
supply AC Mains type
supply AC 1 online
supply BAT0 Battery type
supply BAT0 Charging status
supply BAT0 80 capacity
settings 'power-policy = down-on-battery'
expect 0 systemctl start vram-swap.service
look
swap_is_on
supply AC 0 online
supply BAT0 Discharging status
look
state_becomes paused
all_is_off
expect 4 vram-swap status
said "paused by the power policy"
look
all_is_off
supply AC 1 online
supply BAT0 Charging status
look
state_becomes on
swap_is_on
settings 'power-policy = down-below=20%'
expect 0 systemctl reload vram-swap.service
supply AC 0 online
supply BAT0 Discharging status
look
swap_is_on
supply BAT0 19 capacity
look
state_becomes paused
all_is_off
step "down during the pause keeps swap off when power is back"
expect 0 vram-swap down
supply AC 1 online
supply BAT0 Charging status
look
sleep 2
all_is_off
expect 0 vram-swap up
swap_is_on

step "the kernel's power events are enough, and only the kernel's count"
settings 'power-policy = down-on-battery'
expect 0 systemctl reload vram-swap.service
supply AC 0 online
supply BAT0 Discharging status
# An event that another program has sent.
python3 - <<'END'
import socket
s = socket.socket (socket.AF_NETLINK, socket.SOCK_RAW, 15)
s.bind ((0, 0))
s.sendto (b"change@/x\0ACTION=change\0SUBSYSTEM=power_supply\0", (0, 1))
END
sleep 2
swap_is_on
if modprobe test_power 2>/dev/null; then
  echo off >/sys/module/test_power/parameters/ac_online
  state_becomes paused
  all_is_off
else
  echo "SKIP: service: power events: this kernel has no test_power"
  look
  state_becomes paused
fi
supply AC 1 online
supply BAT0 Charging status
settings
expect 0 systemctl reload vram-swap.service
look
state_becomes on
umount /sys/class/power_supply

step "swap is off during sleep, and on again afterwards"
# In the place of the units that let the machine sleep.
cat >/run/asleep.sh <<'END'
sleep 1
grep nbd /proc/swaps >/run/while-asleep
pgrep -x nbdkit >>/run/while-asleep
vram-swap up >/run/up-while-asleep 2>&1
exit 0
END
for sleep in suspend hibernate hybrid-sleep suspend-then-hibernate; do
  cat >/run/systemd/system/systemd-$sleep.service <<'END'
[Unit]
DefaultDependencies=no
Requires=sleep.target
After=sleep.target
[Service]
Type=oneshot
ExecStart=sh /run/asleep.sh
END
done
systemctl daemon-reload

sleep_is_over ()
{
  systemctl show -P ActiveState "vram-swap-sleep@$1.service" |
    grep -qE '^(inactive|failed)$'
}

# nap STATUS [SLEEP]: lets the machine sleep and wake up, which must end with
# this status.
nap ()
{
  rm -f /run/while-asleep
  expect "$1" systemctl start "systemd-${2-suspend}.service"
  wait_for 30 sleep_is_over "${2-suspend}"
}
for sleep in suspend hibernate hybrid-sleep suspend-then-hibernate; do
  nap 0 $sleep
  [ -e /run/while-asleep ] || fail "it did not sleep"
  [ ! -s /run/while-asleep ] || fail "while asleep: $(cat /run/while-asleep)"
  grep -q "not possible in state 'paused'" /run/up-while-asleep ||
    fail "up while asleep: $(cat /run/up-while-asleep)"
  state_becomes on
  swap_is_on
done

step "swap stays off when memory gets short just before the machine sleeps"
settings 'idle-down = 1'
expect 0 systemctl reload vram-swap.service
state_becomes paused
expect 0 vram-swap sleep pre suspend
[ "$(status cause)" = sleep ] || fail "paused by $(status cause)"
settings
expect 0 systemctl reload vram-swap.service
look
sleep 2
all_is_off
expect 0 vram-swap sleep post
state_becomes on

step "sleep-policy = keep leaves swap on, but not during hibernation"
settings 'sleep-policy = keep'
expect 0 systemctl reload vram-swap.service
nap 0
grep -q nbd0 /run/while-asleep || fail "not kept"
nap 0 hibernate
[ ! -s /run/while-asleep ] || fail "while asleep: $(cat /run/while-asleep)"
state_becomes on
settings
expect 0 systemctl reload vram-swap.service

step "swap that could not be switched on after sleep is switched on later"
expect 0 vram-swap sleep pre suspend
mv /usr/sbin/nbd-client /root
expect 0 vram-swap sleep post
within 30 eval '[ "$(status reason)" = "could not be switched on" ]' ||
  fail "$(vram-swap status)"
all_is_off
mv /root/nbd-client /usr/sbin
look
state_becomes on

step "the machine does not sleep when the swapped data does not fit in RAM"
# The spare memory would be enough for it.
settings 'spare = 0'
expect 0 systemctl reload vram-swap.service
within 10 eval '[ "$(status memory.spare)" = 0 ]' || fail "there is spare RAM"
lock_vram "$(pgrep -x nbdkit)"
# Leave less than must stay free, but enough for this test, and swap some.
cp memfill /run/memfill
amount=$(($(available) - 40))
expect 0 systemd-run -q --unit=program \
  -p StandardOutput=file:/run/memfill.out /run/memfill $amount
wait_for 60 grep -qs filled /run/memfill.out
systemctl kill -s STOP program.service
echo 20M >/sys/fs/cgroup/system.slice/program.service/memory.reclaim
echo "$(grep nbd /proc/swaps), $(grep MemAvailable /proc/meminfo)"
nap 1
[ ! -e /run/while-asleep ] || fail "it slept"
journalctl -q --no-pager -o cat -u 'vram-swap-sleep@*' |
  grep -q "not sleeping, because" || fail "$(journal)"
swap_is_on
systemctl kill -s CONT program.service
systemctl stop program.service
grep -q " 0 wrong words" /run/memfill.out ||
  fail "memfill: $(cat /run/memfill.out)"

step "a server without VRAM fails the service, with the reason in the journal"
expect 0 systemctl stop vram-swap.service
settings 'size = 16G' 'min-size = 8G'
expect 1 timeout 60 systemctl start vram-swap.service
all_is_off
journal | grep -q "is more than the 2 GiB of VRAM" ||
  fail "no reason in: $(journal)"
settings

step "disable --now switches swap off and removes the links"
systemctl reset-failed
expect 0 systemctl start vram-swap.service
expect 0 systemctl disable --now vram-swap.service
all_is_off
expect 1 systemctl is-enabled vram-swap.service
[ -z "$(find /etc/systemd/system -name 'vram-swap*' -type l)" ] ||
  fail "$(find /etc/systemd/system -name 'vram-swap*')"
expect 3 systemctl is-active vram-swap.service

[ "$failures" = 0 ] || journal
finish
