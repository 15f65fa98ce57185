#!/usr/bin/env bash
# nbdkit-vram: overlapping requests read only bytes that the order of requests
# allows
# SPDX-License-Identifier: BSD-3-Clause
#
#   VRAM_PARAMETERS='size=16M ...'  one server with these arguments (nbdkit's
#                                   options begin with -), instead of the list
#                                   below
#   VRAM_MODEL_REQUESTS=N           how many requests each server gets
#   VRAM_MODEL_SECONDS=N            how many seconds each server runs, instead
#   VRAM_SEED=N                     repeats the requests of a run, but not
#                                   their timing

source "$(dirname "$0")/../../functions.sh"
set -e -u

model=$PWD/plugin/model-test
[ -x "$model" ] || skip "model-test is not built: libnbd is not installed"

requests=4000
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] || requests=1000
limit=(-n "${VRAM_MODEL_REQUESTS:-$requests}")
[ -z "${VRAM_MODEL_SECONDS-}" ] || limit=(-t "$VRAM_MODEL_SECONDS")

# model ARGUMENT...: runs the client, which fails if there is no reply for
# $patience seconds.
model ()
{
  timeout --kill-after=5 $((patience * 4 + ${VRAM_MODEL_SECONDS:-0})) \
    "$model" "${limit[@]}" -w "$patience" "$@" "$uri" ||
    fail "the model: see above"
}

# serve ARGUMENT...: starts a server, runs the client, and ends the server.
serve ()
{
  printf -- '--- %s\n' "$*"
  start_vram resident=no "$@"
  model
  stop_vram
}

if [ -n "${VRAM_PARAMETERS-}" ]; then
  read -ra parameters <<<"$VRAM_PARAMETERS"
  serve "${parameters[@]}"
  exit 0
fi

# Copies by DMA are slow, so that a copy that is not waited for comes too late.
export STANDIN_CUDA_DELAY=0-20
serve size=4M window=no lanes=1 staging=8K
export STANDIN_CUDA_DELAY=0-100
serve size=16M window=no lanes=4 staging=64K -t16
serve size=16M window=no -t1
# A real GPU may have no mapping.
window=yes
[ -z "$VRAM_REAL_GPU" ] || window=auto
serve size=16M window=$window
serve size=16M window=$window window-read-max=64M \
  -D"$PLUGIN_NAME.window_write_max"=67108864
serve size=4M window=$window staging=8K -D"$PLUGIN_NAME.random_path"=1
# The slots have more than one row of disk/spread.h.
serve size=132M window=$window elastic=yes -D"$PLUGIN_NAME.random_path"=1
# Slots move at random, by DMA and by both paths.
for parameters in window=no "window=$window -D$PLUGIN_NAME.random_path=1"; do
  # shellcheck disable=SC2086 # words
  serve size=16M elastic=yes spill="$tmp" -D"$PLUGIN_NAME.restless"=1 \
    $parameters
done

# A request whose copy fails gets EIO, and no request gets wrong bytes.
if [ -z "$VRAM_REAL_GPU" ]; then
  export STANDIN_CUDA_FAIL_FILE=$tmp/failures
  # 999 is CUDA_ERROR_UNKNOWN, after which the stand-in still works.
  fail_now_and_then ()
  {
    local i name names=(cuMemcpyHtoDAsync cuMemcpyDtoHAsync cuEventRecord
      cuEventQuery)
    # The stand-in remembers 64 of them.
    for ((i = 0; i < 15; i++)); do
      for name in "${names[@]}"; do
        echo "$name 2 999" >"$tmp/failures.new"
        mv "$tmp/failures.new" "$tmp/failures"
        sleep 0.04
      done
    done
  }
  echo "--- copies fail"
  start_vram size=4M resident=no window=no lanes=3 staging=8K -t16
  fail_now_and_then & # for seconds at most
  failing=$!
  model -e | tee "$tmp/model.out"
  kill "$failing" 2>/dev/null || :
  wait "$failing" || :
  rm -f "$tmp/failures"
  stop_vram
  ! grep -q 'failed: 0 read, 0 write' "$tmp/model.out" ||
    fail "no copy has failed"
fi
