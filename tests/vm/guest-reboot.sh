# nbdkit-vram: enabled, the machine is rebooted with VRAM in use, and swap is there again
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh

# Runs at each start of the machine; its disk outlives the reboot.
if [ ! -e /var/rebooted ]; then
  install_project
  settings 'size = 256M' 'min-size = 256M'
  use_stand_in STANDIN_CUDA_MEMORY=300M
  expect 0 systemctl enable --now vram-swap.service
  swap_is_on
  # As a GPU's memory does, the stand-in's stays when the services are stopped.
  cp lockvram memfill /run
  expect 0 systemd-run -q --unit=lockvram -p DefaultDependencies=no -p StandardOutput=file:/run/lockvram.out \
    /run/lockvram "$(pgrep -x nbdkit)"
  for _ in $(seq 300); do
    grep -qs locked /run/lockvram.out && break
    sleep 0.1
  done
  amount=$(($(available) + 60))
  expect 0 systemd-run -q --unit=program -p KillSignal=SIGKILL /run/memfill $amount
  for _ in $(seq 600); do
    [ "$(swapped)" -ge 40 ] && break
    sleep 0.1
  done
  echo "in use when the machine is rebooted: $(grep nbd /proc/swaps)"
  grep -q nbd /proc/swaps || fail "nothing is in use"
  [ "$failures" = 0 ] || finish
  cut -d ' ' -f 1 /proc/sys/kernel/random/boot_id >/var/rebooted
  sync
  systemctl reboot
  sleep 400
  exit 1
fi

step "after the reboot"
[ "$(cat /var/rebooted)" != "$(cat /proc/sys/kernel/random/boot_id)" ] || fail "it was not rebooted"
for _ in $(seq 600); do
  grep -q nbd /proc/swaps && break
  sleep 0.1
done
swap_is_on
expect 0 vram-swap status
echo "$out" | head -8
expect 0 systemctl stop vram-swap.service
server_is_gone
all_is_off
finish
