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
systemctl daemon-reload
expect 0 systemctl start vram-swap.service
in_use_to_the_end 100
echo "in use before: $(grep nbd /proc/swaps)" >/dev/ttyS0
[ "$failures" = 0 ] || finish
systemctl poweroff
sleep 300
