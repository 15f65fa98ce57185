# nbdkit-vram: what the tests inside the virtual machine share
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Sourced as root in the guest, in the folder that check-vm.sh has made: dest/
# has what "make install DESTDIR=" installed, driver/ the stand-in for NVIDIA's
# driver.

set -u
failures=0
out=

# Installs as "make install" would.
install_project ()
{
  cp -a dest/. /
  systemd-sysusers \
    "$(find dest -path '*sysusers.d/vram-swap.conf' -printf '/%P')"
  # shellcheck disable=SC2034 # for the tests
  plugin=$(find dest -name 'nbdkit-*-plugin.so' -printf '/%P')
  mkdir -p /opt/driver && cp -a driver/. /opt/driver
  export LD_LIBRARY_PATH=/opt/driver STANDIN_CUDA_MEMORY=2G
  conf=$(vram-swap --help | sed -n 's/.*instead of //p')
  settings ''
}

# use_stand_in VARIABLE=VALUE...: lets the server's unit use the stand-in.
use_stand_in ()
{
  mkdir -p /etc/systemd/system/vram-swap.service.d
  cat >/etc/systemd/system/vram-swap.service.d/stand-in.conf <<EOF
[Service]
Environment=LD_LIBRARY_PATH=/opt/driver $*
EOF
  systemctl daemon-reload
}

# What the kernel says of a disk that fails. With one connection it reports a
# request that takes a second, as on a busy host; it is stuck after 100 s.
# shellcheck disable=SC2034 # for the tests
complaints="nbd.*(error|timed out)|stuck request.*Runtime [0-9]{3}|I/O error"

# within SECONDS COMMAND...: repeats COMMAND until it succeeds. Fails after
# four times as many seconds, because the host's CPUs may be busy.
within ()
{
  local end=$((SECONDS + 4 * $1 + 1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

# wait_for SECONDS COMMAND...: as within, and a timeout fails the test.
wait_for ()
{
  within "$@" || fail "not within $1 s: ${*:2}"
}

# ended NAME: no process of that name is left.
ended ()
{
  ! pgrep -x "$1" >/dev/null
}

# lock_vram PID: keeps the VRAM of server PID from being swapped (lockvram.c).
lock_vram ()
{
  : >/run/lockvram.out
  ./lockvram "$1" >/run/lockvram.out 2>&1 &
  within 30 grep -q locked /run/lockvram.out ||
    fail "lockvram: $(cat /run/lockvram.out)"
}

# settings [LINE...]: writes a configuration of these lines, and defaults that
# are small enough for the guest. Elastic VRAM of the stand-in driver is not
# locked, and a test could swap it out to itself.
# shellcheck disable=SC2120
settings ()
{
  {
    printf '%s\n' "$@"
    for line in 'size = 64M' 'min-size = 64M' 'headroom = 0' 'elastic = no' \
      'start-timeout = 30s'; do
      printf '%s\n' "$@" | grep -q "^${line%% *} " || echo "$line"
    done
  } >"$conf"
}

step ()
{
  echo "# [$(cut -d . -f 1 /proc/uptime) s] $*"
}

fail ()
{
  echo "FAILED: $*"
  failures=$((failures + 1))
}

# expect STATUS COMMAND...: fails unless COMMAND exits with STATUS. Its output
# is in $out.
expect ()
{
  local wanted=$1 status=0
  shift
  out=$("$@" 2>&1) || status=$?
  if [ "$status" != "$wanted" ]; then
    fail "'$*' gave $status, wanted $wanted:"
    printf '%s\n' "$out"
    return 1
  fi
}

# said WORDS: fails unless $out contains them.
said ()
{
  case $out in
    *"$1"*) ;;
    *) fail "'$1' is not in: $out" ;;
  esac
}

# swap_is_on [N]: fails unless swap is on /dev/nbdN (default nbd0).
# shellcheck disable=SC2120
swap_is_on ()
{
  grep -qE "^(/dev)?/nbd${1:-0} " /proc/swaps ||
    fail "no swap on /dev/nbd${1:-0}: $(cat /proc/swaps)"
}

# Fails if there is swap in VRAM, an attached device, or a server.
all_is_off ()
{
  ! grep -q nbd /proc/swaps || fail "swap is on: $(cat /proc/swaps)"
  ! ls /sys/block/nbd*/pid >/dev/null 2>&1 ||
    fail "attached: $(echo /sys/block/nbd*/pid)"
  local server
  ! server=$(pgrep -ax nbdkit) || fail "a server runs: $server"
}

# property NAME: prints a property of the service.
property ()
{
  systemctl show -P "$1" vram-swap.service
}

# Another daemon than $daemon runs and has taken over.
another_daemon ()
{
  local state
  state=$(systemctl show -P MainPID -P ActiveState vram-swap.service |
    paste -sd ' ')
  [ "$state" != "$daemon active" ] && [ "${state#* }" = active ] &&
    [ "${state%% *}" != 0 ]
}

# Prints the service's newest messages.
journal ()
{
  journalctl -q --no-pager -o cat -u 'vram-swap*' | tail -n 40
}

# daemon: starts the daemon in the background, as an init script would, and
# waits until swap is on. Its PID is $daemon, its output in /run/daemon.log.
daemon ()
{
  vram-swap daemon >>/run/daemon.log 2>&1 &
  daemon=$!
  state_becomes on || cat /run/daemon.log
}

# state_becomes STATE [SECONDS]: waits until status reports STATE.
state_becomes ()
{
  within "${2-60}" state_is "$1" || fail "the state is $(status state), not $1"
}

# status FIELD: prints a field of vram-swap status --json, such as server.pid.
status ()
{
  vram-swap status --json 2>/dev/null | python3 -c '
import json, sys
value = json.load (sys.stdin)
for key in sys.argv[1].split ("."):
    value = value[key]
print (value)' "$1" 2>/dev/null
}

state_is ()
{
  [ "$(status state)" = "$1" ]
}

# remembered FIELD: prints a field of the state file, which is faster than
# status.
remembered ()
{
  sed -n "s/^$1=//p" /run/vram-swap/state
}

outages_are ()
{
  [ "$(remembered outages)" -ge "$1" ]
}

# stop_daemon: ends the daemon as an init script would, and checks that nothing
# is left.
stop_daemon ()
{
  local status=0
  kill -TERM "$daemon"
  wait "$daemon" || status=$?
  [ "$status" = 0 ] ||
    { fail "the daemon ended with $status"; tail -n 40 /run/daemon.log; }
  all_is_off
}

# start_filler MIB [ORDER]: starts memfill. Its PID is $filler, its output in
# /run/memfill.$filler.
start_filler ()
{
  local words
  words=$(mktemp /run/memfill.XXXXXX)
  # The file is open before it is renamed.
  {
    nice ./memfill "$@" &
  } >"$words" 2>&1
  filler=$!
  mv "$words" "/run/memfill.$filler"
}

# fill MIB [ORDER]: the same, and waits until it has filled its memory.
fill ()
{
  start_filler "$@"
  wait_for 180 grep -q filled "/run/memfill.$filler"
}

# unnoticed PID...: ends these memfills. No program has read a wrong word, and
# the kernel reports no error.
unnoticed ()
{
  local pid
  kill "$@"
  for pid; do
    wait "$pid" || fail "memfill: exit status $?"
    cat "/run/memfill.$pid"
  done
  dmesg | grep -E "I/O error|Read-error|Write-error" &&
    fail "the kernel reports errors"
}

# field NAME FILE: prints the number behind NAME, in a file such as
# /proc/meminfo or /proc/PID/status.
field ()
{
  awk -v name="$1:" '$1 == name { print $2 }' "$2"
}

# Prints how many MiB programs can have without swap.
available ()
{
  echo $(($(field MemAvailable /proc/meminfo) >> 10))
}

# Prints how many MiB are swapped to VRAM.
swapped ()
{
  awk '$1 ~ "/nbd" { print int ($4 / 1024) }' /proc/swaps
}

is_swapped ()
{
  [ "$(swapped)" -ge "$1" ]
}

# lock_vram_to_the_end: as lock_vram, for the service's server and until the
# machine ends.
lock_vram_to_the_end ()
{
  # A copy, because the host's folder goes away earlier.
  cp lockvram /run
  expect 0 systemd-run -q --unit=lockvram -p DefaultDependencies=no \
    -p StandardOutput=file:/run/lockvram.out \
    /run/lockvram "$(pgrep -x nbdkit)" 1
  within 30 grep -qs locked /run/lockvram.out ||
    fail "lockvram: $(cat /run/lockvram.out)"
}

# in_use_to_the_end MIB: starts a unit of which nearly MIB are swapped to VRAM
# when the machine ends.
in_use_to_the_end ()
{
  lock_vram_to_the_end
  cp memfill /run
  expect 0 systemd-run -q --unit=program -p KillSignal=SIGKILL /run/memfill \
    $(($(available) + $1))
  within 60 is_swapped $(($1 * 9 / 10)) ||
    fail "only $(swapped) MiB are in use"
}

# Lets the service write on the console what it has left when it has stopped.
# check-vm.sh reads that when the machine is off.
tell_how_it_stops ()
{
  mkdir -p /etc/systemd/system/vram-swap.service.d
  cat >/etc/systemd/system/vram-swap.service.d/console.conf <<'EOF'
[Service]
ExecStopPost=+/bin/sh -c 'echo "vram-swap has stopped, swaps:\
$$(grep -c nbd /proc/swaps), result: $$SERVICE_RESULT" >/dev/ttyS0'
EOF
  systemctl daemon-reload
}

# Shows on the console and in the output what hangs.
show_blocked ()
{
  local task
  echo 8 >/proc/sys/kernel/printk
  echo w >/proc/sysrq-trigger
  for task in $(pgrep -x 'nbdkit|vram-swap' | sed 's|$|/task/*|;s|^|/proc/|')
  do
    echo "$task $(cat "$task/comm") $(cat "$task/wchan")"
    cat "$task/stack"
  done
}

finish ()
{
  if [ "$failures" -gt 0 ]; then
    echo "$failures failed"
    exit 1
  fi
  echo "all passed"
  exit 0
}
