#!/usr/bin/env bash
# nbdkit-vram: device= finds a GPU by its number, name, part of a name, UUID
# and PCI address
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

export STANDIN_CUDA_DEVICES=4 STANDIN_CUDA_MEMORY=64M
export STANDIN_CUDA_NAMES="GeForce RTX 3070,A100,A100 80GB,Quadro T400"
export STANDIN_CUDA_PCI=0000:01:00.0,0000:41:00.0,0001:41:00.0,0000:c1:00.0
uuid=00000000-1111-2222-3333-44444444444
export STANDIN_CUDA_UUIDS=${uuid}0,${uuid}1,${uuid}2,${uuid}e

# takes DEVICE DESCRIPTION: device=DEVICE selects this GPU.
takes ()
{
  start_vram size=8M device="$1"
  [ "$(description)" = "VRAM of $2" ]
  stop_vram
}

takes 0 "GeForce RTX 3070, 0000:01:00.0"
takes 3 "Quadro T400, 0000:c1:00.0"
# A full match comes before a part of another name.
takes a100 "A100, 0000:41:00.0"
takes 80gb "A100 80GB, 0001:41:00.0"
takes "RTX 30" "GeForce RTX 3070, 0000:01:00.0"
takes GPU-00000000-1111-2222-3333-444444444442 "A100 80GB, 0001:41:00.0"
takes 00000000-1111-2222-3333-44444444444E "Quadro T400, 0000:c1:00.0"
takes 0001:41:00.0 "A100 80GB, 0001:41:00.0"
takes 00000000:C1:00.0 "Quadro T400, 0000:c1:00.0"
takes 41:00.0 "A100, 0000:41:00.0"
