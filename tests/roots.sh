# shellcheck shell=bash
# nbdkit-vram: root file systems of Debian releases, for tests that cannot do
# with this machine's own
# SPDX-License-Identifier: BSD-3-Clause
#
# A script that sources this has set $logs, the folder of its logs, and may set
# $anew=yes to make roots anew. Roots lie in VRAM_ROOTS (default:
# ~/.cache/nbdkit-vram-roots) and come from VRAM_MIRROR (default: that of this
# machine's apt).

: "${logs:?}"
roots=${VRAM_ROOTS:-${XDG_CACHE_HOME:-$HOME/.cache}/nbdkit-vram-roots}

skip ()
{
  echo "skipped: $*"
  exit 77
}

[ "$(id -u)" -eq 0 ] || skip "needs root"
command -v mmdebstrap >/dev/null || skip "mmdebstrap is not installed"

# By default the first mirror of Debian itself that this machine's apt uses.
# shellcheck disable=SC2016 # apt-get's own
mirror=${VRAM_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' \
  'Origin: Debian' 'Created-By: Packages' 2>/dev/null |
  grep -v -- -security | head -n 1)} || :
[ -n "$mirror" ] ||
  skip "apt here knows no mirror of Debian; VRAM_MIRROR may name one"

# make_root NAME RELEASE PACKAGE...: a root in $roots/NAME, unless there is one
# with these packages that is not old. A mirror may be a copy of a past day:
# its signatures count, not its date of expiry.
make_root ()
{
  local root=$roots/$1 release=$2 stamp log=$logs/$1-root.log
  shift 2
  stamp="$release $*"
  # One at a time. Those that had to wait find the root made.
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

# in_root NAME FOLDER COMMAND...: runs a command in the root, at /build, which
# is FOLDER. Nothing that it writes elsewhere is kept. It has the root's own
# few devices, or this machine's with root_devices=all.
in_root ()
{
  local root=$roots/$1 folder=$2 layer
  shift 2
  layer=$(mktemp -d)
  # A mount namespace of its own: every mount ends with the command.
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
