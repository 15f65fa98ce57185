# nbdkit-vram: under memory pressure no byte is lost and the server stays in
# RAM, in each setup of the service
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

# The memory of the machine without the store, in MiB.
total=$((($(field MemTotal /proc/meminfo) >> 10) - store))

# major_faults PID: prints how many all its threads have had.
major_faults ()
{
  cat "/proc/$1"/task/*/stat | sed 's/.*) //' |
    awk '{ n += $10 } END { print n + 0 }'
}

# in_use PATTERN: prints how many MiB are swapped to the devices that match.
in_use ()
{
  awk -v device="$1" '$1 ~ device { n += $4 } END { print int (n / 1024) }' \
    /proc/swaps
}

# traffic: prints the MiB read from and written to VRAM, as "READ+WRITTEN".
traffic ()
{
  awk '{ print $3 / 2048 "+" $7 / 2048 }' /sys/block/nbd0/stat
}

# under_pressure PERCENT [PATTERN]: four programs together use PERCENT of
# $total. Three of them access their pages in random order.
under_pressure ()
{
  local before pid order slowest=0 began traffic fillers=() \
    part=$((total * $1 / 400))
  before=$(major_faults "$server")
  traffic=$(traffic)
  for order in random onward random random; do
    fill $part $order "${2-}"
    # Programs that have filled their memory wait for the others. On emulated
    # CPUs that is several times faster.
    kill -STOP "$filler"
    fillers+=("$filler")
  done
  kill -CONT "${fillers[@]}"
  sleep 10
  # The machine stays usable: programs start, and can write small files.
  for _ in 1 2 3; do
    began=$(date +%s%N)
    timeout 60 sh -c 'ls -l /usr/bin | sort >/tmp/list && sync' ||
      fail "a small program took over a minute"
    began=$((($(date +%s%N) - began) / 1000000))
    [ $began -le $slowest ] || slowest=$began
  done
  echo "4 x $part MiB in $total MiB," \
    "swapped: $(in_use nbd) MiB to VRAM, $(in_use zram) MiB to zram;" \
    "a small program takes at most $slowest ms"
  [ "$(in_use nbd)" -ge 100 ] || fail "only $(in_use nbd) MiB were swapped"
  kill "${fillers[@]}"
  for pid in "${fillers[@]}"; do
    wait "$pid" || fail "memfill: $(cat /run/memfill.*)"
  done
  grep -h wrong /run/memfill.*
  rm /run/memfill.*
  echo "MiB read from and written to VRAM:" \
    "$traffic before, $(traffic) after;" \
    "the server: $(($(major_faults "$server") - before)) major faults," \
    "$(grep -E '^Vm(Lck|RSS|Swap):' "/proc/$server/status" | paste -sd ' ')"
  [ "$(major_faults "$server")" = "$before" ] ||
    fail "the server had major faults"
  [ "$(field VmSwap "/proc/$server/status")" = 0 ] ||
    fail "the server was swapped out"
}

# serve SETTING...: starts the service with these settings, and locks the
# stand-in's VRAM, which is the guest's own memory.
serve ()
{
  step "$*"
  settings "size = ${store}M" "min-size = ${store}M" "$@"
  export STANDIN_CUDA_MEMORY=500M
  # In the cgroup from the start, so that what it allocates counts there.
  (
    echo $BASHPID >$cgroup/cgroup.procs
    exec vram-swap daemon >/run/daemon.log 2>&1
  ) &
  daemon=$!
  state_becomes on
  lock_vram $daemon
  server=$(pgrep -x nbdkit)
}

for way in ${MIX:-1 2 3 4}; do
  case $way in
    1)
      serve 'connections = 1' 'threads = 1'
      under_pressure 150
      stop_daemon ;;
    2)
      serve 'connections = 4' 'threads = 1'
      step "hardly any memory kept free"
      least=$(cat /proc/sys/vm/min_free_kbytes)
      echo 500 >/proc/sys/vm/min_free_kbytes
      under_pressure 150
      echo "$least" >/proc/sys/vm/min_free_kbytes
      stop_daemon ;;
    3)
      serve 'connections = 4' 'threads = 4'
      step "the server's cgroup at its limit, and reclaimed all the time"
      # It may have what it has now, and 2 MiB for its sockets' buffers.
      echo $(($(cat $cgroup/memory.current) + (2 << 20))) >$cgroup/memory.max
      while sleep 0.2; do
        echo 1G >$cgroup/memory.reclaim
      done 2>/dev/null &
      squeeze=$!
      under_pressure 150
      kill $squeeze
      echo "the cgroup: limit $(cat $cgroup/memory.max)," \
        "peak $(cat $cgroup/memory.peak)," \
        "$(grep -E '^(pgscan|pgsteal|unevictable) ' $cgroup/memory.stat |
          paste -sd ' ')," \
        "$(paste -sd ' ' $cgroup/memory.events)"
      stop_daemon
      echo max >$cgroup/memory.max ;;
    4)
      serve 'connections = 1' 'threads = 16'
      step "zram of a lower priority, which is used when VRAM is full"
      modprobe zram
      echo 256M >/sys/block/zram0/disksize
      mkswap /dev/zram0 >/dev/null
      swapon -p 100 /dev/zram0
      expect 0 vram-swap status
      printf '%s\n' "$out" | grep -E '^(fills|  *then)'
      # VRAM must be full when zram is used for the first time. Later, pages
      # that are freed leave holes.
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
      echo "VRAM held $(cat /run/vram-before-zram) of $store MiB" \
        "when zram was first used"
      [ "$(cat /run/vram-before-zram)" -ge $((store - 32)) ] ||
        fail "zram was used before VRAM was full"
      stop_daemon
      swapoff /dev/zram0 ;;
  esac
done

dmesg |
  grep -E "$complaints|(Read|Write)-error|Out of memory|blocked for more" &&
  fail "the kernel complained"
finish
