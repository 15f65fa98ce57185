# nbdkit-vram: swap that is enabled is on again after a reboot with VRAM full
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh

# This script runs at each start of the machine. Its disk outlives the reboot.
if [ ! -e /var/rebooted ]; then
  install_project
  settings 'size = 256M' 'min-size = 256M'
  use_stand_in STANDIN_CUDA_MEMORY=300M
  expect 0 systemctl enable --now vram-swap.service
  swap_is_on
  in_use_to_the_end 256
  echo "in use when the machine is rebooted: $(grep nbd /proc/swaps)"
  [ "$failures" = 0 ] || finish
  cut -d ' ' -f 1 /proc/sys/kernel/random/boot_id >/var/rebooted
  sync
  systemctl reboot
  sleep 400
  exit 1
fi

step "swap is on after a reboot"
[ "$(cat /var/rebooted)" != "$(cat /proc/sys/kernel/random/boot_id)" ] ||
  fail "not rebooted"
wait_for 60 grep -q nbd /proc/swaps
swap_is_on
expect 0 vram-swap status
echo "$out" | head -8
expect 0 systemctl stop vram-swap.service
all_is_off
finish
