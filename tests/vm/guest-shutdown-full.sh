# nbdkit-vram: a machine shuts down although swap has more files in memory than
# fit into RAM; check-vm.sh reads the console
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
settings 'size = 256M' 'min-size = 256M'
use_stand_in STANDIN_CUDA_MEMORY=300M
tell_how_it_stops
# By default systemd gives the shutdown half an hour, and processes at its end
# 90 s. outage-timeout keeps its default: the shutdown does not wait for it.
etc=/etc/systemd
mkdir -p $etc/system/poweroff.target.d $etc/system.conf.d
printf '[Unit]\nJobTimeoutSec=20s\n' >$etc/system/poweroff.target.d/hasty.conf
printf '[Manager]\nDefaultTimeoutStopSec=10s\n' >$etc/system.conf.d/hasty.conf
systemctl daemon-reexec
expect 0 systemctl start vram-swap.service
lock_vram_to_the_end
# Programs end at a shutdown and free their memory; files in memory stay.
mount -o remount,size=90% /dev/shm
head -c $(($(available) + 220))M /dev/urandom >/dev/shm/files ||
  fail "files in memory"
[ "$(swapped)" -ge 150 ] || fail "only $(swapped) MiB are in use"
echo "in use before: $(grep nbd /proc/swaps)" >/dev/ttyS0
[ "$failures" = 0 ] || finish
systemctl poweroff
sleep 300
