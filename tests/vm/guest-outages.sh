# nbdkit-vram: after a server's death the kernel gets new connections, to a
# server with the same disk only
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
# Functions and expressions are evaluated by within and wait_for:
# shellcheck disable=SC2016,SC2317
. ./guest.sh
install_project
log=/run/daemon.log
usual=('connections = 2' 'timeout = 60s' 'threads = 4')

# logged WORDS [N]: the log has them N times, or at least once.
logged ()
{
  local n
  n=$(grep -c -- "$1" "$log")
  [ "$n" = "${2-$n}" ] && [ "$n" != 0 ]
}

outages_are_just ()
{
  [ "$(remembered outages)" = "$1" ]
}

# reads [SECONDS]: reads the device, past the page cache.
reads ()
{
  timeout "${1-20}" dd if=/dev/nbd0 of=/dev/null bs=4096 count=4 iflag=direct \
    2>/dev/null
}

settings "${usual[@]}"
daemon
lock_vram "$daemon"
[ -d /sys/block/nbd0/mq/1 ] || fail "not two queues: $(ls /sys/block/nbd0/mq)"
[ -n "$(remembered disk)" ] || fail "the disk is not known"

step "a server that was killed is replaced, and one told to end goes on"
kill -KILL "$(pgrep -x nbdkit)"
wait_for 30 outages_are 1
reads || fail "the device cannot be read"
server=$(pgrep -x nbdkit)
kill -TERM "$server"
sleep 3
reads || fail "the device cannot be read"
[ "$(pgrep -x nbdkit)" = "$server" ] || fail "the server has ended"
outages_are_just 1 || fail "$(remembered outages) outages"

step "the kernel is not connected to another disk of the same size"
# Such a disk would answer with zeros.
expect 0 vram-swap down
stop_daemon
mkdir /run/fake
cat >/run/fake/nbdkit <<'END'
#!/bin/sh
# While this file exists, serve another disk.
[ ! -e /run/other-disk ] ||
  exec /usr/bin/nbdkit --foreground --unix "$3" memory 64M
exec /usr/bin/nbdkit "$@"
END
chmod +x /run/fake/nbdkit
PATH=/run/fake:$PATH daemon
lock_vram "$daemon"
touch /run/other-disk
kill -KILL "$(pgrep -x nbdkit)"
wait_for 30 logged "serves a different disk than /dev/nbd0"
sleep 3
logged "serves a different disk than /dev/nbd0" 1 ||
  fail "said $(grep -c "serves a different disk" "$log") times"
outages_are_just 0 || fail "$(remembered outages) outages"
expect 0 vram-swap status
said "VRAM swap: outage"
rm /run/other-disk
kill -KILL "$(pgrep -x nbdkit)"
wait_for 30 outages_are 1
reads || fail "the device cannot be read"

step "the daemon ignores another nbd device that loses its server"
nbdkit --foreground --unix /run/other.sock memory 16M &
other=$!
wait_for 20 test -S /run/other.sock
expect 0 nbd-client -unix /run/other.sock /dev/nbd5
kill -KILL $other
wait $other
sleep 3
outages_are_just 1 || fail "$(remembered outages) outages"
nbd-client -d /dev/nbd5 >/dev/null

step "without systemd a disk outlives its daemon, but then not its server"
# The next daemon goes on with the server, and says that the disk will be lost
# with the server.
kill -KILL $daemon
wait $daemon 2>/dev/null
daemon
logged "the disk's descriptors were not passed on" || fail "no warning"
swap_is_on
kill -KILL "$(pgrep -x nbdkit)"
state_becomes failed
expect 0 vram-swap status
said "the server's disk is lost"
# Nothing was swapped out.
expect 0 vram-swap down
all_is_off
stop_daemon

for connections in 1 2; do
  step "requests fail after outage-timeout, with $connections connection(s)"
  case $connections in
    1) settings 'connections = 1' 'outage-timeout = 5s' ;;
    2) settings "${usual[@]}" 'outage-timeout = 5s' ;;
  esac
  rm -f "$log"
  PATH=/run/fake:$PATH daemon
  lock_vram "$daemon"
  # A request has been sent, and not answered, when the server dies.
  server=$(pgrep -x nbdkit)
  kill -STOP "$server"
  reads 100 &
  reader=$!
  sleep 1
  # The next server does not come up.
  mv /run/fake/nbdkit /run/fake/away
  printf '#!/bin/sh\nexit 1\n' >/run/fake/nbdkit
  chmod +x /run/fake/nbdkit
  kill -KILL "$server"
  wait_for 60 logged "(outage-timeout): failing all requests" 1
  status=0
  within 60 eval "! kill -0 $reader 2>/dev/null" ||
    fail "the request waits for ever"
  wait $reader && fail "it was read without a server"
  ! reads || fail "the device can be read without a server"
  sleep 12
  logged "(outage-timeout): failing all requests" 1 ||
    fail "said more than once"
  logged "programs that need swapped pages wait" &&
    fail "nothing waits any more"
  mv /run/fake/away /run/fake/nbdkit
  wait_for 60 outages_are 1
  wait_for 30 reads
  swap_is_on
  # Requests wait again at the next death.
  kill -KILL "$(pgrep -x nbdkit)"
  reads 60 || fail "requests do not wait any more"
  stop_daemon
done

step "reload keeps the server when the next one would not start"
settings "${usual[@]}"
PATH=/run/fake:$PATH daemon
server=$(pgrep -x nbdkit)
mv "$plugin" /run/plugin.away
expect 1 vram-swap reload
said "not replacing the server"
[ "$(pgrep -x nbdkit)" = "$server" ] || fail "the server is another one"
echo "no plugin" >"$plugin"
expect 1 vram-swap reload
said "not replacing the server"
mv /run/plugin.away "$plugin"
settings "${usual[@]}" 'plugin-args = foo=bar'
expect 1 vram-swap reload
said "foo"
said "the settings stay as they are"
# The next server has the settings of this one.
outages=$(remembered outages)
kill -KILL "$server"
wait_for 30 outages_are $((outages + 1))
server=$(pgrep -x nbdkit)
settings "${usual[@]}" 'socket = /var/nbd.sock'
expect 1 vram-swap reload
said "its user cannot write to /var"
settings "${usual[@]}" 'nonsense = 1'
expect 2 vram-swap reload
said "unknown key"
settings "${usual[@]}"
[ "$(pgrep -x nbdkit)" = "$server" ] || fail "the server is another one"
reads || fail "the device cannot be read"
expect 0 vram-swap reload
[ "$(pgrep -x nbdkit)" != "$server" ] || fail "the server is the old one"
reads || fail "the device cannot be read"
stop_daemon

step "down and the idle policy work while the server is replaced"
printf '#!/bin/sh\nsleep 3\nexec /usr/bin/nbdkit "$@"\n' >/run/fake/nbdkit
PATH=/run/fake:$PATH daemon
vram-swap reload >/run/reload 2>&1 &
reload=$!
sleep 1
expect 0 vram-swap down
wait $reload
# The nbdkit that checked whether the next server would start ends by itself.
wait_for 30 ended nbdkit
all_is_off
expect 0 vram-swap up
expect 0 vram-swap reload
settings "${usual[@]}" 'idle-down = 1'
expect 0 vram-swap reload
state_becomes paused
all_is_off
settings "${usual[@]}"
stop_daemon

step "status says that the driver was updated, and only then"
daemon
expect 0 vram-swap status
case $out in
  *"was updated"*) fail "the driver was not updated: $out" ;;
esac
library=$(realpath /opt/driver/libcuda.so.1)
cp "$library" "$library.new"
mv "$library.new" "$library"
expect 0 vram-swap status
said "was updated since the server started"
stop_daemon

step "all processes can be killed while swapoff waits for the server"
# As at the end of a shutdown. With one connection the kernel would repeat the
# request for ever.
settings 'connections = 1'
rm -f "$log"
PATH=/run/fake:$PATH daemon
lock_vram "$daemon"
mkdir /sys/fs/cgroup/victim
echo +memory >/sys/fs/cgroup/cgroup.subtree_control
(
  echo $BASHPID >/sys/fs/cgroup/victim/cgroup.procs
  exec ./memfill 30 random >/run/victim 2>&1
) &
victim=$!
wait_for 60 grep -q filled /run/victim
kill -STOP $victim
# The kernel may give up early, with EAGAIN.
victim_is_swapped ()
{
  [ "$(swapped)" -ge 10 ] ||
    { echo 30M >/sys/fs/cgroup/victim/memory.reclaim; } 2>/dev/null
  [ "$(swapped)" -ge 10 ]
}
wait_for 60 victim_is_swapped
server=$(pgrep -x nbdkit)
kill -STOP "$server"
kill -TERM $daemon
wait_for 30 eval '[ "$(pgrep -x vram-swap | wc -l)" = 3 ]'
sleep 2
kill -TERM $daemon
wait_for 30 logged "its data is lost when the server is killed"
kill -KILL $daemon "$server" $victim
wait $daemon $victim 2>/dev/null
wait_for 60 ended vram-swap
# The next daemon clears away what is left.
daemon_or_failed ()
{
  state_is on || state_is failed
}
vram-swap daemon >>/run/daemon.log 2>&1 &
daemon=$!
wait_for 60 daemon_or_failed
stop_daemon
if [ "$failures" != 0 ]; then
  tail -n 60 "$log"
  dmesg | tail -n 40
fi
finish
