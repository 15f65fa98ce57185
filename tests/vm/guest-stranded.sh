# nbdkit-vram: the machine is shut down with more in VRAM than fits into RAM,
# and no program's; check-vm.sh reads the console
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
settings 'size = 256M' 'min-size = 256M'
use_stand_in STANDIN_CUDA_MEMORY=300M
tell_how_they_stop
# All in seconds that are half hours and minutes otherwise: systemd's patience
# with the shutdown, and with processes at its end. outage-timeout stays as
# long as it is: the end of the shutdown does not wait for it.
mkdir -p /etc/systemd/system/poweroff.target.d /etc/systemd/system.conf.d
printf '[Unit]\nJobTimeoutSec=20s\n' >/etc/systemd/system/poweroff.target.d/hasty.conf
printf '[Manager]\nDefaultTimeoutStopSec=10s\n' >/etc/systemd/system.conf.d/hasty.conf
systemctl daemon-reexec
expect 0 systemctl start vram-swap.service
lock_vram_to_the_end
# Programs end at a shutdown and make room; files in memory stay.
mount -o remount,size=90% /dev/shm
head -c $(($(available) + 220))M /dev/urandom >/dev/shm/files ||
  fail "files in memory"
[ "$(swapped)" -ge 150 ] || fail "only $(swapped) MiB are in use"
echo "in use before: $(grep nbd /proc/swaps)" >/dev/ttyS0
[ "$failures" = 0 ] || finish
systemctl poweroff
sleep 300
