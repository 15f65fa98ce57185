# nbdkit-vram: the machine is shut down while VRAM is in use; check-vm.sh reads the console afterwards
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
settings 'size = 256M' 'min-size = 256M'
use_stand_in STANDIN_CUDA_MEMORY=300M
# What each unit finds when it has been stopped, on the console.
for unit in vram-swap vram-swap-server; do
  mkdir -p "/etc/systemd/system/$unit.service.d"
  cat >"/etc/systemd/system/$unit.service.d/console.conf" <<EOF
[Service]
ExecStopPost=+/bin/sh -c 'echo "$unit has stopped, swaps: \$\$(grep -c nbd /proc/swaps), result: \$\$SERVICE_RESULT" >/dev/ttyS0'
EOF
done
# A program with memory of its own, as a user's is.
cp memfill /run/memfill
systemctl daemon-reload
expect 0 systemctl start vram-swap.service
# It stays when the services are stopped, as a GPU does.
cp lockvram /run/lockvram
expect 0 systemd-run -q --unit=lockvram -p DefaultDependencies=no -p StandardOutput=file:/run/lockvram.out \
  /run/lockvram "$(pgrep -x nbdkit)"
for _ in $(seq 300); do
  grep -qs locked /run/lockvram.out && break
  sleep 0.1
done
amount=$(($(available) + 100))
expect 0 systemd-run -q --unit=program -p KillSignal=SIGKILL /run/memfill $amount
for _ in $(seq 300); do
  [ "$(swapped)" -ge 80 ] && break
  sleep 0.1
done
echo "in use before: $(grep nbd /proc/swaps)" >/dev/ttyS0
[ "$failures" = 0 ] || finish
systemctl poweroff
sleep 300
