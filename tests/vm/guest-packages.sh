# nbdkit-vram: the Debian packages can be installed, enabled, upgraded while
# swap is in use, and removed when swap can be switched off
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
# Functions are called by within, and a format contains variables of dpkg's:
# shellcheck disable=SC2016,SC2317
. ./guest.sh

# runs PID FILE: the process has mapped the FILE that is installed now.
runs ()
{
  grep -q " $(stat -c %i "$2") .*$2\$" "/proc/$1/maps"
}

conf=/etc/nbdkit-vram.conf
plugin=$(dpkg-deb -c debs/nbdkit-plugin-gpuram_*.deb |
  sed -n 's/.* \.\(.*plugin\.so\)$/\1/p')

# This script runs at each start of the machine. Its disk outlives the reboot.
if [ ! -e /var/rebooted ]; then
  step "the packages can be installed, and the service enabled"
  mkdir -p /opt/driver && cp -a driver/. /opt/driver
  expect 0 dpkg -i older/*.deb
  said "systemctl enable --now vram-swap"
  expect 3 systemctl is-active vram-swap.service
  expect 1 systemctl is-enabled vram-swap.service
  settings 'size = 256M' 'min-size = 256M' 'connections = 1' 'threads = 4'
  use_stand_in STANDIN_CUDA_MEMORY=300M
  expect 0 systemctl enable --now vram-swap.service
  swap_is_on
  [ "$failures" = 0 ] || { journal; finish; }
  cp /proc/sys/kernel/random/boot_id /var/rebooted
  sync
  systemctl reboot
  sleep 400
  exit 1
fi

step "swap is on after a reboot"
cmp -s /var/rebooted /proc/sys/kernel/random/boot_id && fail "not rebooted"
wait_for 60 grep -q nbd /proc/swaps
state_becomes on
runs "$(pgrep -x nbdkit)" "$plugin" || fail "the server has another plugin"
lock_vram_to_the_end
part=$(($(available) + 60))
fill $part random
echo "$part MiB filled, swapped: $(swapped) MiB"

step "an upgrade replaces server and daemon while swap is in use"
daemon=$(property MainPID)
kill -STOP $filler
expect 0 timeout 400 dpkg -i --force-confold debs/*.deb
echo "$out"
within 60 outages_are 1 || fail "the server was not replaced: $(journal)"
within 20 runs "$(pgrep -x nbdkit)" "$plugin" || fail "the old server serves"
within 20 runs "$daemon" /usr/bin/vram-swap || fail "the old daemon runs"
[ "$(property MainPID)" = "$daemon" ] || fail "the daemon is another process"
[ "$(property NRestarts)" = 0 ] || fail "systemd has restarted the daemon"
swap_is_on
dpkg-query -W -f '${Package} ${Version} ${db:Status-Status}\n' vram-swap \
  nbdkit-plugin-gpuram
kill -CONT $filler

step "a removal fails while the swapped data fits nowhere else"
for package in vram-swap nbdkit-plugin-gpuram; do
  expect 1 timeout 400 dpkg -r $package
done
expect 1 timeout 400 dpkg -r vram-swap
said "not removed, because swap in VRAM cannot be switched off"
swap_is_on
expect 0 systemctl is-active vram-swap.service
sleep 5
unnoticed "$filler"
dmesg | grep "Out of memory" && fail "a program was killed"

step "a removal stops the service and keeps the settings"
expect 0 timeout 400 dpkg -r vram-swap nbdkit-plugin-gpuram
all_is_off
[ -z "$(find /etc/systemd/system -type l -name '*vram-swap*')" ] ||
  fail "links to the units are left"
[ -e "$conf" ] || fail "the settings are gone"

step "a purge leaves nothing"
rm -r /etc/systemd/system/vram-swap.service.d
expect 0 dpkg -P vram-swap nbdkit-plugin-gpuram
left=$(find / -xdev \( -name '*vram-swap*' -o -name '*nbdkit-vram*' \) \
  -not -path '/run/*' -not -path "$PWD/*")
[ -z "$left" ] || fail "left behind: $left"
expect 2 getent passwd vram-swap
[ "$failures" = 0 ] || journal
finish
