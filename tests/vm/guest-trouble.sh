# nbdkit-vram: the machine is booted with novramswap: everything is enabled, and nothing of it runs
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=300M
grep -qw novramswap /proc/cmdline || fail "the kernel was not told: $(cat /proc/cmdline)"

step "enabled, and started with what wants it"
expect 0 systemctl enable --now vram-swap.service
expect 3 systemctl is-active vram-swap.service
[ "$(systemctl show -P ConditionResult vram-swap.service)" = no ] || fail "its condition was not looked at"
expect 0 systemctl start vram-swap-server.service
[ "$(systemctl show -P ConditionResult vram-swap-server.service)" = no ] || fail "the server's condition was not looked at"
all_is_off
expect 4 vram-swap status
echo "$out" | head -5

step "and away for good"
expect 0 vram-swap uninstall
expect 1 systemctl is-enabled vram-swap.service
all_is_off
finish
