# nbdkit-vram: with novramswap on the kernel's command line, swap that is
# enabled stays off
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=300M
grep -qw novramswap /proc/cmdline ||
  fail "the kernel was not told: $(cat /proc/cmdline)"

step "the service that is enabled and started does not run"
expect 0 systemctl enable --now vram-swap.service
expect 3 systemctl is-active vram-swap.service
[ "$(systemctl show -P ConditionResult vram-swap.service)" = no ] ||
  fail "the unit's condition was not checked"
all_is_off
expect 4 vram-swap status
echo "$out" | head -5

step "without systemd swap is off, and up switches it on"
systemctl stop vram-swap.service
vram-swap daemon >/run/daemon.log 2>&1 &
daemon=$!
within 20 grep -q novramswap /run/daemon.log || fail "$(cat /run/daemon.log)"
all_is_off
expect 4 vram-swap status
said "off: the kernel's command line says novramswap"
expect 0 vram-swap up
swap_is_on
stop_daemon

step "the service can be disabled"
expect 0 systemctl disable vram-swap.service
expect 1 systemctl is-enabled vram-swap.service
all_is_off
finish
