# nbdkit-vram: what the kernel is given new connections to, and when, one case
# after the other, with nothing swapped out
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh disable=SC2016,SC2317 # evaluated and called by within and wait_for
. ./guest.sh
install_project
log=/run/daemon.log
usual=('connections = 2' 'timeout = 60s' 'threads = 4')

# logged WORDS [N]: N times, or more than none.
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

# The device is read, past the page cache, over whichever connection.
reads ()
{
  timeout "${1-20}" dd if=/dev/nbd0 of=/dev/null bs=4096 count=4 iflag=direct \
    2>/dev/null
}

# no_server: and none to come, until kill -CONT.
no_server ()
{
  kill -STOP "$daemon"
  kill -KILL "$(pgrep -x nbdkit)"
}

settings "${usual[@]}"
daemon
lock_vram "$daemon"
[ -d /sys/block/nbd0/mq/1 ] || fail "not two queues: $(ls /sys/block/nbd0/mq)"
[ -n "$(remembered disk)" ] || fail "the disk is not known"

step "killed, and told to end by another process"
kill -KILL "$(pgrep -x nbdkit)"
wait_for 30 outages_are 1
reads || fail "the device cannot be read"
server=$(pgrep -x nbdkit)
kill -TERM "$server"
sleep 3
reads || fail "the device cannot be read"
[ "$(pgrep -x nbdkit)" = "$server" ] || fail "the server has ended"
outages_are_just 1 || fail "$(remembered outages) outages"

step "another disk of the same size"
# It answers, but nothing is on it.
expect 0 vram-swap down
stop_daemon
mkdir /run/fake
cat >/run/fake/nbdkit <<'END'
#!/bin/sh
# Instead of the plugin, while there is this file.
[ ! -e /run/other-disk ] || exec /usr/bin/nbdkit --foreground --unix "$3" memory 64M
exec /usr/bin/nbdkit "$@"
END
chmod +x /run/fake/nbdkit
PATH=/run/fake:$PATH daemon
lock_vram "$daemon"
touch /run/other-disk
kill -KILL "$(pgrep -x nbdkit)"
wait_for 30 logged "has another disk than /dev/nbd0"
sleep 3
logged "has another disk than /dev/nbd0" 1 ||
  fail "said $(grep -c "has another disk" "$log") times"
outages_are_just 0 || fail "$(remembered outages) outages"
expect 0 vram-swap status
said "VRAM swap: outage"
rm /run/other-disk
kill -KILL "$(pgrep -x nbdkit)"
wait_for 30 outages_are 1
reads || fail "the device cannot be read"

step "another nbd device has lost its server"
nbdkit --foreground --unix /run/other.sock memory 16M &
other=$!
wait_for 20 test -S /run/other.sock
expect 0 nbd-client -unix /run/other.sock /dev/nbd5
kill -KILL $other
wait $other
sleep 3
outages_are_just 1 || fail "$(remembered outages) outages"
nbd-client -d /dev/nbd5 >/dev/null

step "the daemon dies, then the server, and there is no systemd that has the disk"
# The next daemon goes on with the server, and says that its disk would end
# with it.
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
  step "the wait is over, with $connections connection(s)"
  case $connections in
    1) settings 'connections = 1' 'outage-timeout = 5s' ;;
    2) settings "${usual[@]}" 'outage-timeout = 5s' ;;
  esac
  rm -f "$log"
  PATH=/run/fake:$PATH daemon
  lock_vram "$daemon"
  # One request that is under way when the server dies: it has been sent, and
  # is not answered.
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
  wait_for 60 logged "the wait (outage-timeout) is over" 1
  status=0
  within 60 eval "! kill -0 $reader 2>/dev/null" ||
    fail "what was under way waits for ever"
  wait $reader && fail "it was read without a server"
  ! reads || fail "the device can be read without a server"
  sleep 12
  logged "the wait (outage-timeout) is over" 1 || fail "said more than once"
  logged "everything that is swapped out waits" &&
    fail "nothing waits any more"
  mv /run/fake/away /run/fake/nbdkit
  wait_for 60 outages_are 1
  wait_for 30 reads
  swap_is_on
  # And it waits again.
  kill -KILL "$(pgrep -x nbdkit)"
  reads 60 || fail "the device does not wait any more"
  stop_daemon
done

step "a next server that would not start is not tried"
settings "${usual[@]}"
PATH=/run/fake:$PATH daemon
server=$(pgrep -x nbdkit)
mv "$plugin" /run/plugin.away
expect 1 vram-swap reload
said "the server is not replaced"
[ "$(pgrep -x nbdkit)" = "$server" ] || fail "the server is another one"
echo "no plugin" >"$plugin"
expect 1 vram-swap reload
said "the server is not replaced"
mv /run/plugin.away "$plugin"
settings "${usual[@]}" 'plugin-args = foo=bar'
expect 1 vram-swap reload
said "foo"
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

step "a policy whose time comes while the server is replaced, and a stop meanwhile"
printf '#!/bin/sh\nsleep 3\nexec /usr/bin/nbdkit "$@"\n' >/run/fake/nbdkit
PATH=/run/fake:$PATH daemon
vram-swap reload >/run/reload 2>&1 &
reload=$!
sleep 1
expect 0 vram-swap down
wait $reload
# What the check had started ends by itself.
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

step "the driver is updated under the server"
daemon
expect 0 vram-swap status
case $out in
  *"was updated"*) fail "an update that there was not: $out" ;;
esac
library=$(realpath /opt/driver/libcuda.so.1)
cp "$library" "$library.new"
mv "$library.new" "$library"
expect 0 vram-swap status
said "was updated since this server started"
stop_daemon

step "all processes are told to end, and killed, while swapoff waits for the server"
# As at the end of a shutdown. With one connection the kernel would ask again
# for ever.
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
echo 30M >/sys/fs/cgroup/victim/memory.reclaim 2>/dev/null
[ "$(swapped)" -ge 10 ] || fail "only $(swapped) MiB are swapped out"
server=$(pgrep -x nbdkit)
kill -STOP "$server"
kill -TERM $daemon
wait_for 30 eval '[ "$(pgrep -x vram-swap | wc -l)" = 3 ]'
sleep 2
kill -TERM $daemon
wait_for 30 logged "what is in it is given up"
kill -KILL $daemon "$server" $victim
wait $daemon $victim 2>/dev/null
wait_for 60 ended vram-swap
# Whatever is left, the next one clears it away.
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
