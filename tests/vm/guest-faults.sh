# nbdkit-vram: a copy that fails is reported once, and harms at most the
# program that needs the page
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=300M STANDIN_CUDA_FAIL_FILE=/tmp/faults
settings 'size = 256M' 'min-size = 256M' 'connections = 1'

# faults LINE: the next copies fail as LINE says. The stand-in reads the file
# at each call.
faults ()
{
  local file
  file=/proc/$server/root/tmp/faults
  echo "$1" >"$file.new"
  # The stand-in unlinks the file, and /tmp is sticky.
  chown "$user" "$file.new"
  mv "$file.new" "$file"
}

# reports WORD: prints the lines of the service's log with WORD, in any case.
reports ()
{
  journalctl -q --no-pager -o cat -u vram-swap.service | grep -i "$1"
}

# reported_once WORD: fails unless exactly one line of the log has WORD.
reported_once ()
{
  echo "the journal: $(reports "$1")"
  [ "$(reports "$1" | grep -c "$1")" = 1 ] ||
    fail "$1 is reported $(reports "$1" | grep -c "$1") times"
}

expect 0 systemctl start vram-swap.service
swap_is_on
server=$(pgrep -x nbdkit)
user=$(id -u vram-swap)
lock_vram "$server"
available=$(available)

step "a read fails: only the program that needed the page is killed"
fill $((available / 2 + 60)) random
victim=$filler
kill -STOP "$victim"
fill $((available / 2 + 60)) random
neighbour=$filler
kill -STOP "$neighbour"
echo "$(swapped) MiB swapped"
[ "$(swapped)" -ge 60 ] || fail "only $(swapped) MiB were swapped"
# Without readahead: if reading a page ahead fails, the kernel may drop that
# page before the program needs it, and read it again.
cluster=$(cat /proc/sys/vm/page-cluster)
echo 0 >/proc/sys/vm/page-cluster
status=0
(sleep 100 && kill "$victim") 2>/dev/null &
faults 'cuMemcpyDtoHAsync 1 CUDA_ERROR_UNKNOWN'
kill -CONT "$victim"
wait "$victim" || status=$?
[ ! -e "/proc/$server/root/tmp/faults" ] ||
  fail "the stand-in did not take the fault"
kill $! 2>/dev/null
echo "$cluster" >/proc/sys/vm/page-cluster
echo "the program that needed the page: status $status"
# SIGBUS, as for any page that cannot be read, or SIGSEGV, when the kernel
# itself wanted to write to it (rseq).
[ $status = 135 ] || [ $status = 139 ] ||
  fail "memfill: status $status, $(cat /run/memfill.*)"
swap_is_on
[ "$(pgrep -x nbdkit)" = "$server" ] || fail "the server is another one"
kill -CONT "$neighbour"
sleep 2
kill "$neighbour"
wait "$neighbour" || fail "the neighbour: $(cat /run/memfill.*)"
reported_once CUDA_ERROR_UNKNOWN

step "writes fail: the pages stay in RAM"
faults 'cuMemcpyHtoDAsync 20 CUDA_ERROR_INVALID_VALUE'
fill $((available + 40)) random
sleep 2
kill "$filler"
wait "$filler" || fail "memfill: $(cat /run/memfill.*)"
cat "/run/memfill.$filler"
dmesg | grep -m 3 "Write-error" || fail "the kernel reports no write error"
reported_once CUDA_ERROR_INVALID_VALUE
expect 0 vram-swap status
echo "$out"

step "the service stops as usual"
expect 0 systemctl stop vram-swap.service
all_is_off
[ "$failures" = 0 ] || journal
finish
