# nbdkit-vram: after the GPU is lost, programs that need swapped pages are
# killed, the others go on, and swap can be switched off and on again
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=300M STANDIN_CUDA_LOSE_FILE=/run/lose
settings 'size = 256M' 'min-size = 256M'
cgroup=/sys/fs/cgroup/victims
mkdir $cgroup

# swap_out NAME: starts a program, of which most is swapped out.
swap_out ()
{
  (
    echo $BASHPID >$cgroup/cgroup.procs
    exec ./memfill 60 random >"/run/$1" 2>&1
  ) &
  victim=$!
  wait_for 60 grep -q filled "/run/$1"
  kill -STOP "$victim"
  wait_for 60 eval "echo 40M >$cgroup/memory.reclaim"
}

expect 0 systemctl start vram-swap.service
swap_is_on
swap_out first
first=$victim
swap_out second
second=$victim
echo "$(swapped) MiB swapped"

step "a program that needs a swapped page is killed, and status has the reason"
touch /run/lose
kill -CONT "$first"
status=0
wait "$first" || status=$?
# SIGBUS, or SIGSEGV if the kernel itself wanted to write there (rseq).
[ $status = 135 ] || [ $status = 139 ] || fail "memfill: status $status"
expect 0 vram-swap status
said "copies:    FAIL: the GPU has been lost for"
expect 0 vram-swap status --json
said '"lost": true'

step "down switches it off, and up makes a new disk"
expect 0 timeout 120 vram-swap down
all_is_off
status=0
kill -CONT "$second"
wait "$second" || status=$?
[ $status = 135 ] || [ $status = 139 ] || fail "memfill: status $status"
rm /run/lose
expect 0 timeout 120 vram-swap up
swap_is_on
expect 0 vram-swap status
said "copies:    by DMA alone"
[ "$(journalctl -q --no-pager -o cat -u vram-swap.service |
  grep -c "the GPU is lost")" = 1 ] || fail "the log has it more than once"

step "a restart of the service does the same"
swap_out third
touch /run/lose
kill -CONT "$victim"
wait "$victim" && fail "memfill goes on"
rm /run/lose
expect 0 timeout 300 systemctl restart vram-swap.service
swap_is_on
expect 0 vram-swap status
said "copies:    by DMA alone"
[ "$failures" = 0 ] || journal
finish
