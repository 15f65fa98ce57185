#!/usr/bin/env bash
# nbdkit-vram: vram-swap serve replaces a server that dies, and comes back with the disk when it dies itself
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/functions.sh"
set -e -x -u

requires_program python3
requires_program pgrep
[ -z "$VRAM_VALGRIND" ] || skip "valgrind would run vram-swap, too"
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"
swap=$VRAM_BUILD/swap/vram-swap
[ -x "$swap" ] || skip "vram-swap is not built: $swap"
nbdkit_folder=$(dirname "$(command -v "$NBDKIT")")

cat >"$tmp/conf" <<END
size = 72M
min-size = 64M
headroom = 0
resident = auto
threads = 16
socket = $sock
plugin = $VRAM_PLUGIN
END
# What launch runs is nbdkit; here it is vram-swap that runs nbdkit.
launcher
unset 'launch[-1]'
export VRAM_PATIENCE=$patience
kills=12
[ -z "$SANITIZER_PRELOAD" ] || kills=6
launch+=("PATH=$nbdkit_folder:$PATH" "$swap" --config "$tmp/conf" serve)
python3 "$tests/adopt-serve.py" "$kills" 72 "$tmp" "$log" "${launch[@]}"
expect_log "the server was killed by"
expect_log "took over a disk of 72 MiB"
expect_log "the disk of an earlier server is there: 3 descriptors"

# What is not to be had now is tried again, and not given up; what is told to end then ends.
clean=$(cat "$tmp"/report.* 2>/dev/null | sort -u)
[ -n "$VRAM_REAL_GPU" ] || [ "$clean" = "dirty 0" ] || fail "the driver says: $clean"
[ -n "$VRAM_REAL_GPU" ] || {
  export STANDIN_CUDA_FAIL_FILE=$tmp/fail
  "${launch[@]}" >"$log" 2>&1 &
  server=$!
  cleanup_fn kill_server "$server"
  wait_until_served
  unset STANDIN_CUDA_FAIL_FILE
  printf 'cuMemImportFromShareableHandle all CUDA_ERROR_UNKNOWN\n' >"$tmp/fail.new"
  ln "$tmp/fail.new" "$tmp/fail"
  # Each server reads and removes the file; there is always one.
  (while sleep 0.01; do ln "$tmp/fail.new" "$tmp/fail" 2>/dev/null || :; done) &
  trouble=$!
  cleanup_fn eval "kill $trouble 2>/dev/null"
  kill -KILL "$(pgrep -P "$server")"
  wait_for "$patience" grep -q "takes its disk over in 400 ms" "$log"
  expect_log "adopt: the disk cannot be taken over: chunk 0 of 2 is not to be had"
  kill "$trouble" || :
  rm -f "$tmp/fail"
  wait_for "$patience" grep -q "took over a disk of 72 MiB" "$log"
  wait_until_served
  end_server TERM
  [ "$status" -eq 0 ] || fail "vram-swap serve's exit status is $status"
}
