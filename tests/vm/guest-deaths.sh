# nbdkit-vram: no swapped program notices that server and daemon are killed
# again and again
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh disable=SC2317 # called by within
#
# The server is killed DEATHS times, the daemon DAEMON_DEATHS times, and both
# at once BOTH_DEATHS times. systemd is swapped out itself, as far as the
# kernel allows.
. ./guest.sh
install_project
settings 'size = 256M' 'min-size = 256M' "connections = ${CONNECTIONS:-1}" \
  'threads = 4'
use_stand_in STANDIN_CUDA_MEMORY=300M STANDIN_CUDA_HOST_MEMORY=100M
deaths=${DEATHS:-50} daemon_deaths=${DAEMON_DEATHS:-20} \
  both_deaths=${BOTH_DEATHS:-10} full_deaths=${FULL_DEATHS:-5}

# Prints how many reads and writes the device has completed.
requests ()
{
  awk '{ print $1 + $5 }' /sys/block/nbd0/stat
}

swapping_goes_on ()
{
  [ "$(requests)" -gt $((before + 20)) ]
}

# What systemd has touched before it had a control group is not kept in RAM.
expect 0 systemctl daemon-reexec
expect 0 systemctl start vram-swap.service
swap_is_on
lock_vram_to_the_end
echo "the stand-in's VRAM: $(cat /run/lockvram.out);" \
  "PID 1: $(cat /sys/fs/cgroup/init.scope/memory.swap.max) B of swap"
cat /sys/block/nbd0/queue/io_timeout

# wait_for_swap N: waits until the kernel has been given new connections N
# times and swaps again.
wait_for_swap ()
{
  if ! within 60 outages_are "$1"; then
    fail "no new connections after death $n: $(remembered outages) so far"
    return 1
  fi
  if ! within 60 swapping_goes_on; then
    fail "no swapping after death $n"
    return 1
  fi
}

# The spare memory is complete, and enough for what the stand-in takes.
spare_is_there ()
{
  local spare
  spare=$(status memory.spare)
  [ "$spare" = "$(status memory.spare_wanted)" ] &&
    [ "$spare" -ge $((100 << 20)) ]
}

step "the next server finds memory, though a program takes all there is"
# Files in memory grow faster than memfill. This one takes what the dead server
# has had, and waits for swap, before the next server starts.
mount -o remount,size=90% /dev/shm
for ((n = 1; n <= full_deaths; n++)); do
  within 60 spare_is_there || fail "$(status memory.spare) bytes are spare"
  before=$(requests) had=$(remembered outages)
  dd if=/dev/zero of=/dev/shm/file bs=1M count=$(($(available) + 200)) \
    2>/run/dd &
  wait_for 60 is_swapped 10
  kill -KILL "$(pgrep -x nbdkit)"
  wait_for_swap $((had + 1)) || break
  wait $! || fail "dd: $(cat /run/dd)"
  echo "$n: $(swapped) MiB swapped," \
    "spare $(($(status memory.spare) >> 20)) MiB"
  rm /dev/shm/file
done
within 60 spare_is_there || fail "$(status memory.spare) bytes are spare"
had=$(remembered outages)

fillers=()
part=$((($(available) + 80) / 2))
for _ in 1 2; do
  fill $part random
  fillers+=("$filler")
done
echo "2 x $part MiB filled, $(swapped) MiB of them swapped," \
  "$(($(field MemFree /proc/meminfo) >> 10)) MiB free"
[ "$(swapped)" -ge 60 ] || fail "only $(swapped) MiB were swapped"
# Swap out what the kernel would take of PID 1 under pressure.
echo 50M >/sys/fs/cgroup/init.scope/memory.reclaim 2>/dev/null
echo "PID 1 has $(field VmSwap /proc/1/status) kB swapped out"

# median FILE: prints the middle one of its sorted lines.
median ()
{
  sed -n "$(($(wc -l <"$1") / 2 + 1))p" "$1"
}

# kill_server N: by SIGKILL, or every tenth time by SIGSEGV or the OOM killer.
kill_server ()
{
  local pid
  pid=$(pgrep -x nbdkit) || return
  case $(($1 % 10)) in
    3) kill -SEGV "$pid" ;;
    5)
      # The OOM killer chooses the process with the highest score.
      echo 1000 >"/proc/$pid/oom_score_adj"
      echo f >/proc/sysrq-trigger ;;
    *) kill -KILL "$pid" ;;
  esac
}

step "swap goes on after $deaths deaths of the server"
waited=()
for ((n = 1; n <= deaths; n++)); do
  before=$(requests)
  sleep "0.$((RANDOM % 10))"
  began=$(date +%s%N)
  until kill_server "$n"; do sleep 0.1; done
  wait_for_swap $((had + n)) || break
  waited+=($((($(date +%s%N) - began) / 1000000)))
  [ $((n % 10)) != 0 ] || echo "$n deaths, $(swapped) MiB swapped"
done
printf '%s\n' "${waited[@]}" | sort -n >/run/waited
echo "new connections and swapping again after, ms:" \
  "p50 $(median /run/waited), max $(tail -n 1 /run/waited)"
journalctl -q --no-pager -o cat -u vram-swap.service |
  sed -n 's/.*reconnected after \([0-9]*\) ms/\1/p' | sort -n >/run/outages
echo "reconnected after, ms: p50 $(median /run/outages)," \
  "max $(tail -n 1 /run/outages), $(wc -l </run/outages) times"

step "swap and server go on after $daemon_deaths deaths of the daemon"
for ((n = 1; n <= daemon_deaths; n++)); do
  before=$(requests) daemon=$(property MainPID) server=$(pgrep -x nbdkit)
  kill -KILL "$daemon"
  within 60 another_daemon || { fail "no other daemon"; break; }
  within 60 swapping_goes_on ||
    { fail "no swapping after the daemon's death $n"; break; }
  [ "$(pgrep -x nbdkit)" = "$server" ] ||
    fail "the server has not outlived the daemon"
  [ $((n % 5)) != 0 ] || echo "$n deaths, $(swapped) MiB swapped"
done

step "swap goes on after $both_deaths deaths of both at once"
for ((n = 1; n <= both_deaths; n++)); do
  before=$(requests) daemon=$(property MainPID) had=$(remembered outages)
  # The last time, what the daemon remembers is lost, too.
  if ((n == both_deaths)); then
    kill -STOP "$daemon"
    rm /run/vram-swap/state
    had=0
  fi
  # The order alternates.
  if ((n % 2)); then
    kill -KILL "$daemon" "$(pgrep -x nbdkit)"
  else
    kill -KILL "$(pgrep -x nbdkit)" "$daemon"
  fi
  within 60 another_daemon || { fail "no other daemon"; break; }
  wait_for_swap $((had + 1)) || break
done
expect 0 vram-swap status
echo "$out"

step "no program noticed"
unnoticed "${fillers[@]}"
journalctl -q --no-pager -o cat -u vram-swap.service |
  grep -c "took over a disk"

step "a stop leaves nothing behind"
expect 0 systemctl stop vram-swap.service
all_is_off
[ "$(systemctl show -P NFileDescriptorStore vram-swap.service)" = 0 ] ||
  fail "systemd still keeps descriptors"
[ "$(cat /sys/fs/cgroup/init.scope/memory.swap.max)" = max ] ||
  fail "PID 1 is still kept out of swap"
[ "$failures" = 0 ] || journal
finish
