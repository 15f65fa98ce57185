#!/usr/bin/env bash
# nbdkit-vram: quickstart serves any size, and names the GPU that serves it
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_full_speed
requires_program nbdkit
requires_program make
requires_program nbdcopy
[ -e "$VRAM_PLUGIN" ] || skip "the plugin is not built: $VRAM_PLUGIN"

# A copy of quickstart that finds a finished build beside itself.
mkdir -p "$tmp/tree/out/build/plugin/.libs"
cp "$top_srcdir/quickstart" "$top_srcdir/install-guard.sh" "$tmp/tree"
printf '#!/bin/sh\n' >"$tmp/tree/configure"
chmod +x "$tmp/tree/configure"
echo "$(cd "$tmp/tree" && pwd) vram" >"$tmp/tree/out/build/.from"
printf 'PLUGIN_NAME = %s\nall:\n' \
  "$PLUGIN_NAME" >"$tmp/tree/out/build/Makefile"
ln -s "$VRAM_PLUGIN" \
  "$tmp/tree/out/build/plugin/.libs/nbdkit-$PLUGIN_NAME-plugin.so"
# A build with another name has left its plugin.
: >"$tmp/tree/out/build/plugin/.libs/nbdkit-another-plugin.so"
# Whatever is installed here, this nbdkit has no other plugin called vram.
mkdir "$tmp/bin" "$tmp/plugins"
cat >"$tmp/bin/nbdkit" <<END
#!/bin/sh
[ "\$1" != --dump-config ] || { echo "plugindir=$tmp/plugins"; exit; }
exec $(printf %q "$(command -v nbdkit)") "\$@"
END
chmod +x "$tmp/bin/nbdkit"
PATH=$tmp/bin:$PATH
if [ -z "$VRAM_REAL_GPU" ]; then
  export LD_LIBRARY_PATH=$standin/.libs${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH} \
    STANDIN_CUDA_DEVICES=2
fi

for size in 4M 32m 65536K 96M 33554432; do
  "$tmp/tree/quickstart" --no-install "$size" >"$log" 2>&1 ||
    fail "quickstart $size"
  mib=$(($(numfmt --from=iec "${size^^}") >> 20))
  pci="[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.0"
  expect_log "^serving $mib MiB of video memory of .+, $pci$"
  expect_log "^served   $mib MiB of video memory of .+, $pci$"
  expect_log "^through  (the CPU's window and DMA|DMA alone: .+)$"
  expect_log '^compared all of them: the same$'
done
