# nbdkit-vram: a copy that fails costs the one program that needs the page, or
# nobody, and is said once
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh
install_project
use_stand_in STANDIN_CUDA_MEMORY=300M STANDIN_CUDA_FAIL_FILE=/tmp/faults
settings 'size = 256M' 'min-size = 256M' 'connections = 1'

# faults LINE: the next copies fail as LINE says; the stand-in looks for it at
# each call.
faults ()
{
  local file
  file=/proc/$server/root/tmp/faults
  echo "$1" >"$file.new"
  # It unlinks the file, in a folder where one can unlink only one's own.
  chown "$user" "$file.new"
  mv "$file.new" "$file"
}

server_says ()
{
  journalctl -q --no-pager -o cat -u vram-swap.service | grep -c "$1"
}

expect 0 systemctl start vram-swap.service
swap_is_on
server=$(pgrep -x nbdkit)
user=$(id -u vram-swap)
lock_vram "$server"
available=$(available)

step "a read fails: the program that needed the page is killed, and nobody else"
fill $((available / 2 + 60)) random
victim=$filler
kill -STOP "$victim"
fill $((available / 2 + 60)) random
neighbour=$filler
kill -STOP "$neighbour"
echo "$(swapped) MiB swapped"
[ "$(swapped)" -ge 60 ] || fail "only $(swapped) MiB were swapped"
faults 'cuMemcpyDtoHAsync 1 CUDA_ERROR_UNKNOWN'
kill -CONT "$victim"
status=0
(sleep 100 && kill "$victim") 2>/dev/null &
wait "$victim" || status=$?
[ ! -e "/proc/$server/root/tmp/faults" ] ||
  fail "the stand-in did not take the fault"
kill $! 2>/dev/null
echo "the program that read on: status $status"
# SIGBUS, as for any page that cannot be read, or SIGSEGV, when the kernel
# itself wanted to write to it (rseq).
[ $status = 135 ] || [ $status = 139 ] ||
  fail "the program that needed the page: status $status, $(cat /run/memfill.*)"
swap_is_on
[ "$(pgrep -x nbdkit)" = "$server" ] || fail "the server is another one"
kill -CONT "$neighbour"
sleep 2
kill "$neighbour"
wait "$neighbour" || fail "the neighbour: $(cat /run/memfill.*)"
echo "the journal: $(journalctl -q --no-pager -o cat -u vram-swap.service | grep -i 'CUDA_ERROR_UNKNOWN')"
[ "$(server_says CUDA_ERROR_UNKNOWN)" = 1 ] ||
  fail "said $(server_says CUDA_ERROR_UNKNOWN) times"

step "writes fail: the pages stay in RAM"
faults 'cuMemcpyHtoDAsync 20 CUDA_ERROR_INVALID_VALUE'
fill $((available + 40)) random
sleep 2
kill "$filler"
wait "$filler" || fail "memfill: $(cat /run/memfill.*)"
cat "/run/memfill.$filler"
dmesg | grep -m 3 -E "Write-error" || fail "the kernel met no write error"
echo "the journal: $(journalctl -q --no-pager -o cat -u vram-swap.service | grep -i 'CUDA_ERROR_INVALID_VALUE')"
[ "$(server_says CUDA_ERROR_INVALID_VALUE)" = 1 ] ||
  fail "said $(server_says CUDA_ERROR_INVALID_VALUE) times"
expect 0 vram-swap status
echo "$out"

step "and it ends well"
expect 0 systemctl stop vram-swap.service
all_is_off
[ "$failures" = 0 ] || journal
finish
