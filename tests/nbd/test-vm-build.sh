#!/usr/bin/env bash
# nbdkit-vram: a signal to the script that builds the virtual machine's disk
# leaves no mount and no folder behind
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_root
requires unshare --mount --propagation private true

# Programs that the script runs. Like the real mmdebstrap, this one mounts a
# file system below the new root while it works.
mkdir "$tmp/bin" "$tmp/cache"
mkfifo "$tmp/mounted" "$tmp/end"
program ()
{
  { echo '#!/bin/bash'; cat; } >"$tmp/bin/$1"
  chmod +x "$tmp/bin/$1"
}
program dpkg </dev/null
program dpkg-deb </dev/null
program apt-cache <<<'echo Depends: linux-image-0'
program apt-get <<<': >linux-image-0.deb >busybox-static_0.deb'
program mmdebstrap <<END
for root; do :; done
mkdir -p "\$root/proc"
mount -t tmpfs none "\$root/proc"
echo \$\$ >"$tmp/mounted"
read -r _ <"$tmp/end"
END

# In a mount namespace, so that a mount that is left does not stay on this
# machine.
cat >"$tmp/interrupt" <<END
VM_CACHE=$tmp/cache PATH=$tmp/bin:\$PATH $top_srcdir/tests/vm/vmbuild.sh &
read -r pid <"$tmp/mounted"
grep "$tmp/cache" "/proc/\$pid/mountinfo"
kill \$!
wait \$!
echo "mounted: \$(grep -c "$tmp/cache" /proc/self/mountinfo)"
echo "left: \$(find "$tmp/cache" -name 'build.*' -not -name build.log)"
exec 3<>"$tmp/end"
echo >&3
tail --pid="\$pid" -f /dev/null
END
timeout "$patience" unshare --mount --propagation private \
  bash "$tmp/interrupt" >"$tmp/said" 2>&1 || :
cat "$tmp/said"
grep -x "mounted: 0" "$tmp/said"
grep -x "left: " "$tmp/said"
