#!/usr/bin/env bash
# nbdkit-vram: each reason why the CPU cannot map VRAM is logged, leaks
# nothing, and is an error with window=yes
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh

# Fails if a server that did not start has leaked something. It does not
# overwrite VRAM that it has not used.
nothing_leaked ()
{
  ! grep -h leaked "$tmp"/report.* "$tmp"/vulkan.* 2>/dev/null ||
    fail "see above"
}

# without SETTING WORDS [late]: "late" if only the mapping of chunks shows it.
without ()
{
  local dump=$tmp/dump
  export "STANDIN_VULKAN_$1"
  vram_nbdkit "$VRAM_PLUGIN" --dump-plugin size=200M >"$dump"
  if [ -z "${3-}" ]; then
    grep -qx "vram_window=no" "$dump"
    grep -qE "^vram_window_reason=$2" "$dump"
  fi

  start_vram -v size=200M
  expect_log "no mapping, copies go by DMA alone: $2"
  nbdsh -u "$uri" \
    -c 'h.pwrite (b"x" * 9000, 5); assert h.pread (9000, 5) == b"x" * 9000'
  stop_vram

  refuses_to_start "window=yes: $2" size=200M window=yes
  nothing_leaked
  unset "STANDIN_VULKAN_${1%%=*}"
}

without NO_ICD=1 "cannot initialise Vulkan: VK_ERROR_INCOMPATIBLE_DRIVER"
without DEVICES=0 "none of Vulkan's 1 devices is this GPU"
without VERSION=1.0 "Vulkan is older than version 1.1"
without NO_EXTENSION=1 \
  "the Vulkan driver does not have VK_KHR_external_memory_fd"
without NO_TYPE=1 "the CPU cannot see the VRAM of this GPU; Resizable BAR"
without HEAP=128M \
  "the CPU can map only 64(\.0)? MiB of .*, but half of 200.* needed; Resiz"
without FAIL=vkCreateDevice \
  "cannot open this GPU by Vulkan: VK_ERROR_INITIALIZATION_FAILED" late
without FAIL=vkAllocateMemory:-1000072003 \
  "cannot map memory of CUDA by Vulkan: VK_ERROR_INVALID_EXTERNAL_HANDLE" \
  late

# The disk's second chunk cannot be mapped and is copied by DMA. The first one
# has a mapping.
for failure in vkAllocateMemory:-2:3 vkMapMemory:-5:3; do
  export STANDIN_VULKAN_FAIL=$failure
  start_vram -v -D"$PLUGIN_NAME.copies"=1 size=128M window=yes \
    window-read-max=1M
  expect_log_times 1 \
    "mapping: a chunk goes by DMA alone: cannot map memory of CUDA by Vulkan"
  nbdsh -u "$uri" \
    -c 'h.pwrite (b"x" * 9001, 5); assert h.pread (9001, 5) == b"x" * 9001'
  expect_log "mapping: read 9001 bytes"
  expect_no_log "queue [0-9]+: read 9001 bytes"
  nbdsh -u "$uri" -c '
h.pwrite (b"y" * 9002, 64 << 20)
assert h.pread (9002, 64 << 20) == b"y" * 9002
'
  expect_log "queue [0-9]+: read 9002 bytes"
  stop_vram
done
unset STANDIN_VULKAN_FAIL

# The disk's second of four chunks cannot be exported. Those after it have a
# mapping.
export STANDIN_CUDA_FAIL=cuMemExportToShareableHandle:3:CUDA_ERROR_UNKNOWN
start_vram -v -D"$PLUGIN_NAME.copies"=1 size=200M window=yes window-read-max=1M
expect_log_times 1 \
  "mapping: a chunk goes by DMA alone: cannot export VRAM: .*UNKNOWN"
nbdsh -u "$uri" -c '
for i in range (4):
    data = b"%d" % i * (9001 + i)
    h.pwrite (data, i << 26)
    assert h.pread (9001 + i, i << 26) == data
'
for i in 0 2 3; do
  expect_log "mapping: read 900$((1 + i)) bytes"
  expect_no_log "queue [0-9]+: read 900$((1 + i)) bytes"
done
expect_log "queue [0-9]+: read 9002 bytes"
stop_vram
unset STANDIN_CUDA_FAIL

# A part of the VRAM that the CPU can see is left to other programs.
export STANDIN_VULKAN_HEAP=128M
start_vram -v -D"$PLUGIN_NAME.copies"=1 size=128M window=yes window-read-max=1M
expect_log_times 1 \
  "mapping: a chunk goes by DMA alone: the rest .* is left to other programs"
nbdsh -u "$uri" \
  -c 'h.pwrite (b"x" * 9001, 5); assert h.pread (9001, 5) == b"x" * 9001'
expect_log "mapping: read 9001 bytes"
nbdsh -u "$uri" -c '
h.pwrite (b"y" * 9002, 64 << 20)
assert h.pread (9002, 64 << 20) == b"y" * 9002
'
expect_log "queue [0-9]+: read 9002 bytes"
stop_vram
unset STANDIN_VULKAN_HEAP

# A driver that cannot export VRAM.
driver=old
start_vram -v size=16M
expect_log "no mapping, copies go by DMA alone: this driver cannot export VRAM"
stop_vram
