# nbdkit-vram: memory pressure in each way that the service can be set up, and
# the server never leaves RAM
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
store=448
cgroup=/sys/fs/cgroup/server
mkdir $cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
echo 0 >$cgroup/memory.swap.max

# What the store leaves of the machine's memory.
total=$(($(awk '$1 == "MemTotal:" { print int ($2 / 1024) }' /proc/meminfo) - store))

# major_faults PID: of all its threads, so far.
major_faults ()
{
  cat "/proc/$1"/task/*/stat | sed 's/.*) //' |
    awk '{ n += $10 } END { print n + 0 }'
}

# in_use PATTERN: how many MiB are swapped to such devices.
in_use ()
{
  awk -v device="$1" '$1 ~ device { n += $4 } END { print int (n / 1024) }' \
    /proc/swaps
}

# under_pressure PERCENT [PATTERN]: four programs at once use so much of
# $total, three of them going from page to page in no order.
under_pressure ()
{
  local before pid order slowest=0 began stat fillers=() \
    part=$((total * $1 / 400))
  before=$(major_faults "$server")
  stat=$(awk '{ print $3 / 2048 "+" $7 / 2048 }' "/sys/block/nbd0/stat")
  for order in random onward random random; do
    fill $part $order "${2-}"
    # Those that have theirs wait for the others, which makes it several times
    # faster in a machine that is emulated.
    kill -STOP "$filler"
    fillers+=("$filler")
  done
  kill -CONT "${fillers[@]}"
  sleep 10
  # The machine stays usable: new programs start, small files are written.
  for _ in 1 2 3; do
    began=$(date +%s%N)
    timeout 60 sh -c 'ls -l /usr/bin | sort >/tmp/list && sync' ||
      fail "a small program took over a minute"
    began=$((($(date +%s%N) - began) / 1000000))
    [ $began -le $slowest ] || slowest=$began
  done
  echo "4 x $part MiB in $total MiB, swapped: $(in_use nbd) MiB to VRAM, $(in_use zram) MiB to zram;" \
    "a small program takes at most $slowest ms"
  [ "$(in_use nbd)" -ge 100 ] || fail "only $(in_use nbd) MiB were swapped"
  kill "${fillers[@]}"
  for pid in "${fillers[@]}"; do
    wait "$pid" || fail "memfill: $(cat /run/memfill.*)"
  done
  grep -h wrong /run/memfill.*
  rm /run/memfill.*
  echo "MiB read from and written to VRAM: $stat before, $(awk '{ print $3 / 2048 "+" $7 / 2048 }' /sys/block/nbd0/stat) after;" \
    "the server: $(($(major_faults "$server") - before)) major faults," \
    "$(awk '$1 == "VmLck:" || $1 == "VmRSS:" || $1 == "VmSwap:" { printf "%s %d MiB ", $1, $2 / 1024 }' "/proc/$server/status")"
  [ "$(major_faults "$server")" = "$before" ] ||
    fail "the server had major faults"
  [ "$(awk '$1 == "VmSwap:" { print $2 }' "/proc/$server/status")" = 0 ] ||
    fail "the server was swapped out"
}

# served SETTING...: the service with these, and the stand-in's VRAM, which is
# the guest's own RAM, held there.
served ()
{
  step "$*"
  settings "size = ${store}M" "min-size = ${store}M" "$@"
  export STANDIN_CUDA_MEMORY=500M
  # In the cgroup from the start: what it allocates counts there.
  (
    echo $BASHPID >$cgroup/cgroup.procs
    exec vram-swap daemon >/run/daemon.log 2>&1
  ) &
  daemon=$!
  state_becomes on
  lock_vram $daemon
  server=$(pgrep -x nbdkit)
}

over ()
{
  stop_daemon
}

for way in ${MIX:-1 2 3 4}; do
  case $way in
    1)
      served 'connections = 1' 'threads = 1'
      under_pressure 150
      over ;;
    2)
      served 'connections = 4' 'threads = 1'
      step "and nearly nothing kept free"
      least=$(cat /proc/sys/vm/min_free_kbytes)
      echo 500 >/proc/sys/vm/min_free_kbytes
      under_pressure 150
      echo "$least" >/proc/sys/vm/min_free_kbytes
      over ;;
    3)
      served 'connections = 4' 'threads = 4'
      step "and the server's cgroup is squeezed"
      # No more than it has, and room for what its sockets hold; and all the
      # time all is taken from it that can be.
      echo $(($(cat $cgroup/memory.current) + (2 << 20))) >$cgroup/memory.max
      while sleep 0.2; do
        echo 1G >$cgroup/memory.reclaim
      done 2>/dev/null &
      squeeze=$!
      under_pressure 150
      kill $squeeze
      echo "the cgroup: limit $(cat $cgroup/memory.max), peak $(cat $cgroup/memory.peak)," \
        "$(grep -E '^(pgscan|pgsteal|unevictable) ' $cgroup/memory.stat | paste -sd ' ')," \
        "$(paste -sd ' ' $cgroup/memory.events)"
      over
      echo max >$cgroup/memory.max ;;
    4)
      served 'connections = 1' 'threads = 16'
      step "and zram beside it, which gets what VRAM has no room for"
      modprobe zram
      echo 256M >/sys/block/zram0/disksize
      mkswap /dev/zram0 >/dev/null
      swapon -p 100 /dev/zram0
      expect 0 vram-swap status
      printf '%s\n' "$out" | grep -E '^(fills|  *then)'
      # Pages that are freed leave holes, so the order is what shows when VRAM
      # is full for the first time.
      while :; do
        if [ "$(in_use zram)" -ge 8 ]; then
          in_use nbd >/run/vram-before-zram
          break
        fi
        sleep 0.2
      done &
      watch=$!
      under_pressure 165 repeating
      kill $watch 2>/dev/null
      echo "VRAM had $(cat /run/vram-before-zram) of $store MiB when zram got its first"
      [ "$(cat /run/vram-before-zram)" -ge $((store - 32)) ] ||
        fail "zram was used before VRAM was full"
      over
      swapoff /dev/zram0 ;;
  esac
done

dmesg | grep -E \
  "nbd.*(error|timed out|stuck)|I/O error|Read-error|Write-error|Out of memory|blocked for more" &&
  fail "the kernel complained"
finish
