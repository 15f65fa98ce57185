# nbdkit-vram: on a machine where nothing was ever installed, the README's
# steps lead to swap in VRAM, and remove it again
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh

# In the place of NVIDIA's driver, which a newcomer has. Its VRAM takes memory
# only where it is written.
mkdir -p /opt/driver && cp -a driver/. /opt/driver
use_stand_in STANDIN_CUDA_MEMORY=4G STANDIN_CUDA_GARBAGE=1M
for program in nbdkit nbd-client gcc make; do
  ! command -v $program || fail "$program was installed before"
done
export HOME=/root TERM=dumb
source=$PWD/nbdkit-vram.git
cd /root || exit 1

step "three commands: git clone, quickstart install, systemctl enable"
time git clone -q "$source" nbdkit-vram || fail "git clone"
cd nbdkit-vram || exit 1
time ./quickstart install || fail "quickstart install"
expect 0 systemctl enable --now vram-swap

step "vram-swap reads the file that the README names"
cp -p /etc/nbdkit-vram.conf /root/nbdkit-vram.conf.installed
echo 'idle-down = 24h' >>/etc/nbdkit-vram.conf
expect 0 vram-swap config
said "idle-down = 24h"
cp -p /root/nbdkit-vram.conf.installed /etc/nbdkit-vram.conf

step "swap is on, and status describes it"
swap_is_on
swapon --show
vram-swap status
step "check, config and the manual page"
vram-swap check
vram-swap config
man -w vram-swap 2>/dev/null || find / -xdev -name 'vram-swap.8*'

step "quickstart uninstall leaves nothing"
./quickstart uninstall || fail "quickstart uninstall"
all_is_off
hash -r
! command -v vram-swap || fail "vram-swap is still there"
# All but what this test has made.
left=$(find / -xdev \( -name '*vram-swap*' -o -name '*nbdkit-vram*' \) -not \
  -path '/root/*' -not -path '*/vram-swap.service.d*')
[ -z "$left" ] || fail "left behind: $left"
[ "$failures" = 0 ] || journal
finish
