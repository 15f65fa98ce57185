#!/usr/bin/env bash
# nbdkit-vram: each reason why there is no window is told, leaves nothing behind, and is an error if it was demanded
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_nbdsh

# What a server that did not start leaves behind.  What others had in VRAM is none of its business.
nothing_leaked ()
{
  if grep -h leaked "$tmp"/report.* "$tmp"/vulkan.* 2>/dev/null; then fail "see above"; fi
}

# without SETTING WORDS [late]: late if it shows when chunks are mapped only.
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
  expect_log "no window, copies go by DMA alone: $2"
  nbdsh -u "$uri" -c 'h.pwrite (b"x" * 9000, 5); assert h.pread (9000, 5) == b"x" * 9000'
  stop_vram

  refuses_to_start "window=yes: $2" size=200M window=yes
  nothing_leaked
  unset "STANDIN_VULKAN_${1%%=*}"
}

without NO_ICD=1 "Vulkan does not start: VK_ERROR_INCOMPATIBLE_DRIVER"
without DEVICES=0 "none of Vulkan's 1 devices is this GPU"
without VERSION=1.0 "Vulkan is older than version 1.1"
without NO_EXTENSION=1 "the Vulkan driver does not have VK_KHR_external_memory_fd"
without NO_TYPE=1 "the CPU cannot see the VRAM of this GPU; Resizable BAR"
without HEAP=128M "the CPU can see only 128(\.0)? MiB of this GPU's VRAM, and 200(\.0)? MiB are wanted; Resizable BAR"
without FAIL=vkCreateDevice "Vulkan does not open this GPU: VK_ERROR_INITIALIZATION_FAILED" late
without FAIL=vkAllocateMemory:-1000072003 \
  "Vulkan does not map memory of CUDA: VK_ERROR_INVALID_EXTERNAL_HANDLE \(-1000072003\); Resizable BAR" late
without FAIL=vkAllocateMemory:-2:3 "Vulkan does not map chunk 2 of 4: VK_ERROR_OUT_OF_DEVICE_MEMORY" late
without FAIL=vkMapMemory:-5:4 "Vulkan does not map chunk 3 of 4: VK_ERROR_MEMORY_MAP_FAILED" late

# Enough for a smaller disk.
export STANDIN_VULKAN_HEAP=128M
start_vram -v size=128M window=yes
stop_vram
unset STANDIN_VULKAN_HEAP

# A driver that cannot export VRAM.
driver=old
start_vram -v size=16M
expect_log "no window, copies go by DMA alone: this driver cannot export VRAM"
stop_vram
