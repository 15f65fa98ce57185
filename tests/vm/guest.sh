# nbdkit-vram: what the tests share that run inside the virtual machine
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
#
# Sourced as root in the guest, in the folder that check-vm.sh has made: dest/
# holds what "make install DESTDIR=" installed, driver/ the stand-in for
# NVIDIA's driver.

set -u
failures=0
out=

# Install the way "make install" would have, had it run here.
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

# use_stand_in VARIABLE=VALUE: have the server's unit use the stand-in.
use_stand_in ()
{
  mkdir -p /etc/systemd/system/vram-swap.service.d
  cat >/etc/systemd/system/vram-swap.service.d/stand-in.conf <<EOF
[Service]
Environment=LD_LIBRARY_PATH=/opt/driver $*
EOF
  systemctl daemon-reload
}

# within SECONDS COMMAND...: until it succeeds; fails when it has not in that
# time, or in four times as much, since the machine may share its CPUs with
# others.
within ()
{
  local end=$((SECONDS + 4 * $1 + 1))
  shift
  until "$@"; do
    ((SECONDS < end)) || return 1
    sleep 0.1
  done
}

# wait_for SECONDS COMMAND...: as within, and it counts as a failure.
wait_for ()
{
  within "$@" || fail "not within $1 s: ${*:2}"
}

# ended NAME: no process of that name is left.
ended ()
{
  ! pgrep -x "$1" >/dev/null
}

# lock_vram PID: what the server PID has for VRAM is not swapped, see
# lockvram.c.
lock_vram ()
{
  : >/run/lockvram.out
  ./lockvram "$1" >/run/lockvram.out 2>&1 &
  within 30 grep -q locked /run/lockvram.out ||
    fail "lockvram: $(cat /run/lockvram.out)"
}

# settings [LINE...]: the configuration, small enough for the guest, and LINEs
# over it.
# shellcheck disable=SC2120
settings ()
{
  {
    printf '%s\n' "$@"
    for line in 'size = 64M' 'min-size = 64M' 'headroom = 0' \
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

# expect STATUS COMMAND...: runs it and compares; its output is in $out.
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

# said WORDS: $out contains them.
said ()
{
  case $out in
    *"$1"*) ;;
    *) fail "'$1' is not in: $out" ;;
  esac
}

# swap_is_on [N]: on /dev/nbdN, or nbd0.
# shellcheck disable=SC2120
swap_is_on ()
{
  grep -qE "^(/dev)?/nbd${1:-0} " /proc/swaps ||
    fail "no swap on /dev/nbd${1:-0}: $(cat /proc/swaps)"
}

# Nothing is left of it: no swap, no attached device, no server, no socket.
all_is_off ()
{
  ! grep -q nbd /proc/swaps || fail "swap is on: $(cat /proc/swaps)"
  ! ls /sys/block/nbd*/pid >/dev/null 2>&1 ||
    fail "attached: $(echo /sys/block/nbd*/pid)"
  local server
  ! server=$(pgrep -ax nbdkit) || fail "a server runs: $server"
}

# What the service has said last.
journal ()
{
  journalctl -q --no-pager -o cat -u 'vram-swap*' | tail -n 40
}

# daemon: starts it in the background, as an init script would, and waits until
# swap is on. Its process is $daemon, what it says is in /run/daemon.log.
daemon ()
{
  vram-swap daemon >>/run/daemon.log 2>&1 &
  daemon=$!
  state_becomes on || cat /run/daemon.log
}

# state_becomes STATE [SECONDS]: wait until the daemon says so.
state_becomes ()
{
  within "${2-60}" state_is "$1" || fail "the state is $(status state), not $1"
}

# status FIELD: of what vram-swap status --json says, such as server.pid.
status ()
{
  vram-swap status --json 2>/dev/null | python3 -c '
import functools, json, sys
print (functools.reduce (lambda o, k: o[k], sys.argv[1].split ("."), json.load (sys.stdin)))' "$1" 2>/dev/null
}

state_is ()
{
  [ "$(status state)" = "$1" ]
}

# remembered FIELD: of the state file, which costs less than asking.
remembered ()
{
  sed -n "s/^$1=//p" /run/vram-swap/state
}

outages_are ()
{
  [ "$(remembered outages)" -ge "$1" ]
}

# stop_daemon: as an init script would; nothing is left.
stop_daemon ()
{
  local status=0
  kill -TERM "$daemon"
  wait "$daemon" || status=$?
  [ "$status" = 0 ] || { fail "the daemon ended with $status"; tail -n 40 \
    /run/daemon.log; }
  all_is_off
}

# fill MIB [ORDER]: a verifying program of that size, $filler, has all its
# memory; its words are in /run/memfill.$filler.
fill ()
{
  local words
  words=$(mktemp /run/memfill.XXXXXX)
  nice ./memfill "$@" >"$words" 2>&1 &
  filler=$!
  mv "$words" "/run/memfill.$filler"
  wait_for 180 grep -q filled "/run/memfill.$filler"
}

# In MiB: what programs can have without swap; what is swapped to VRAM.
available ()
{
  awk '$1 == "MemAvailable:" { print int ($2 / 1024) }' /proc/meminfo
}

swapped ()
{
  awk '$1 ~ "/nbd" { print int ($4 / 1024) }' /proc/swaps
}

is_swapped ()
{
  [ "$(swapped)" -ge "$1" ]
}

# lock_vram_to_the_end: as lock_vram, of the service's server, and until the
# machine ends.
lock_vram_to_the_end ()
{
  # A program with memory of its own, not of the folder that the host has lent.
  cp lockvram /run
  expect 0 systemd-run -q --unit=lockvram -p DefaultDependencies=no \
    -p StandardOutput=file:/run/lockvram.out \
    /run/lockvram "$(pgrep -x nbdkit)" 1
  within 30 grep -qs locked /run/lockvram.out ||
    fail "lockvram: $(cat /run/lockvram.out)"
}

# in_use_to_the_end MIB: nearly as much of a unit's memory is swapped to the
# service's VRAM when the machine ends. It is a unit as a user's programs are.
in_use_to_the_end ()
{
  lock_vram_to_the_end
  cp memfill /run
  expect 0 systemd-run -q --unit=program -p KillSignal=SIGKILL /run/memfill \
    $(($(available) + $1))
  within 60 is_swapped $(($1 * 9 / 10)) ||
    fail "only $(swapped) MiB are in use"
}

# What each unit finds when it has been stopped, on the console, for
# check-vm.sh to read when the machine is off.
tell_how_they_stop ()
{
  mkdir -p /etc/systemd/system/vram-swap.service.d
  cat >/etc/systemd/system/vram-swap.service.d/console.conf <<'EOF'
[Service]
ExecStopPost=+/bin/sh -c 'echo "vram-swap has stopped, swaps: $$(grep -c nbd /proc/swaps), result: $$SERVICE_RESULT" >/dev/ttyS0'
EOF
  systemctl daemon-reload
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
