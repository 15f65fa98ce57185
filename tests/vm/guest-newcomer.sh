# nbdkit-vram: a machine on which nothing of it was ever installed, and what
# the README tells a newcomer to do
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh

# Instead of NVIDIA's driver, which a newcomer has. Its VRAM costs memory only
# where it is used.
mkdir -p /opt/driver && cp -a driver/. /opt/driver
use_stand_in STANDIN_CUDA_MEMORY=4G STANDIN_CUDA_GARBAGE=1M
for program in nbdkit nbd-client gcc make; do
  ! command -v $program || fail "$program was installed before"
done
export HOME=/root TERM=dumb
source=$PWD/nbdkit-vram.git
cd /root || exit 1

step "git clone, quickstart install, systemctl enable: three commands"
time git clone -q "$source" nbdkit-vram || fail "git clone"
cd nbdkit-vram || exit 1
time ./quickstart install || fail "quickstart install"
expect 0 systemctl enable --now vram-swap

step "the file that the README names counts"
cp -p /etc/nbdkit-vram.conf /root/nbdkit-vram.conf.installed
echo 'idle-down = 24h' >>/etc/nbdkit-vram.conf
expect 0 vram-swap config
said "idle-down = 24h"
cp -p /root/nbdkit-vram.conf.installed /etc/nbdkit-vram.conf

step "what the newcomer sees"
swap_is_on
swapon --show
vram-swap status
step "and what the doctor says"
vram-swap check
vram-swap config
man -w vram-swap 2>/dev/null || find / -xdev -name 'vram-swap.8*'

step "and away again"
./quickstart uninstall || fail "quickstart uninstall"
all_is_off
hash -r
! command -v vram-swap || fail "vram-swap is still there"
# But for what this test itself has made.
left=$(find / -xdev \( -name '*vram-swap*' -o -name '*nbdkit-vram*' \) -not \
  -path '/root/*' -not -path '*/vram-swap.service.d*')
[ -z "$left" ] || fail "left behind: $left"
[ "$failures" = 0 ] || journal
finish
