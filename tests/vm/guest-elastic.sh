# nbdkit-vram: an elastic disk takes VRAM and gives it back while swap is in
# use, and no byte is lost
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project

# The server's memory counts in this control group, which is not swapped, like
# the VRAM of a GPU.
cgroup=/sys/fs/cgroup/server
mkdir $cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
echo 0 >$cgroup/memory.swap.max

# VRAM is in files, which the kernel writes back, and takes no memory.
export STANDIN_CUDA_MEMORY=512M STANDIN_CUDA_USED_FILE=/run/tenants
export STANDIN_CUDA_FOLDER=/var/tmp

# tenants MIB: lets other programs hold so much VRAM.
tenants ()
{
  echo $(($1 << 20)) >/run/tenants.new
  mv /run/tenants.new /run/tenants
}
tenants 0

# Prints how many MiB of VRAM the server holds.
held ()
{
  echo $(($(status server.elastic.held) >> 20))
}

holds_at_most ()
{
  [ "$(held)" -le "$1" ]
}

holds_at_least ()
{
  [ "$(held)" -ge "$1" ]
}

# begin SETTING...
# shellcheck disable=SC2120 # settings are for later ways
begin ()
{
  settings 'size = 384M' 'min-size = 64M' 'headroom = 16M' \
    'elastic = yes' 'gpu-timeout = 10min' "$@"
  (
    echo $BASHPID >$cgroup/cgroup.procs
    exec vram-swap daemon >>/run/daemon.log 2>&1
  ) &
  daemon=$!
  state_becomes on || cat /run/daemon.log
}

# hold MIB [MIB...]: starts memfill for each.
fillers=()
hold ()
{
  local size
  for size; do
    fill "$size" random
    fillers+=("$filler")
  done
}

# release: ends the programs. None may have read a wrong word or been killed.
release ()
{
  local pid
  kill "${fillers[@]}"
  for pid in "${fillers[@]}"; do
    wait "$pid" || fail "memfill: $(cat "/run/memfill.$pid")"
  done
  fillers=()
}

step "a disk without data holds only its reserve of VRAM"
begin
size=$(($(status server.size) >> 20))
reserve=$(held)
echo "disk $size MiB, VRAM held $reserve MiB"
[ "$reserve" -le 192 ] || fail "$reserve MiB are held"

step "first writes under memory pressure take VRAM, and trims give it back"
part=$((($(available) + 120) / 4))
for ((round = 1; round <= ${ELASTIC_ROUNDS:-3}; round++)); do
  hold $part $part $part $part
  echo "4 x $part MiB, $(swapped) MiB of them swapped, VRAM held $(held) MiB"
  [ "$(swapped)" -ge 50 ] || fail "only $(swapped) MiB were swapped"
  holds_at_least "$(($(swapped) / 2))" ||
    fail "$(held) MiB are held for $(swapped) MiB"
  release
  # The kernel discards whole clusters only, so some data may stay.
  sleep 5
  echo "5 s after the programs have ended: $(swapped) MiB swapped," \
    "VRAM held $(held) MiB, data $(($(status server.used) >> 20)) MiB"
  expect 0 vram-swap down
  expect 0 vram-swap up
  wait_for 60 holds_at_most "$reserve"
done

step "vram-swap run gives VRAM back while the program runs, and takes it again"
expect 7 vram-swap run sh -c "vram-swap limit; exit 7"
printf '%s\n' "$out"
said "limit: 0 B, "
# Data cannot move without a spill file. At most one slot holds data.
[[ $out == *" 0 B held"* || $out == *" 64.0 MiB held"* ]] ||
  fail "VRAM is not given back: $out"
wait_for 60 holds_at_least 65
expect 0 vram-swap limit
said "limit: as configured"
member=(setpriv --reuid=nobody --regid=nogroup --groups=vram-swap)
"${member[@]}" vram-swap run vram-swap limit >/run/out 2>&1 ||
  fail "a user of group vram-swap: $(cat /run/out)"
grep -q "limit: 0 B, " /run/out ||
  fail "a user of group vram-swap: $(cat /run/out)"
expect 1 "${member[@]}" vram-swap limit 64M
said "only root may ask for that"

step "a limit is obeyed, or refused with the numbers"
expect 0 vram-swap limit 128M
wait_for 60 holds_at_most 128
expect 0 vram-swap limit max
hold $part $part $part $part
if [ "$(status server.elastic.spill_size)" = 0 ]; then
  expect 3 vram-swap limit 16M
  said "hold swapped data, which is more than 16.0 MiB, and cannot be moved"
fi
release
stop_daemon

step "programs take and return most of the VRAM while memory is short"
begin
# The swapped data is in VRAM before that, so no write needs a chunk.
hold $part $part $part $part
for ((round = 1; round <= 20; round++)); do
  tenants $((512 - 16 - $(held)))
  sleep 0.5
  tenants 0
  sleep 0.5
done
echo "$(swapped) MiB swapped, VRAM held $(held) MiB"
expect 0 vram-swap status
printf '%s\n' "$out" | grep -A3 '^VRAM:'
release
stop_daemon

dmesg |
  grep -E "$complaints|(Read|Write)-error|Out of memory|blocked for more" &&
  fail "the kernel complained"
finish
