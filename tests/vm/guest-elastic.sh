# nbdkit-vram: VRAM comes and goes under live swap, and no byte is lost
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project

# What else the stand-in allocates counts in this control group, which is not
# swapped, as the memory of a driver is not.
cgroup=/sys/fs/cgroup/server
mkdir $cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
echo 0 >$cgroup/memory.swap.max

# VRAM is allocated and locked before the server runs: ten chunks of 16 MiB and
# the stand-in's page. The last slots move back while three chunks are free
# beyond the headroom of 8 MiB.
vram=168
pool=/run/pool
mkdir $pool
mount -t tmpfs -o mode=0755,size=$((vram + 8))M pool $pool
for ((i = 0; i < vram / 16; i++)); do
  truncate -s $(((16 << 20) + 4096)) "$pool/chunk$i"
done
printf '%020d\n' 0 >$pool/tenants
chmod 666 $pool/chunk*
./lockvram $pool >/run/lockvram.out 2>&1 &
within 30 grep -q locked /run/lockvram.out ||
  fail "lockvram: $(cat /run/lockvram.out)"
export STANDIN_CUDA_MEMORY=${vram}M STANDIN_CUDA_POOL=$pool
export STANDIN_CUDA_USED_FILE=$pool/tenants

# tenants MIB: other programs hold so much VRAM. Writes to the page that is
# locked.
tenants ()
{
  printf '%020d\n' $(($1 << 20)) 1<>$pool/tenants
}

rounds=${ELASTIC_ROUNDS:-20}

# mib FIELD: of elastic VRAM, in MiB.
mib ()
{
  echo $(($(status "server.elastic.$1") >> 20))
}

at_most ()
{
  [ "$(mib "$1")" -le "$2" ]
}

at_least ()
{
  [ "$(mib "$1")" -ge "$2" ]
}

# Prints what changes while slots move.
moves ()
{
  status server.elastic
}

# Prints how much memory the newest memfill has.
filled ()
{
  field VmRSS "/proc/$filler/status"
  field VmSwap "/proc/$filler/status"
}

# settle PROGRESS COMMAND...: repeats COMMAND until it succeeds. Fails when the
# output of PROGRESS has not changed for three minutes.
settle ()
{
  local progress=$1 now seen='' since=$SECONDS
  shift
  until "$@"; do
    now=$($progress)
    if [ "$now" != "$seen" ]; then
      seen=$now since=$SECONDS
    elif ((SECONDS - since > 180)); then
      fail "no progress: $*: $seen"
      show_blocked
      return 1
    fi
    sleep 0.2
  done
}

# begin SETTING...: a disk of 8 slots of 16 MiB. With several connections, what
# was under way when the server is killed would wait for three times
# gpu-timeout.
begin ()
{
  settings 'size = 128M' 'min-size = 64M' 'headroom = 8M' 'elastic = yes' \
    'gpu-timeout = 10min' 'connections = 1' 'threads = 4' "$@"
  (
    echo $BASHPID >$cgroup/cgroup.procs
    exec vram-swap daemon >>/run/daemon.log 2>&1
  ) &
  daemon=$!
  state_becomes on || cat /run/daemon.log
  settle spare spare_is_there
}

spare ()
{
  status memory.spare
}

spare_is_there ()
{
  [ "$(spare)" = "$(status memory.spare_wanted)" ]
}

# hold: four verifying programs, which need more memory than there is.
fillers=()
hold ()
{
  for _ in 1 2 3 4; do
    start_filler "$part" random
    settle filled grep -q filled "/run/memfill.$filler"
    fillers+=("$filler")
  done
  [ "$(swapped)" -ge 40 ] || fail "only $(swapped) MiB were swapped"
}

# release [N]: ends the first N, or all; none may have read a wrong word, or
# been killed.
release ()
{
  local pid pids=("${fillers[@]:0:${1-4}}")
  fillers=("${fillers[@]:${#pids[@]}}")
  kill "${pids[@]}"
  for pid in "${pids[@]}"; do
    wait "$pid" || fail "memfill: $(cat "/run/memfill.$pid")"
  done
}

step "a disk that holds nothing holds no more VRAM than its reserve"
begin 'spill = none'
reserve=$(mib held)
echo "disk $(($(status server.size) >> 20)) MiB, VRAM held $reserve MiB"
[ "$reserve" -le 48 ] || fail "$reserve MiB are held"

step "every block is written for the first time under pressure"
part=$((($(available) + 60) / 4))
for ((round = 1; round <= rounds; round++)); do
  ((round == 1)) || expect 0 vram-swap up
  hold
  echo "$round: 4 x $part MiB, $(swapped) MiB of them swapped," \
    "VRAM held $(mib held) MiB"
  at_least held $(($(swapped) / 2)) ||
    fail "$(mib held) MiB are held for $(swapped) MiB"
  release
  expect 0 vram-swap down
done

step "a limit that cannot be obeyed is refused with the numbers"
expect 0 vram-swap up
settle moves at_most held "$reserve"
hold
expect 0 vram-swap limit max
expect 3 vram-swap limit 16M
said "cannot limit VRAM to 16.0 MiB: "
said "hold swapped data that cannot be moved: no spill file"
release
stop_daemon

step "programs take and return most VRAM, and the limit goes up and down"
begin
settle moves at_least spill_size 128
expect 0 vram-swap status
[[ $out == *"spill file: 0 B of 128 MiB used"* ]] || fail "$out"
hold
for ((round = 1; round <= rounds; round++)); do
  # All but two slots has to move, whatever is swapped meanwhile.
  tenants $((vram - 40))
  settle moves at_most held 32
  settle moves at_least spilled 16
  if ((round % 2)); then
    expect 0 vram-swap limit 0
    [ "$(mib held)" = 0 ] || fail "$(mib held) MiB are held"
  fi
  expect 0 vram-swap status
  echo "$round: $(swapped) MiB swapped, $(grep -A1 '^VRAM:' <<<"$out" |
    tr -s '\n ' ' ')"
  ((round % 3)) || pkill -KILL -x nbdkit
  tenants 0
  expect 0 vram-swap limit max
  spilled=$(mib spilled)
  settle moves at_most spilled $((spilled > 16 ? spilled - 16 : 0))
done
expect 0 vram-swap status
grep -A3 '^VRAM:' <<<"$out"

step "vram-swap run gives VRAM back while the program runs"
before=$(mib held)
echo "$before MiB held"
expect 7 vram-swap run sh -c "vram-swap limit; exit 7"
printf '%s\n' "$out"
said "limit: 0 B, 0 B held"
# Four slots are held, and no more may be.
expect 0 vram-swap limit 64M
settle moves at_least held 64
expect 0 vram-swap run --free=16M -- vram-swap limit
printf '%s\n' "$out"
said "limit: 48.0 MiB, 48.0 MiB held"
expect 0 vram-swap limit
said "limit: 64.0 MiB"
expect 0 vram-swap limit max
expect 0 vram-swap limit
said "limit: none"
member=(setpriv --reuid=nobody --regid=nogroup --groups=vram-swap)
expect 0 "${member[@]}" vram-swap run vram-swap limit
said "limit: 0 B, 0 B held"
expect 1 "${member[@]}" vram-swap limit 64M
said "only root may do that"

step "what is in the spill file counts, and comes back before sleep"
expect 0 vram-swap limit 0
expect 3 vram-swap down
said "is swapped to /dev/nbd0, and only"
release 3
settle moves at_least spilled 16
expect 0 vram-swap sleep pre suspend
all_is_off
expect 0 vram-swap sleep post
state_becomes on
release
stop_daemon

step "how much of the data is stale, by the setting discard"
# figures WHEN
figures ()
{
  echo "discard = $policy, $1: swap used $(swapped) MiB," \
    "blocks with data $(($(status server.used) >> 20)) MiB," \
    "VRAM held $(mib held) MiB"
}
written ()
{
  awk '$1 == "pswpout" { print $2 }' /proc/vmstat
}
have_written ()
{
  [ "$(written)" -ge "$1" ]
}
for policy in ${ELASTIC_DISCARD-no once pages both}; do
  begin 'spill = none' "discard = $policy"
  hold
  # The programs write anew what they have read.
  settle written have_written $(($(written) + 20000))
  figures "four programs"
  release 2
  figures "two of them have ended"
  sleep 10
  figures "10 s later"
  release
  sleep 10
  figures "10 s after all have ended"
  stop_daemon
done

dmesg |
  grep -E "$complaints|(Read|Write)-error|Out of memory|blocked for more" &&
  fail "the kernel complained"
finish
