# nbdkit-vram: a machine whose VRAM is full shuts down without an error;
# check-vm.sh reads the console afterwards
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
settings 'size = 256M' 'min-size = 256M'
use_stand_in STANDIN_CUDA_MEMORY=300M
tell_how_it_stops
expect 0 systemctl start vram-swap.service
# The swapped data fits into RAM as soon as the program has ended, and systemd
# stops the program and the service at the same time.
in_use_to_the_end 256
echo "in use before: $(grep nbd /proc/swaps)" >/dev/ttyS0
[ "$failures" = 0 ] || finish
systemctl poweroff
sleep 300
