#!/usr/bin/env bash
# nbdkit-vram: --dump-plugin lists the GPUs and allocates no VRAM
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin

# The stand-in has no kernel module, but the machine may have one.
if [ -e /sys/module/nvidia/version ]; then
  quiet=$(vram_nbdkit "$VRAM_PLUGIN" --dump-plugin |
    sed -n 's/^vram_quiet=//p')
else
  quiet="unknown: the driver's version is not visible"
fi

export STANDIN_CUDA_DEVICES=2 STANDIN_CUDA_MEMORY=8G,4G \
  STANDIN_CUDA_USED=1G,0 STANDIN_CUDA_VERSION=12040
vram_nbdkit "$VRAM_PLUGIN" --dump-plugin >"$tmp/dump"
grep '^vram_' "$tmp/dump" | grep -v '^vram_window' >"$tmp/got"
cat >"$tmp/want" <<EOF
vram_superblock_version=1
vram_superblock_elastic=2
vram_boost=no
vram_driver_version=$(cat /sys/module/nvidia/version 2>/dev/null || echo none)
vram_quiet=$quiet
EOF
cat >>"$tmp/want" <<'EOF'
vram_cuda_version=12.4
vram_num_devices=2
vram_device_index=0
vram_device_name=Stand-in GPU 0
vram_device_uuid=GPU-57a4d1ed-0000-4000-8000-000000000000
vram_device_pci=0000:01:00.0
vram_device_memory_total=8589934592
vram_device_memory_free=7516192768
vram_device_index=1
vram_device_name=Stand-in GPU 1
vram_device_uuid=GPU-57a4d1ed-0000-4000-8000-000000000001
vram_device_pci=0000:02:00.0
vram_device_memory_total=4294967296
vram_device_memory_free=4294967296
EOF
diff "$tmp/want" "$tmp/got"
grep -E '^vram_window=(yes|no)$' "$tmp/dump"
[ "$(calls cuMemAlloc_v2)" -eq 0 ]
[ "$(calls cuMemHostAlloc)" -eq 0 ]

# With device= it lists one GPU.
vram_nbdkit "$VRAM_PLUGIN" --dump-plugin device=0000:02:00.0 >"$tmp/dump"
[ "$(grep -c '^vram_device_index=' "$tmp/dump")" -eq 1 ]
grep -x 'vram_device_index=1' "$tmp/dump"
grep -x 'vram_num_devices=2' "$tmp/dump"

# errs TEXT PARAMETER...: TEXT says why a server with these parameters would
# not start.
errs ()
{
  local text=$1
  shift
  vram_nbdkit "$VRAM_PLUGIN" --dump-plugin "$@" >"$tmp/dump"
  [ "$(grep -c '^vram_error=' "$tmp/dump")" -eq 1 ]
  grep -E "^vram_error=$text" "$tmp/dump"
  grep -x 'vram_num_devices=2' "$tmp/dump"
}

errs "size=9 GiB is more than the 8 GiB of VRAM" size=9G
errs "size=5 GiB is more than the 4 GiB of VRAM" size=5G device=1
errs "min-size=9 GiB is more than the 8 GiB of VRAM" size=max min-size=9G
errs "min-size=2 GiB is more than size=1 GiB" size=1G min-size=2G
errs "device=7: no such GPU" size=1G device=7
vram_nbdkit "$VRAM_PLUGIN" --dump-plugin size=7G >"$tmp/dump"
! grep vram_error "$tmp/dump" || fail "size=7G is an error"
[ "$(calls cuMemAlloc_v2)" -eq 0 ]

# The driver does not answer.
if [ -z "$VRAM_REAL_GPU" ]; then
  export STANDIN_CUDA_HANG_CALL_FILE=$tmp/hang
  echo "cuInit 1000" >"$tmp/hang"
  ! vram_nbdkit "$VRAM_PLUGIN" --dump-plugin gpu-timeout=1 >"$tmp/dump" ||
    fail "it succeeds although the driver hangs"
  grep -x "vram_error=the driver has not answered for 1000 ms (gpu-timeout)" \
    "$tmp/dump"
fi
