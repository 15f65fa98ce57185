# nbdkit-vram: the machine is shut down while VRAM is full; check-vm.sh reads
# the console afterwards
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
settings 'size = 256M' 'min-size = 256M'
use_stand_in STANDIN_CUDA_MEMORY=300M
tell_how_they_stop
expect 0 systemctl start vram-swap.service
# What is swapped fits into RAM as soon as the program has ended, which it does
# at the same time as swap is told to.
in_use_to_the_end 256
echo "in use before: $(grep nbd /proc/swaps)" >/dev/ttyS0
[ "$failures" = 0 ] || finish
systemctl poweroff
sleep 300
