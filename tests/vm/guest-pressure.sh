# nbdkit-vram: every swapped byte comes back, and down refuses what does not
# fit, waits, and can be interrupted
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
settings 'size = 256M' 'min-size = 256M'

swap_is_off ()
{
  ! grep -q nbd /proc/swaps || fail "swap is on: $(cat /proc/swaps)"
  ! ls /sys/block/nbd*/pid >/dev/null 2>&1 ||
    fail "attached: $(echo /sys/block/nbd*/pid)"
}

# hold MIB [MIB...]: starts memfill for each.
hold ()
{
  local size
  fillers=()
  for size; do
    fill "$size" random
    fillers+=("$filler")
  done
}

# release [PID...]: ends these programs, or all. None may have read a wrong
# word.
release ()
{
  (($#)) || set -- "${fillers[@]}"
  local pid
  kill -CONT "$@"
  kill "$@"
  for pid; do
    wait "$pid" || fail "memfill: $(cat /run/memfill.*)"
  done
}

# The stand-in's VRAM is the guest's own memory, and must not be swapped.
export STANDIN_CUDA_MEMORY=300M
daemon
lock_vram $daemon
echo "the stand-in's VRAM: $(cat /run/lockvram.out)"

step "more than RAM holds, and every byte comes back"
part=$((($(available) + 150) / 6))
hold $part $part $part $part $part $part
echo "6 x $part MiB filled, $(swapped) MiB of them swapped"
[ "$(swapped)" -ge 100 ] || fail "only $(swapped) MiB were swapped"

step "down refuses what does not fit, with the numbers"
expect 3 vram-swap down
said "is swapped to /dev/nbd0, and only"
said "of it would fit elsewhere"
swap_is_on
expect 3 vram-swap down --wait=2
swap_is_on
expect 0 vram-swap status
said "would be refused"

step "down --force refuses where programs would be killed"
expect 3 vram-swap down --force
said "refused even with --force: the kernel would read back"
swap_is_on

step "down --force takes back what fits, and no program is killed"
kill -STOP "${fillers[@]}"
release "${fillers[@]:0:2}"
fillers=("${fillers[@]:2}")
before=$(swapped)
status=0
vram-swap down --force >/run/out 2>&1 || status=$?
echo "$before MiB before, $(swapped) MiB after," \
  "status $status: $(tail -1 /run/out)"
# How much fits depends on the machine.
[ $status = 3 ] || [ $status = 0 ] || fail "status $status: $(cat /run/out)"
expect 0 vram-swap up
lock_vram $daemon
swap_is_on
kill -CONT "${fillers[@]}"

step "down --wait waits for free memory, and no program notices"
hold_more=("${fillers[@]}")
hold $((part * 2))
fillers+=("${hold_more[@]}")
vram-swap down --wait >/run/out 2>&1 &
pid=$!
within 60 grep -q '^waiting until' /run/out ||
  fail "down does not wait: $(cat /run/out)"
kill -0 $pid || fail "down did not wait: $(cat /run/out)"
release
wait $pid || fail "down --wait: $(cat /run/out)"
cat /run/out
swap_is_off

step "down can be interrupted, which keeps swap on, and run again"
dd if=/dev/zero of=/swapfile bs=1M count=500 status=none
chmod 600 /swapfile
mkswap /swapfile >/dev/null
expect 0 vram-swap up
lock_vram $daemon
hold $part $part $part $part $part $part
kill -STOP "${fillers[@]}"
swapon -p 1 /swapfile
# Wait for its first message: before that it may not have begun.
: >/run/out
vram-swap down >/run/out 2>&1 &
pid=$!
wait_for 60 test -s /run/out
kill -INT $pid
status=0
wait $pid || status=$?
tail -1 /run/out
case $status in
  6) swap_is_on ;;
  0) echo "down ended before it could be interrupted" ;;
  *) fail "status $status: $(cat /run/out)" ;;
esac
expect 0 vram-swap down
swap_is_off
release
swapoff /swapfile

step "down --force says that files in memory come back at once"
expect 0 vram-swap up
lock_vram $daemon
dd if=/dev/urandom of=/dev/shm/file bs=1M count=$((part * 2)) status=none
sum=$(sha256sum </dev/shm/file)
hold $part $part $part $part
echo "$((part * 2)) MiB in /dev/shm, 4 x $part MiB filled," \
  "$(swapped) MiB swapped"
expect 3 vram-swap down --force
said "of files in memory (tmpfs) at once"
swap_is_on
release
[ "$(sha256sum </dev/shm/file)" = "$sum" ] ||
  fail "the file in /dev/shm has changed"
rm /dev/shm/file

step "with strict overcommit down refuses what the kernel would refuse"
# The limit is enough for the programs, but only with these 256 MiB of swap.
committed=$(field Committed_AS /proc/meminfo)
limit=$((committed > 100000 ? committed - 100000 : 1))
sysctl -q vm.overcommit_kbytes=$limit vm.overcommit_memory=2
expect 3 vram-swap down
said "vm.overcommit_memory is 2, and programs have reserved"
expect 3 vram-swap down --force
expect 0 vram-swap status
said "would be refused: vm.overcommit_memory is 2"
if swapoff /dev/nbd0 >/run/out 2>&1; then fail "the kernel does not refuse"; fi
grep -q "Cannot allocate memory" /run/out || fail "$(cat /run/out)"
swap_is_on
sysctl -q vm.overcommit_memory=0
expect 0 vram-swap down
swap_is_off
stop_daemon

dmesg | grep -E "$complaints|Out of memory" &&
  fail "the kernel complained"
finish
