# nbdkit-vram: the server is killed again and again while programs are swapped out to it, and nobody notices
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
settings 'size = 256M' 'min-size = 256M' "connections = ${CONNECTIONS:-1}" 'threads = 4'
deaths=${DEATHS:-50}

# The server's process, a child of the one that was started.
server_now ()
{
  pgrep -P "$keeper" -x nbdkit
}

# How often the kernel was given new connections.
outages ()
{
  sed -n 's/^count=//p' /run/vram-swap.outages
}

# How many requests the block layer has given the device: pages go both ways.
requests ()
{
  awk '{ print $1 + $5 }' /sys/block/nbd0/stat
}

export STANDIN_CUDA_MEMORY=300M
vram-swap serve >/run/serve.log 2>&1 &
keeper=$!
expect 0 vram-swap wait-server $keeper
lock_vram $keeper
echo "the stand-in's VRAM: $(cat /run/lockvram.out)"
expect 0 vram-swap up
cat /sys/block/nbd0/queue/io_timeout

fillers=()
part=$((($(available) + 80) / 2))
for _ in 1 2; do
  fill $part random
  fillers+=("$filler")
done
echo "2 x $part MiB filled, $(swapped) MiB of them swapped, $(awk '$1 == "MemFree:" { print int ($2 / 1024) }' /proc/meminfo) MiB free"
[ "$(swapped)" -ge 60 ] || fail "only $(swapped) MiB were swapped"

step "$deaths deaths"
waited=()
for ((n = 1; n <= deaths; n++)); do
  before=$(requests)
  sleep "0.$((RANDOM % 10))"
  pid=
  until [ -n "$pid" ]; do
    pid=$(server_now)
  done
  began=$(date +%s%N)
  case $((n % 10)) in
    3) kill -SEGV "$pid" ;;
    5)
      # What the kernel does when memory is short, to whom it likes least.
      echo 1000 >"/proc/$pid/oom_score_adj"
      echo f >/proc/sysrq-trigger ;;
    *) kill -KILL "$pid" ;;
  esac
  for ((i = 0; i < 600; i++)); do
    [ "$(outages)" -lt "$n" ] || break
    sleep 0.05
  done
  [ "$(outages)" -ge "$n" ] || { fail "no new connections within 30 s after death $n"; break; }
  # Swapping goes on: what had been under way when the server died comes in the end as well.
  for ((i = 0; i < 600; i++)); do
    [ "$(requests)" -le $((before + 20)) ] || break
    sleep 0.05
  done
  [ $((n % 10)) != 0 ] || echo "$n deaths, $(swapped) MiB swapped"
  waited+=($((($(date +%s%N) - began) / 1000000)))
done
printf '%s\n' "${waited[@]}" | sort -n >/run/waited
echo "new connections and swapping again after, ms: p50 $(sed -n "$((${#waited[@]} / 2 + 1))p" /run/waited), max $(tail -n 1 /run/waited)"
sed -n 's/.*new connections after \([0-9]*\) ms/\1/p' /run/vram-swap-reconnect.log | sort -n >/run/outages
echo "new connections after, ms: p50 $(sed -n "$(($(wc -l </run/outages) / 2 + 1))p" /run/outages), max $(tail -n 1 /run/outages), $(wc -l </run/outages) times"
expect 0 vram-swap status
echo "$out"

step "nobody noticed"
kill "${fillers[@]}"
for pid in "${fillers[@]}"; do
  wait "$pid" || fail "memfill: $?"
done
cat /run/memfill.*
dmesg | grep -E "I/O error|Read-error|Write-error|Buffer I/O" && fail "the kernel met errors"
grep -c "took over a disk" /run/serve.log

step "down"
expect 0 vram-swap down
kill $keeper
wait $keeper || fail "serve: $?"
all_is_off
if [ "$failures" != 0 ]; then
  tail -n 20 /run/serve.log /run/vram-swap-reconnect.log
  dmesg | tail -n 40
fi
finish
