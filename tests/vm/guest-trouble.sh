# nbdkit-vram: with novramswap on the kernel's command line, swap that is
# enabled stays off until vram-swap up
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
# A function is called by wait_for:
# shellcheck disable=SC2317
. ./guest.sh

restarted ()
{
  [ "$(property NRestarts)" = 1 ]
}

install_project
use_stand_in STANDIN_CUDA_MEMORY=300M
grep -qw novramswap /proc/cmdline ||
  fail "the kernel was not told: $(cat /proc/cmdline)"

step "the enabled service runs, swap is off, and up switches it on"
expect 0 systemctl enable --now vram-swap.service
expect 0 systemctl is-active vram-swap.service
all_is_off
expect 4 vram-swap status
echo "$out" | head -5
said "off: novramswap is on the kernel command line"
# Without swap to continue with, the next daemon leaves it off, too.
kill -KILL "$(property MainPID)"
wait_for 20 restarted
state_becomes off
expect 4 vram-swap status
said "off: novramswap is on the kernel command line"
expect 0 vram-swap up
swap_is_on
expect 0 vram-swap status
expect 0 systemctl stop vram-swap.service
all_is_off

step "the same without systemd"
vram-swap daemon >/run/daemon.log 2>&1 &
daemon=$!
within 20 grep -q novramswap /run/daemon.log || fail "$(cat /run/daemon.log)"
all_is_off
expect 4 vram-swap status
said "off: novramswap is on the kernel command line"
expect 0 vram-swap up
swap_is_on
stop_daemon

step "the service can be disabled"
expect 0 systemctl disable vram-swap.service
expect 1 systemctl is-enabled vram-swap.service
all_is_off
finish
