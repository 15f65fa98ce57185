#!/usr/bin/env bash
# nbdkit-vram: vram-swap daemon never gives up a disk by mistake, and never has
# two servers for it
# SPDX-License-Identifier: BSD-3-Clause

: "${VRAM_TEST_TIMEOUT:=300}"
export VRAM_TEST_TIMEOUT
source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program python3
requires_standin

# An nbdkit that waits after it has asked for a signal at its parent's end, and
# before it reads its parameters.
real_folder=$(dirname "$(command -v "$NBDKIT")")
nbdkit_folder=$tmp/bin
mkdir "$nbdkit_folder"
cat >"$tmp/bin/nbdkit" <<END
#!/usr/bin/env python3
import ctypes, os, signal, sys, time
if os.path.exists ("$tmp/slow"):
    ctypes.CDLL (None).prctl (1, signal.SIGTERM) # PR_SET_PDEATHSIG
    open ("$tmp/begun", "w").close ()
    while os.path.exists ("$tmp/slow"):
        time.sleep (0.05)
os.execv ("$real_folder/nbdkit", ["nbdkit"] + sys.argv[1:])
END
chmod +x "$tmp/bin/nbdkit"
swap_launcher "$tmp/conf" "size = 136M" "min-size = 64M" "threads = 16" \
  "elastic = no"
python3 "$tests/nbd/swap-daemon-trouble.py" "$tmp" "$tmp/conf" "${launch[@]}" \
  daemon --server-only --user root
