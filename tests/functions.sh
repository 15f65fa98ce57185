# shellcheck shell=bash
# nbdkit-vram: functions for the tests of a whole server: they start it, read
# its log and end it
# SPDX-License-Identifier: BSD-3-Clause
#
# A test is a script that sources this file, says what it requires, starts a
# server with start_vram, does one thing with it through a real NBD client, and
# ends with stop_vram. Any command that fails makes the test fail.
#
# Environment variables (make check sets some; tests/run-all is for machines
# without automake):
#
#   VRAM_BUILD         the build's top folder (default: two folders up, for
#                      tests that run in the build's tests/nbd)
#   VRAM_PLUGIN        the plugin (default: the build's)
#   VRAM_SWAP          vram-swap (default: the build's)
#   PLUGIN_NAME        the plugin's name (default: vram)
#   NBDKIT             nbdkit
#   NBDKIT_FILTERS     a folder of filters to use in place of nbdkit's
#   FIO                fio
#   SANITIZER_PRELOAD  runtimes of the sanitizers that the plugin was built
#                      with
#   VRAM_VALGRIND=1    run the server under valgrind (make check-valgrind)
#   VRAM_REAL_GPU=1    use the machine's driver and GPU; skips tests that need
#                      the stand-in
#   VRAM_SOAK          how many seconds tests of data repeat (default: one
#                      round)
#   VRAM_TEST_ONLY     skip tests whose names do not match this regex
#   VRAM_SYSCALL_GROUPS  the output of "systemd-analyze syscall-filter", for
#                        test-unit-confined.sh on a machine without it
#   VRAM_TEST_SLOW     how many times slower than usual programs run
#                      (default: by measure-slow); it scales all time limits

if [ -z "${BASH_VERSION-}" ]; then
  echo "the tests need bash" >&2
  exit 1
fi

: "${PLUGIN_NAME:=vram}" "${NBDKIT:=nbdkit}" "${FIO:=fio}"
: "${SANITIZER_PRELOAD=}" "${VRAM_VALGRIND=}" "${VRAM_REAL_GPU=}" \
  "${NBDKIT_FILTERS=}"
tests=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# shellcheck disable=SC2034 # for the tests
top_srcdir=$(dirname "$tests")
: "${VRAM_BUILD:=$(cd ../.. && pwd)}"
: "${VRAM_PLUGIN:=$VRAM_BUILD/plugin/.libs/nbdkit-$PLUGIN_NAME-plugin.so}"
: "${VRAM_SWAP:=$VRAM_BUILD/swap/vram-swap}"
standin=$VRAM_BUILD/tests/standin
suppressions=$tests

# How many seconds one step may take. It only ends a test that hangs, so it is
# far more than any step needs.
if [ -z "${VRAM_TEST_SLOW-}" ]; then
  VRAM_TEST_SLOW=$("$tests/measure-slow" \
    $((VRAM_VALGRIND ? 20 : ${#SANITIZER_PRELOAD} ? 4 : 1)))
fi
export VRAM_TEST_SLOW
patience=$((60 + 30 * VRAM_TEST_SLOW))
export VRAM_PATIENCE=$patience # for the Python programs

# A time limit for the whole test and everything that it starts.
if [ -z "${VRAM_TEST_BOUNDED-}" ]; then
  VRAM_TEST_BOUNDED=1 exec timeout --kill-after=10 $((6 * patience)) "$BASH" \
    "$0" "$@"
fi

failure=

# --- What a test requires ---

# skip REASON...: ends a test that cannot run here. The last line of its log is
# the reason.
skip ()
{
  { set +x; } 2>/dev/null
  printf 'skipped: %s\n' "$*"
  exit 77
}

if [ -n "${VRAM_TEST_ONLY-}" ] && [[ ! ${0##*/} =~ $VRAM_TEST_ONLY ]]; then
  skip "VRAM_TEST_ONLY does not match"
fi

fail ()
{
  { set +x; } 2>/dev/null
  failure=$*
  exit 1
}

# requires COMMAND...: the command must succeed.
requires ()
{
  "$@" </dev/null >/dev/null 2>&1 || skip "'$*' does not work here"
}

requires_program ()
{
  command -v "$1" >/dev/null || skip "$1 is not installed"
}

requires_root ()
{
  [ "$(id -u)" -eq 0 ] || skip "needs root"
}

# For faults that only the stand-in driver can make.
requires_standin ()
{
  [ -z "$VRAM_REAL_GPU" ] || skip "needs the stand-in driver"
}

requires_nbdsh ()
{
  requires_program nbdsh
  requires nbdsh --version
}

requires_fio ()
{
  requires_program "$FIO"
  "$FIO" --enghelp | grep -qw nbd || skip "this fio has no nbd engine"
}

requires_filter ()
{
  local folder=$NBDKIT_FILTERS
  [ -n "$folder" ] || folder=$("$NBDKIT" --dump-config |
    sed -n 's/^filterdir=//p')
  [ -e "$folder/nbdkit-$1-filter.so" ] ||
    skip "nbdkit's $1 filter is not installed"
}

# For tests that take too long on the slow, imitated CPU of such tools.
requires_full_speed ()
{
  [ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] ||
    skip "needs a server that is not slowed down"
}

# requires_capabilities NAME...: the server needs these, such as sys_resource.
requires_capabilities ()
{
  local name bit effective
  for name; do
    case $name in
      ipc_lock) bit=14 ;;
      sys_resource) bit=24 ;;
      *) fail "$name: a mistake in this test" ;;
    esac
    effective=$(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status)
    (((0x$effective >> bit) & 1)) || skip "needs CAP_${name^^}"
  done
}

# Prints the option for a server whose clients hang up. With any plugin, nbdkit
# before 1.34 ends when several of its threads have replies for such a client.
threads_for_hangups ()
{
  "$NBDKIT" --version | awk \
    '{ split ($2, v, "."); if (v[1] == 1 && v[2] < 34) print "--threads=1" }'
}

# Needs a second user, nobody, with access to $tmp. If that user cannot read
# the build, the server runs from a copy.
requires_nobody ()
{
  requires_root
  requires_program setpriv
  as_nobody=(setpriv --reuid=65534 --regid=65534 --clear-groups)
  chmod 711 "$tmp"
  "${as_nobody[@]}" test -r "$VRAM_PLUGIN" 2>/dev/null || copy_build
}

# Copies the files that a server needs to a folder that every user can read.
copy_build ()
{
  local folder
  [ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
  mkdir "$tmp/build"
  for folder in .libs old/.libs broken/.libs; do
    [ -d "$standin/$folder" ] || continue
    mkdir -p "$tmp/build/standin/$folder"
    cp -P "$standin/$folder"/*.so* "$tmp/build/standin/$folder/"
  done
  cp "$VRAM_PLUGIN" "$tests"/*.suppressions "$tmp/build/"
  chmod -R a+rX "$tmp/build"
  VRAM_PLUGIN=$tmp/build/${VRAM_PLUGIN##*/}
  standin=$tmp/build/standin
  suppressions=$tmp/build
}

# The Python with the module nbd is in the folder of nbdsh.
nbdsh ()
{
  PATH="$(dirname "$(type -P nbdsh)"):$PATH" command nbdsh "$@"
}

# --- The end ---

hooks=()

# cleanup_fn COMMAND...: runs COMMAND when the test ends, in any way. The last
# one runs first.
cleanup_fn ()
{
  hooks+=("$(printf '%q ' "$@")")
}

# Succeeds if a server's log has a report of a sanitizer or valgrind. A server
# that was killed has no exit status that says so.
reported ()
{
  [ -n "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] &&
    grep -qE '^WARNING: ThreadSanitizer|^==[0-9]+== ' "$tmp"/log* 2>/dev/null
}

run_hooks ()
{
  local status=$? i
  { set +x +e; } 2>/dev/null
  trap - EXIT
  for ((i = ${#hooks[@]} - 1; i >= 0; i--)); do
    eval "${hooks[i]}"
  done
  if [ "$status" -eq 0 ] && reported; then
    failure="a log has a report of a sanitizer or valgrind"
    status=1
  fi
  if [ "$status" -ne 0 ] && [ "$status" -ne 77 ]; then
    for i in "$tmp"/log*; do
      [ -s "$i" ] || continue
      printf '%s\n' "--- end of the server's log ${i##*/}:"
      tail -n 40 "$i"
    done >&2
    printf 'FAILED: %s\n' "${failure:-a command, exit status $status}" >&2
  fi
  rm -rf "$tmp"
  exit "$status"
}

# The path is short, because a Unix socket's name has at most 107 bytes.
tmp=$(mktemp -d /tmp/vram-test.XXXXXX)
trap run_hooks EXIT
trap 'exit 143' TERM
trap 'exit 130' INT

# --- The server ---

# Tests may set before start_vram: the stand-in to use (full, old, broken or
# none), a command that runs the server, such as setpriv with arguments, and
# nbdkit's options for a transport other than $sock.
driver=full
run_as=()
transport=()

# start_vram sets these.
sock=$tmp/sock
uri="nbd+unix:///?socket=$sock"
log=$tmp/log
server=

# Where stand-in drivers write their reports.
export STANDIN_CUDA_REPORT=$tmp/report.%p
export STANDIN_CUDA_TRACE=$tmp/trace
export STANDIN_VULKAN_REPORT=$tmp/vulkan.%p

# Sets $launch, a command line that starts nbdkit with the chosen driver and
# tools.
launcher ()
{
  local path=${LD_LIBRARY_PATH-}
  launch=("${run_as[@]}" env)
  if [ -z "$VRAM_REAL_GPU" ]; then
    case $driver in
      full) path=$standin/.libs${path:+:$path} ;;
      old|broken) path=$standin/$driver/.libs${path:+:$path} ;;
      none) ;;
      *) fail "driver=$driver: a mistake in this test" ;;
    esac
    [ "$driver" = none ] || [ -e "${path%%:*}/libcuda.so.1" ] ||
      skip "the stand-in driver is not built"
  fi
  [ -z "$path" ] || launch+=("LD_LIBRARY_PATH=$path")
  if [ -n "$SANITIZER_PRELOAD" ]; then
    local asan=exitcode=99:detect_stack_use_after_return=1
    asan+=:malloc_context_size=2
    local lsan=exitcode=99:suppressions=$suppressions/lsan.suppressions
    local tsan=exitcode=99:second_deadlock_stack=1
    tsan+=:suppressions=$suppressions/tsan.suppressions
    local ubsan=exitcode=99:print_stacktrace=1
    launch+=("LD_PRELOAD=$SANITIZER_PRELOAD"
      "ASAN_OPTIONS=$asan:${ASAN_OPTIONS-}"
      "LSAN_OPTIONS=$lsan:${LSAN_OPTIONS-}"
      "TSAN_OPTIONS=$tsan:${TSAN_OPTIONS-}"
      "UBSAN_OPTIONS=$ubsan:${UBSAN_OPTIONS-}")
  fi
  if [ -n "$VRAM_VALGRIND" ]; then
    launch+=(valgrind --quiet --error-exitcode=99 --leak-check=full
      --show-leak-kinds=definite
      --errors-for-leak-kinds=definite --trace-children=no --fair-sched=yes
      --suppressions="$suppressions/valgrind.suppressions")
  fi
  launch+=("$NBDKIT")
}

# swap_launcher CONF [SETTING...]: as launcher, but $launch starts $swap, which
# is vram-swap. Its configuration in CONF has these settings, this plugin and
# $sock; its /run is below $swap_root; it finds nbdkit in $nbdkit_folder. Under
# valgrind vram-swap runs there, not the server.
swap_launcher ()
{
  local conf=$1
  shift
  [ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
  swap=$VRAM_SWAP
  [ -x "$swap" ] || skip "vram-swap is not built: $swap"
  : "${nbdkit_folder:=$(dirname "$(command -v "$NBDKIT")")}"
  printf '%s\n' "$@" "headroom = 0" "resident = auto" "socket = $sock" \
    "plugin = $VRAM_PLUGIN" >"$conf"
  launcher
  unset 'launch[-1]'
  # A /run of its own.
  : "${swap_root:=$tmp/root}"
  mkdir -p "$swap_root/run"
  ln -sfn /proc "$swap_root/proc"
  launch=(env "PATH=$nbdkit_folder:$PATH" "${launch[@]}" "$swap"
    --config "$conf" --root "$swap_root")
}

# vram_nbdkit ARGUMENT...: runs nbdkit in the foreground with exactly these
# arguments, which include the plugin.
vram_nbdkit ()
{
  local launch
  launcher
  timeout --kill-after=5 "$patience" "${launch[@]}" "$@" </dev/null
}

# soak COMMAND...: runs COMMAND once, and again until VRAM_SOAK seconds have
# passed.
soak ()
{
  local rounds=0 end=$((SECONDS + ${VRAM_SOAK:-0}))
  while [ "$rounds" -eq 0 ] || [ "$SECONDS" -lt "$end" ]; do
    "$@"
    rounds=$((rounds + 1))
  done
  echo "$rounds rounds"
}

# filter NAME: prints nbdkit's option for this filter.
filter ()
{
  printf -- '--filter=%s' \
    "${NBDKIT_FILTERS:+$NBDKIT_FILTERS/nbdkit-}$1${NBDKIT_FILTERS:+-filter.so}"
}

# launch_vram ARGUMENT...: starts a server and does not wait. Arguments are
# nbdkit's options and the plugin's parameters, in any order.
launch_vram ()
{
  local launch options=() parameters=() argument
  [ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
  for argument; do
    case $argument in
      -*) options+=("$argument") ;;
      *) parameters+=("$argument") ;;
    esac
  done
  launcher
  rm -f "$sock" "$tmp"/report.* "$tmp"/vulkan.* "$tmp/trace"
  "${launch[@]}" --foreground \
    --exit-with-parent "${transport[@]---unix=$sock}" "${options[@]}" \
    "$VRAM_PLUGIN" \
    "${parameters[@]}" >"$log" 2>&1 </dev/null &
  server=$!
  cleanup_fn kill_server "$server"
}

# ended PID: succeeds if the process has ended, also if its parent has not
# waited for it yet.
ended ()
{
  local stat
  { read -r stat <"/proc/$1/stat"; } 2>/dev/null || return 0
  stat=${stat##*) }
  [ "${stat%% *}" = Z ]
}

# start_vram ARGUMENT...: starts a server and waits until it serves.
start_vram ()
{
  launch_vram "$@"
  wait_until_served
}

# The socket exists before VRAM is allocated, and at first before nbdkit
# listens. A client that connects then waits for an answer, or is disconnected.
wait_until_served ()
{
  local i
  for ((i = 0; i < patience * 50; i++)); do
    if [ -S "$sock" ] && timeout --kill-after=5 "$patience" nbdinfo \
      --size "$uri" >"$tmp/size"; then
      return
    fi
    ! ended "$server" || fail "the server ended before it served"
    sleep 0.02
  done
  fail "the server does not answer"
}

# end_server SIGNAL: sends the server a signal, waits for its end, and sets
# $status.
end_server ()
{
  kill -"$1" "$server" 2>/dev/null || :
  wait_server
}

# Waits for the server's end, and sets $status.
wait_server ()
{
  local i
  for ((i = 0; i < patience * 50; i++)); do
    ! ended "$server" || break
    sleep 0.02
  done
  ended "$server" || fail "the server does not end"
  status=0
  wait "$server" || status=$?
  server=
}

# Ends the server. It must exit with 0, have freed all that it had from the
# driver, and have overwritten VRAM.
stop_vram ()
{
  end_server TERM
  [ "$status" -eq 0 ] || fail "the server's exit status is $status"
  clean_report
}

# Fails if the stand-in reports that something was not freed or overwritten.
clean_report ()
{
  local report file
  [ -z "$VRAM_REAL_GPU" ] || return 0
  report=$(cat "$tmp"/report.*)
  [ "$report" = "dirty 0" ] || fail "the driver reports at the end: $report"
  for file in "$tmp"/vulkan.*; do
    [ ! -s "$file" ] || fail "Vulkan reports at the end: $(cat "$file")"
  done
}

# A hook that ends a server that the test has left.
kill_server ()
{
  local i
  ! ended "$1" || return 0
  kill -TERM "$1" 2>/dev/null
  for ((i = 0; i < 100; i++)); do
    ! ended "$1" || return 0
    sleep 0.05
  done
  kill -KILL "$1" 2>/dev/null
}

# refuses_to_start WORDS ARGUMENT...: the server must end with status 1 and log
# WORDS, an extended regular expression.
refuses_to_start ()
{
  local words=$1
  shift
  launch_vram "$@"
  wait_server
  [ "$status" -eq 1 ] || fail "the server's exit status is $status, not 1"
  expect_log "$words"
}

# Prints how many bytes of VRAM are free on the first GPU.
free_vram ()
{
  vram_nbdkit "$VRAM_PLUGIN" --dump-plugin |
    sed -n 's/^vram_device_memory_free=//p' | head -n 1
}

# locked_kib PID: prints how many KiB the process has locked.
locked_kib ()
{
  sed -n 's/^VmLck:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$1/status"
}

# --- The server in the background ---

# launch_daemon PARAMETER...: as launch_vram, but nbdkit forks into the
# background.
launch_daemon ()
{
  local launch
  [ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
  launcher
  rm -f "$sock" "$tmp"/report.* "$tmp"/vulkan.* "$tmp/trace" "$tmp/pid"
  cleanup_fn kill_daemon
  "${launch[@]}" --pidfile "$tmp/pid" --unix "$sock" "$VRAM_PLUGIN" \
    "$@" >"$log" 2>&1 </dev/null
}

# start_daemon PARAMETER...: as launch_daemon, and waits until it serves. The
# pidfile appears after the command has returned and before VRAM is allocated.
start_daemon ()
{
  launch_daemon "$@"
  wait_for "$patience" test -s "$tmp/pid"
  server=$(cat "$tmp/pid")
  wait_until_served
}

# As stop_vram, but the exit status of a daemon is not known.
stop_daemon ()
{
  local i pid
  pid=$(cat "$tmp/pid")
  kill -TERM "$pid"
  for ((i = 0; i < patience * 50; i++)); do
    ! ended "$pid" || break
    sleep 0.02
  done
  ended "$pid" || fail "the server does not end"
  clean_report
}

kill_daemon ()
{
  [ ! -s "$tmp/pid" ] || kill_server "$(cat "$tmp/pid")"
}

# --- Logs ---

# expect_log WORDS: the log has a line that matches the extended regular
# expression.
expect_log ()
{
  grep -qE -e "$1" "$log" || fail "the log has no '$1'"
}

# expect_no_log WORDS: the log has no such line.
expect_no_log ()
{
  ! grep -E -e "$1" "$log" || fail "the log has '$1'"
}

# expect_log_times N WORDS: the log has N such lines.
expect_log_times ()
{
  local n
  n=$(grep -cE -e "$2" "$log" || :)
  [ "$n" -eq "$1" ] || fail "the log has $n times '$2', not $1 times"
}

# calls NAME: prints how often the server has called a function of the
# stand-in.
calls ()
{
  awk -v name="$1" '$1 == name { n = $2 } END { print n + 0 }' "$tmp/trace"
}

# swap_says STATUS COMMAND...: runs vram-swap after swap_launcher. It must exit
# with STATUS. Its output is in $said.
swap_says ()
{
  local wanted=$1 got=0
  shift
  said=$(timeout "$patience" "${launch[@]}" "$@" 2>&1) || got=$?
  [ "$got" -eq "$wanted" ] || fail "$*: status $got, not $wanted: $said"
}

# wait_for SECONDS COMMAND...: repeats COMMAND until it succeeds.
wait_for ()
{
  local i seconds=$1
  shift
  for ((i = 0; i < seconds * 20; i++)); do
    ! "$@" || return 0
    sleep 0.05
  done
  fail "not within $seconds seconds: $*"
}

# --- Data ---

# random_file FILE SIZE: writes random data to a file.
random_file ()
{
  head -c "$2" /dev/urandom >"$1"
}

# fio_verify OPTION...: writes to the disk with fio, and checks every byte.
fio_verify ()
{
  # In $tmp, because fio leaves files in its current folder.
  timeout "$patience" env -C "$tmp" "$FIO" --name=verify --ioengine=nbd \
    --uri="$uri" --blockalign=512 --verify=crc32c --verify_state_save=0 \
    --verify_fatal=1 --do_verify=1 --randrepeat=0 --output="$tmp/fio.out" \
    "$@" || {
    cat "$tmp/fio.out"
    fail "fio: see above"
  }
}

# fio_rounds: verifies writes to all of a disk of 64M, at random and in order,
# as often as VRAM_SOAK says. fio would accept data of an earlier run, so the
# disk is trimmed after each.
fio_rounds ()
{
  soak fio_round
}

fio_round ()
{
  local pattern
  for pattern in randwrite write; do
    fio_verify --rw="$pattern" --size=64M --bsrange=512-256k --iodepth=16 \
      --end_fsync=1
    nbdsh -u "$uri" -c 'h.trim (64 << 20, 0)'
  done
}

# Prints the export's description, without its part about copies.
description ()
{
  nbdinfo "$uri" | sed -n 's/^[[:space:]]*description: \(.*\), copies .*/\1/p'
}

# map: prints a line "OFFSET LENGTH hole|data" for each extent of the disk.
map ()
{
  nbdinfo --map "$uri" \
    | awk '{ print $1, $2, ($3 == 0 ? "data" : $3 == 3 ? "hole" : "type" $3) }'
}
