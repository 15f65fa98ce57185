# shellcheck shell=bash
# nbdkit-vram: root file systems of Debian releases, for tests that cannot use
# this machine's own
# SPDX-License-Identifier: BSD-3-Clause
#
# A script that sources this has set $logs, the folder of its logs. It may set
# anew=yes to make the roots again. They are in VRAM_ROOTS (default:
# ~/.cache/nbdkit-vram-roots) and come from VRAM_MIRROR (default: the mirror of
# this machine's apt).

: "${logs:?}"
roots=${VRAM_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/nbdkit-vram-roots}

skip ()
{
  echo "skipped: $*"
  exit 77
}

[ "$(id -u)" -eq 0 ] || skip "needs root"
command -v mmdebstrap >/dev/null || skip "mmdebstrap is not installed"

# By default the first mirror of Debian, not of others, that apt uses here.
# shellcheck disable=SC2016 # for apt-get
mirror=${VRAM_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' \
  'Origin: Debian' 'Created-By: Packages' 2>/dev/null |
  grep -v -- -security | head -n 1)} || :
[ -n "$mirror" ] ||
  skip "apt has no mirror of Debian here; set VRAM_MIRROR"

# make_root NAME RELEASE PACKAGE...: makes a root in $roots/NAME, unless there
# is one with these packages that is at most a month old. The mirror may be a
# snapshot: its signatures are checked, but not whether they have expired.
make_root ()
{
  local root=$roots/$1 release=$2 stamp log=$logs/$1-root.log
  shift 2
  stamp="$release $*"
  # Only one process makes it. Others wait and find it.
  mkdir -p "$roots"
  exec 8>"$roots/.lock"
  flock 8
  if [ "${anew:-no}" = no ] && [ "$(cat "$root/stamp" 2>/dev/null)" \
    = "$stamp" ] &&
    [ -n "$(find "$root/stamp" -mtime -30)" ]; then
    return
  fi
  echo "making a root of $release"
  rm -rf "$root.new"
  timeout --kill-after=20 1800 mmdebstrap --variant=apt \
    --include="$*" \
    --aptopt='Acquire::Check-Valid-Until "false"' \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' "$release" "$root.new" \
    "$mirror" >"$log" 2>&1 || {
    tail -n 5 "$log"
    rm -rf "$root.new"
    [ -e "$root/stamp" ]
    return
  }
  echo "$stamp" >"$root.new/stamp"
  rm -rf "$root"
  mv "$root.new" "$root"
}

# in_root NAME FOLDER COMMAND...: runs a command in the root, in /build, which
# is FOLDER. What it writes elsewhere is not kept. It has the root's few
# devices, or this machine's with root_devices=all.
in_root ()
{
  local root=$roots/$1 folder=$2 layer
  shift 2
  layer=$(mktemp -d)
  # In a mount namespace, so that every mount ends with the command.
  # shellcheck disable=SC2016 # for the inner shell
  unshare --mount --pid --fork --kill-child bash -c '
    set -e
    root=$1 layer=$2 build=$3 devices=$4
    shift 4
    mount -t tmpfs tmpfs "$layer"
    mkdir "$layer"/{upper,work,root}
    mount -t overlay overlay \
      -o "lowerdir=$root,upperdir=$layer/upper,workdir=$layer/work" \
      "$layer/root"
    root=$layer/root
    mkdir "$root/build"
    mount --bind "$build" "$root/build"
    mount -t proc proc "$root/proc"
    if [ "$devices" = all ]; then
      mount --rbind /sys "$root/sys"
      mount --rbind /dev "$root/dev"
    else
      mount -t tmpfs -o mode=1777 tmpfs "$root/dev/shm"
    fi
    mount -t tmpfs tmpfs "$root/run"
    mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
    path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
    exec env -i HOME=/root LANG=C.UTF-8 PATH=$path \
      VRAM_TEST_SLOW="${VRAM_TEST_SLOW-}" \
      chroot "$root" sh -c "cd /build && exec \"\$@\"" sh "$@"' \
    bash "$root" "$layer" "$folder" "${root_devices-}" "$@" </dev/null || {
    local status=$?
    rmdir "$layer"
    return $status
  }
  rmdir "$layer"
}
