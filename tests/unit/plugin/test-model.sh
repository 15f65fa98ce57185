#!/usr/bin/env bash
# nbdkit-vram: every byte that many overlapping requests read is one that the
# order of requests allows
# SPDX-License-Identifier: BSD-3-Clause
#
#   VRAM_PARAMETERS='size=16M window=no ...' one server with these arguments
#   (options of nbdkit's begin with -)
#                                            instead of the row below
#   VRAM_MODEL_REQUESTS=N                    requests to each server
#   VRAM_MODEL_SECONDS=N                     seconds with each server instead
#   VRAM_SEED=N                              repeats the requests of a run,
#   though not their timing

source "$(dirname "$0")/../../functions.sh"
set -e -u

model=$PWD/plugin/model-test
[ -x "$model" ] || skip "model-test is not built: libnbd is not installed"

requests=4000
[ -z "$SANITIZER_PRELOAD$VRAM_VALGRIND" ] || requests=1000
limit=(-n "${VRAM_MODEL_REQUESTS:-$requests}")
[ -z "${VRAM_MODEL_SECONDS-}" ] || limit=(-t "$VRAM_MODEL_SECONDS")

# model ARGUMENT...: the client against the server; its own time limit is one
# for silence.
model ()
{
  timeout --kill-after=5 $((patience * 4 + ${VRAM_MODEL_SECONDS:-0})) \
    "$model" "${limit[@]}" -w "$patience" "$@" "$uri" ||
    fail "the model: see above"
}

# serve ARGUMENT...: one server, tried and ended.
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

# Copies by DMA take their time on the stand-in, so that what is not waited for
# is late.
export STANDIN_CUDA_DELAY=0-20
serve size=4M window=no lanes=1 staging=8K
export STANDIN_CUDA_DELAY=0-100
serve size=16M window=no lanes=4 staging=64K -t16
serve size=16M window=no -t1
# On a real GPU there may be none.
window=yes
[ -z "$VRAM_REAL_GPU" ] || window=auto
serve size=16M window=$window
serve size=16M window=$window window-read-max=64M \
  -D"$PLUGIN_NAME.window_write_max"=67108864
serve size=4M window=$window staging=8K -D"$PLUGIN_NAME.random_path"=1
# More than one row of disk/spread.h.
serve size=132M window=$window elastic=yes -D"$PLUGIN_NAME.random_path"=1
# Slots move at random, by all ways that copies can go.
for parameters in window=no "window=$window -D$PLUGIN_NAME.random_path=1"; do
  # shellcheck disable=SC2086 # words
  serve size=16M elastic=yes spill="$tmp" -D"$PLUGIN_NAME.restless"=1 $parameters
done

# Copies that fail: EIO for their requests, and never wrong bytes.
if [ -z "$VRAM_REAL_GPU" ]; then
  export STANDIN_CUDA_FAIL_FILE=$tmp/failures
  # 999 is CUDA_ERROR_UNKNOWN; the stand-in goes on working after it.
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
  if grep -q 'failed: 0 read, 0 write' "$tmp/model.out"; then \
    fail "no copy has failed"; fi
fi
