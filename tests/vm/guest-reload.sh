# nbdkit-vram: with several connections, programs go on soon after a reload
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
# Expressions are evaluated by within:
# shellcheck disable=SC2016,SC2317
#
# Requests that are under way when the server is killed are sent again after
# their time limit, here a minute and a half.
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=300M
settings 'size = 256M' 'min-size = 256M' 'connections = 4' \
  'gpu-timeout = 30s'

expect 0 systemctl start vram-swap.service
swap_is_on
lock_vram_to_the_end
limit=/sys/block/nbd0/queue/io_timeout
[ "$(cat $limit)" = 90000 ] || fail "the time limit is $(cat $limit) ms"

# Several, so that a request is under way whenever the server is killed.
fillers=()
part=$((($(available) + 200) / 6))
for _ in 1 2 3 4 5 6; do
  fill $part random
  fillers+=("$filler")
done
echo "6 x $part MiB filled, $(swapped) MiB of them swapped"

# faults_of PID: prints how many pages the program has had to read.
faults_of ()
{
  awk '{ print $12 }' "/proc/$1/stat"
}

# all_go_on: every program has read more pages than in $had since it was
# filled in.
all_go_on ()
{
  local i
  for i in "${!fillers[@]}"; do
    [ "$(faults_of "${fillers[i]}")" -gt $((had[i] + 5)) ] || return
  done
}

# On a slow machine, a request of more than two seconds keeps its limit.
step "programs go on before the time limit after three of six reloads"
good=0
for ((n = 1; n <= 6 && good < 3; n++)); do
  expect 0 systemctl reload vram-swap.service
  within 60 outages_are "$n" || fail "no new connections after reload $n"
  had=()
  for pid in "${fillers[@]}"; do
    had+=("$(faults_of "$pid")")
  done
  if within 60 all_go_on; then
    good=$((good + 1))
  else
    wait_for 300 all_go_on
  fi
  [ "$(cat $limit)" = 90000 ] || fail "the time limit is $(cat $limit) ms"
done
echo "$good of $((n - 1)) reloads, $(swapped) MiB swapped"
[ "$good" = 3 ] || fail "programs wait for the time limit"

step "a daemon that dies before the server is replaced leaves no short limit"
limit_is ()
{
  local now
  read -r now <$limit && [ "$now" = "$1" ]
}

# Try again if the server was replaced before the daemon died.
for n in 1 2 3 4 5; do
  server=$(pgrep -x nbdkit) daemon=$(property MainPID)
  systemctl --no-block reload vram-swap.service
  end=$((SECONDS + 60))
  until limit_is 3000 || ((SECONDS > end)); do :; done
  kill -KILL "$daemon"
  within 60 another_daemon || fail "no other daemon"
  within 60 limit_is 90000 || fail "the time limit is $(cat $limit) ms"
  [ "$(pgrep -x nbdkit)" != "$server" ] || break
done
[ "$(pgrep -x nbdkit)" = "$server" ] ||
  fail "the daemon has never died early enough"

step "no program noticed"
unnoticed "${fillers[@]}"
expect 0 systemctl stop vram-swap.service
all_is_off
[ "$failures" = 0 ] || journal
finish
