# nbdkit-vram: what the kernel is given new connections to, and when, one case after the other, with nothing swapped out
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
log=/run/vram-swap-reconnect.log
sock=/run/vram-swap/nbd.sock
usual=('connections = 2' 'timeout = 60s' 'threads = 4')

# The server's process, a child of the one that was started.
server_now ()
{
  pgrep -P "$keeper" -x nbdkit
}

# field NAME: of what is remembered.
field ()
{
  sed -n "s/^$1=//p" /run/vram-swap.state /run/vram-swap.outages 2>/dev/null
}

outages_are ()
{
  [ "$(field count)" = "$1" ]
}

# logged WORDS [N]: N times, or more than none.
logged ()
{
  local n
  n=$(grep -c -- "$1" "$log")
  [ "$n" = "${2-$n}" ] && [ "$n" != 0 ]
}

# The device is read, past the page cache, over whichever connection.
reads ()
{
  timeout 20 dd if=/dev/nbd0 of=/dev/null bs=4096 count=4 iflag=direct 2>/dev/null
}

# What watches is ended, and what is in its place now is a child of this script.
stop_watching ()
{
  kill -KILL "${1-$(field watcher_pid)}"
}

watch_again ()
{
  vram-swap reconnect >>"$log" 2>&1 &
  watcher=$!
}

# no_server: and none to come, until kill -CONT.
no_server ()
{
  kill -STOP "$keeper"
  kill -KILL "$(server_now)"
}

settings "${usual[@]}"
vram-swap serve >/run/serve.log 2>&1 &
keeper=$!
expect 0 vram-swap wait-server $keeper
lock_vram $keeper
expect 0 vram-swap up
[ -d /sys/block/nbd0/mq/1 ] || fail "not two queues: $(ls /sys/block/nbd0/mq)"
wait_for 20 grep -q '^disk=' /run/vram-swap.outages

step "killed, and told to end by somebody else"
kill -KILL "$(server_now)"
wait_for 30 outages_are 1
reads || fail "the device cannot be read"
server=$(server_now)
kill -TERM "$server"
sleep 3
reads || fail "the device cannot be read"
[ "$(server_now)" = "$server" ] || fail "the server has ended"
outages_are 1 || fail "$(field count) outages"

step "another disk of the same size"
# It answers, but nothing is on it.
no_server
rm -f "$sock"
nbdkit --foreground --unix "$sock" memory 64M &
other=$!
wait_for 30 logged "has another disk than /dev/nbd0"
sleep 3
logged "has another disk than /dev/nbd0" 1 || fail "said $(grep -c "has another disk" "$log") times"
outages_are 1 || fail "$(field count) outages"
kill $other
wait $other
kill -CONT "$keeper"
wait_for 30 outages_are 2
reads || fail "the device cannot be read"

step "another nbd device has lost its server"
nbdkit --foreground --unix /run/other.sock memory 16M &
other=$!
wait_for 20 test -S /run/other.sock
expect 0 nbd-client -unix /run/other.sock /dev/nbd5
kill -KILL $other
wait $other
sleep 3
outages_are 2 || fail "$(field count) outages"
nbd-client -d /dev/nbd5 >/dev/null

step "nobody watched when the server was replaced"
stop_watching
kill -KILL "$(server_now)"
wait_for 30 server_now >/dev/null
expect 0 vram-swap wait-server $keeper
watch_again
wait_for 30 reads
[ "$(field count)" -ge 2 ] || fail "the count began anew: $(field count)"

step "nobody remembers the device"
stop_watching $watcher
cp /run/vram-swap.state /run/state.kept
rm /run/vram-swap.state
watch_again
sleep 2
before=$(field count)
kill -KILL "$(server_now)"
wait_for 30 outages_are $((before + 1))
wait_for 30 reads
cp /run/state.kept /run/vram-swap.state
expect 0 vram-swap down
wait_for 10 test ! -e /sys/block/nbd0/pid
# 'down' does not know this one, which takes the next device of that name for its own if that comes within two seconds.
stop_watching $watcher 2>/dev/null
wait $watcher

step "the wait is over"
settings "${usual[@]}" 'outage-timeout = 5s'
rm -f "$log"
expect 0 vram-swap up
wait_for 20 grep -q '^disk=' /run/vram-swap.outages
no_server
wait_for 60 logged "the wait (outage-timeout) is over" 1
! reads || fail "the device can be read without a server"
sleep 12
logged "the wait (outage-timeout) is over" 1 || fail "said more than once"
logged "everything that is swapped out waits" && fail "nothing waits any more"
kill -CONT "$keeper"
wait_for 60 outages_are 1
wait_for 30 reads
swap_is_on

step "down"
expect 0 vram-swap down
kill $keeper
wait $keeper || fail "serve: $?"
server_is_gone
all_is_off
if [ "$failures" != 0 ]; then
  tail -n 40 /run/serve.log "$log"
  dmesg | tail -n 40
fi
finish
