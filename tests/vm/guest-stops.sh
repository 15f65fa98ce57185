# nbdkit-vram: the service can be stopped while programs use their swapped
# pages, and no program notices
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=300M
settings 'size = 256M' 'min-size = 256M' 'connections = 1' 'threads = 4'
stops=${STOPS:-10}

# The data from VRAM goes there. Its priority is low, like a disk's.
dd if=/dev/zero of=/swapfile bs=1M count=400 status=none
chmod 600 /swapfile
mkswap /swapfile >/dev/null
swapon -p 1 /swapfile

part=
times=()
for ((n = 1; n <= stops; n++)); do
  step "stop $n of $stops"
  expect 0 systemctl start vram-swap.service
  lock_vram "$(pgrep -x nbdkit)"
  [ -n "$part" ] || part=$((($(available) + 120) / 3))
  fillers=()
  for order in random random onward; do
    fill $part $order
    # Programs that have filled their memory wait for the others. On emulated
    # CPUs that is several times faster.
    kill -STOP "$filler"
    fillers+=("$filler")
  done
  kill -CONT "${fillers[@]}"
  sleep 3
  before=$(swapped)
  step "$before MiB swapped"
  [ "$before" -ge 60 ] || fail "only $before MiB were swapped"
  began=$(date +%s%N)
  # The three programs run on, and need their pages.
  expect 0 timeout 600 systemctl stop vram-swap.service
  times+=($((($(date +%s%N) - began) / 1000000)))
  all_is_off
  for pid in "${fillers[@]}"; do
    kill -0 "$pid" || fail "a program was killed"
  done
  kill "${fillers[@]}"
  for pid in "${fillers[@]}"; do
    wait "$pid" || fail "memfill: $(cat /run/memfill.*)"
  done
  step "$before MiB taken back in ${times[-1]} ms," \
    "$(grep -h wrong /run/memfill.* | paste -sd ,)"
  rm /run/memfill.*
done
swapoff /swapfile
complaints="I/O error, dev nbd.*WRITE|Read-error|Write-error"
dmesg | grep -E "$complaints|Out of memory|blocked for more" &&
  fail "the kernel complained"
[ "$failures" = 0 ] || journal
finish
