# nbdkit-vram: the service under systemd: start, stop, policies, sleep, failure
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=2G

policy ()
{
  expect 0 systemctl start vram-swap-policy.service
}

step "enable --now is all"
expect 0 systemctl enable --now vram-swap.service || journal
swap_is_on
expect 0 vram-swap status
said "OOM score -1000"
echo "$out"
pid=$(pgrep -x nbdkit)
user=$(stat -c %u "/proc/$pid")
[ "$user" != 0 ] || fail "the server runs as root"
[ "$(head -c 7 "/proc/$pid/cmdline")" = @nbdkit ] || fail "its name does not begin with @"
[ "$(awk '$1 == "VmLck:" { print $2 }' "/proc/$pid/status")" -gt 0 ] || fail "it has locked nothing"
[ "$(stat -c '%a %u' /run/vram-swap)" = "700 $user" ] || fail "$(stat -c '%a %u' /run/vram-swap), not $user"
expect 0 systemctl is-active vram-swap-policy.timer
expect 0 systemctl is-enabled vram-swap-sleep.service
systemd-analyze --no-pager security vram-swap-server.service | tail -1

step "reload says what counts when"
settings 'priority = 7' 'power-policy = down-on-battery'
expect 0 systemctl reload vram-swap.service
journal | grep -q "priority: 1500 -> 7: counts after" || fail "$(journal)"
journal | grep -q "power-policy: keep -> down-on-battery: counts from now on" || fail "$(journal)"

step "stop is stop"
expect 0 systemctl stop vram-swap.service
server_is_gone
all_is_off
expect 1 systemctl start vram-swap-policy.service
all_is_off

step "a new start takes the new settings"
expect 0 systemctl start vram-swap.service
[ "$(awk '$1 ~ "nbd" { print $5 }' /proc/swaps)" = 7 ] || fail "$(cat /proc/swaps)"

step "stopping the server alone empties it first"
expect 0 systemctl stop vram-swap-server.service
server_is_gone
all_is_off
policy
all_is_off
expect 0 vram-swap up
swap_is_on

step "idle: down, server and all, and up again"
settings 'idle-down = 1'
policy
sleep 2
policy
server_is_gone
all_is_off
expect 4 vram-swap status
said "paused by the idle policy"
settings
policy
swap_is_on

step "idle and paused, then stopped by hand"
settings 'idle-down = 1'
policy
sleep 2
policy
server_is_gone
expect 0 systemctl stop vram-swap.service
settings
expect 1 systemctl start vram-swap-policy.service
all_is_off
expect 0 systemctl start vram-swap.service
swap_is_on

step "the cable is pulled, the battery runs down, the cable is back"
# What the kernel would show of a laptop.
mount -t tmpfs none /sys/class/power_supply
supply ()
{
  mkdir -p "/sys/class/power_supply/$1"
  printf '%s\n' "$2" >"/sys/class/power_supply/$1/$3"
}
supply AC Mains type
supply AC 1 online
supply BAT0 Battery type
supply BAT0 Discharging status
supply BAT0 80 capacity
settings 'power-policy = down-on-battery'
policy
swap_is_on
supply AC 0 online
policy
server_is_gone
all_is_off
expect 4 vram-swap status
said "paused by the power policy"
policy
all_is_off
supply AC 1 online
policy
swap_is_on
settings 'power-policy = down-below=20%'
supply AC 0 online
policy
swap_is_on
supply BAT0 19 capacity
policy
server_is_gone
all_is_off
step "stopped by hand meanwhile, it stays so when the cable is back"
expect 0 systemctl stop vram-swap.service
supply AC 1 online
expect 1 systemctl start vram-swap-policy.service
all_is_off
expect 0 systemctl start vram-swap.service
swap_is_on
step "udev has it looked at"
# There is no battery whose news the kernel could bring: the rule itself, for a device that there is.
rule=$(find / -xdev -name 90-vram-swap.rules -not -path "$PWD/*" | head -n 1)
mkdir -p /run/udev/rules.d
sed 's/SUBSYSTEM=="power_supply"/SUBSYSTEM=="net"/' "$rule" >/run/udev/rules.d/90-vram-swap.rules
udevadm control --reload
settings 'power-policy = down-on-battery'
supply AC 0 online
udevadm trigger --action=change --settle /sys/class/net/lo
server_is_gone
for _ in $(seq 100); do
  grep -q nbd /proc/swaps || break
  sleep 0.1
done
all_is_off
supply AC 1 online
settings
policy
swap_is_on
umount /sys/class/power_supply

step "sleep empties it, waking up brings it back"
# As systemd-suspend.service has it, but that no machine sleeps.
cat >/run/systemd/system/nap.service <<'EOF'
[Unit]
DefaultDependencies=no
Requires=sleep.target
After=sleep.target
[Service]
Type=oneshot
ExecStart=sh -c 'grep nbd /proc/swaps >/run/while-asleep; pgrep -x nbdkit >>/run/while-asleep; true'
EOF
systemctl daemon-reload
nap ()
{
  rm -f /run/while-asleep
  expect "$1" systemctl start nap.service
  for _ in $(seq 300); do
    systemctl show -P ActiveState vram-swap-sleep.service | grep -qE '^(inactive|failed)$' && return
    sleep 0.1
  done
  fail "vram-swap-sleep.service is still active"
}
nap 0
[ ! -s /run/while-asleep ] || fail "while asleep: $(cat /run/while-asleep)"
journal | grep -q "down: sleep policy" || fail "$(journal)"
journal | grep -q "up: awake again" || fail "$(journal)"
swap_is_on

step "sleep-policy = keep leaves it on"
settings 'sleep-policy = keep'
nap 0
grep -q nbd0 /run/while-asleep || fail "not kept"
settings

step "what does not fit prevents the sleep"
lock_vram "$(pgrep -x nbdkit)"
# Less is left than must stay free, but enough to run this; and some goes to swap.
cp memfill /run/memfill
amount=$(($(available) - 40))
expect 0 systemd-run -q --unit=program -p StandardOutput=file:/run/memfill.out /run/memfill $amount
for _ in $(seq 600); do
  grep -qs filled /run/memfill.out && break
  sleep 0.1
done
systemctl kill -s STOP program.service
echo 20M >/sys/fs/cgroup/system.slice/program.service/memory.reclaim
echo "$(grep nbd /proc/swaps), $(grep MemAvailable /proc/meminfo)"
nap 1
[ ! -e /run/while-asleep ] || fail "it slept"
journal | grep -q "not sleeping, because" || fail "$(journal)"
swap_is_on
systemctl kill -s CONT program.service
systemctl stop program.service
grep -q " 0 wrong words" /run/memfill.out || fail "memfill: $(cat /run/memfill.out)"

step "a server that cannot allocate fails the service, in bounded time, with the reason in the journal"
expect 0 systemctl stop vram-swap.service
server_is_gone
settings 'size = 16G' 'min-size = 8G'
expect 1 timeout 60 systemctl start vram-swap.service
server_is_gone
all_is_off
journal | grep -q "is more than the 2 GiB of VRAM" || fail "no reason in: $(journal)"
settings

step "uninstall"
systemctl reset-failed
expect 0 systemctl start vram-swap.service
expect 0 vram-swap uninstall
server_is_gone
all_is_off
expect 1 systemctl is-enabled vram-swap.service
expect 1 systemctl is-enabled vram-swap-sleep.service
for _ in $(seq 100); do
  systemctl is-active -q vram-swap.service vram-swap-policy.timer || break
  sleep 0.1
done
expect 3 systemctl is-active vram-swap.service
expect 3 systemctl is-active vram-swap-policy.timer

[ "$failures" = 0 ] || journal
finish
