# nbdkit-vram: the service under systemd: start, stop, policies, sleep, failure
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh disable=SC2317 # called by within and wait_for
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

step "a typo in the configuration keeps nothing from stopping"
echo "prio = 1" >>"$conf"
expect 0 vram-swap status
said "unknown key 'prio'"
expect 0 systemctl stop vram-swap.service
server_is_gone
all_is_off
expect 1 systemctl start vram-swap.service
all_is_off
settings
expect 0 systemctl start vram-swap.service
swap_is_on

step "stopping the server alone empties it first"
expect 0 systemctl stop vram-swap-server.service
server_is_gone
all_is_off
policy
all_is_off
expect 0 vram-swap up
swap_is_on

step "on again at once, while the server that was told to end has not yet ended"
expect 0 systemctl stop vram-swap.service
server_is_gone
# The last one does not wait for that end, as 'down' does not where a unit runs it to stop.
for before in "vram-swap test" "vram-swap down" "env SERVICE_RESULT=success vram-swap down"; do
  [ "$before" = "vram-swap test" ] || expect 0 vram-swap up
  expect 0 bash -c "$before && vram-swap up"
  # Otherwise the server's unit is about to end it, and swap with it.
  [ "$(systemctl show -P ActiveState vram-swap-server.service)" = active ] || fail "the server is being ended"
  sleep 2
  swap_is_on
  expect 0 vram-swap down
  all_is_off
done
expect 0 systemctl start vram-swap.service
swap_is_on

step "other settings than the units read are refused"
cp "$conf" /run/other.conf
expect 2 vram-swap --config /run/other.conf up
said "its unit reads $conf"

step "a server that does not come up in time is ended, and so is one that nobody waits for any more"
expect 0 systemctl stop vram-swap.service
server_is_gone
# The GPU answers nothing while there is this file.
use_stand_in STANDIN_CUDA_MEMORY=2G STANDIN_CUDA_HANG_FILE=/run/hang
settings 'gpu-timeout = 1h' 'start-timeout = 5s'
touch /run/hang
expect 1 timeout 120 systemctl start vram-swap-server.service
server_is_gone
[ "$(systemctl show -P ActiveState vram-swap-server.service)" = failed ] || fail "$(systemctl status vram-swap-server)"
expect 1 timeout 120 systemctl start vram-swap.service
server_is_gone
all_is_off
settings 'gpu-timeout = 1h' 'start-timeout = 10min'
vram-swap up >/run/out 2>&1 &
pid=$!
wait_for 30 pgrep -f wait-server >/dev/null
sleep 1
kill -INT $pid
status=0
wait $pid || status=$?
[ $status = 6 ] || fail "status $status: $(cat /run/out)"
server_is_gone
all_is_off
rm /run/hang
settings
use_stand_in STANDIN_CUDA_MEMORY=2G
expect 0 systemctl start vram-swap.service
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
wait_for 10 eval "! grep -q nbd /proc/swaps"
all_is_off
supply AC 1 online
settings
policy
swap_is_on
# A battery's news, which lo's type stands for here, and news while the service is off, start nothing.
policies ()
{
  journalctl --sync
  journalctl -q -o cat -u vram-swap-policy.service | wc -l
}
settings 'power-policy = down-on-battery'
supply AC 0 online
said_before=$(policies)
sed -i "s/ATTR{type}!=\"Battery\"/ATTR{type}!=\"$(cat /sys/class/net/lo/type)\"/" /run/udev/rules.d/90-vram-swap.rules
udevadm control --reload
udevadm trigger --action=change --settle /sys/class/net/lo
sleep 3
swap_is_on
expect 0 systemctl stop vram-swap.service
sed 's/SUBSYSTEM=="power_supply"/SUBSYSTEM=="net"/' "$rule" >/run/udev/rules.d/90-vram-swap.rules
udevadm control --reload
udevadm trigger --action=change --settle /sys/class/net/lo
sleep 3
[ "$(policies)" = "$said_before" ] || fail "$(journalctl -q -o cat -u vram-swap-policy.service | tail -n 5)"
supply AC 1 online
settings
expect 0 systemctl start vram-swap.service
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
sleep_is_over ()
{
  systemctl show -P ActiveState vram-swap-sleep.service | grep -qE '^(inactive|failed)$'
}

# nap STATUS [UNIT]: UNIT, which sleeps and wakes up, starts with this status.
nap ()
{
  rm -f /run/while-asleep
  expect "$1" systemctl start "${2-nap.service}"
  wait_for 30 sleep_is_over
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

step "hibernation is not suspend: it is drained all the same"
cp /run/systemd/system/nap.service /run/systemd/system/systemd-hibernate.service
systemctl daemon-reload
nap 0 hibernate.target
[ -e /run/while-asleep ] || fail "it did not sleep"
[ ! -s /run/while-asleep ] || fail "while asleep: $(cat /run/while-asleep)"
swap_is_on
settings

step "what cannot be switched on after sleep is switched on later"
sed -i 's/; true/; mv \/usr\/sbin\/nbd-client \/root/' /run/systemd/system/nap.service
systemctl daemon-reload
nap 0
server_is_gone
all_is_off
mv /root/nbd-client /usr/sbin
sed -i 's/; mv .*nbd-client .root/; true/' /run/systemd/system/nap.service
systemctl daemon-reload
expect 4 vram-swap status
said "paused by the sleep policy"
policy
swap_is_on

step "what does not fit prevents the sleep"
lock_vram "$(pgrep -x nbdkit)"
# Less is left than must stay free, but enough to run this; and some goes to swap.
cp memfill /run/memfill
amount=$(($(available) - 40))
expect 0 systemd-run -q --unit=program -p StandardOutput=file:/run/memfill.out /run/memfill $amount
wait_for 60 grep -qs filled /run/memfill.out
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
expect 3 systemctl is-active vram-swap.service
expect 3 systemctl is-active vram-swap-policy.timer
sleep 5
! ls -d /run/vram-swap* 2>/dev/null || fail "there is still something in /run"

[ "$failures" = 0 ] || journal
finish
