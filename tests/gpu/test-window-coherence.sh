#!/bin/sh
# nbdkit-vram: the coherence trial itself: on the stand-in, whose ways agree
# SPDX-License-Identifier: BSD-3-Clause
set -eux

./window-coherence -d 2 -p 3
./window-coherence -d 1 -p 2 -w portable
# Copies that take their time, so that one that is not waited for is late.
STANDIN_CUDA_DELAY=300 ./window-coherence -d 1 -p 2

# Without Vulkan there is nothing to try.
status=0
STANDIN_VULKAN_NO_ICD=1 ./window-coherence -d 1 || status=$?
[ "$status" -eq 77 ]
