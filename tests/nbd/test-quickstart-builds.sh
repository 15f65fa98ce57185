#!/usr/bin/env bash
# nbdkit-vram: quickstart refuses wrong arguments before it changes anything,
# and builds, installs and uninstalls for root and for a user
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program make

# A tree whose configure and Makefile only record how they are called, and an
# nbdkit whose plugins are in $tmp/plugins.
mkdir -p "$tmp/tree/.ci" "$tmp/tree/packaging" "$tmp/bin" "$tmp/manager" \
  "$tmp/plugins"
cp "$top_srcdir/quickstart" "$top_srcdir/install-guard.sh" "$tmp/tree"
cat >"$tmp/tree/.ci/check" <<'END'
#!/bin/sh
[ "$1" != --list ] || printf '%-14s %s\n' gcc "the compiler" asan "a sanitizer"
END
cat >"$tmp/tree/autogen.sh" <<'END'
#!/bin/sh
cat >configure <<'CONFIGURE'
#!/bin/sh
echo "$*" >configured
mkdir -p swap
printf '%s:\n\t%s\n' all 'id -u >built' install 'echo install >>told' \
  uninstall 'test ! -e read-only && echo uninstall >>told' >Makefile
cat >swap/vram-swap <<'SWAP'
#!/bin/sh
cd "$(dirname "$0")/.."
[ ! -e is-on ] || { echo "swap cannot be switched off"; exit 1; }
[ "$1" != down ] || echo off >>told
SWAP
chmod +x swap/vram-swap
CONFIGURE
chmod +x configure
END
cat >"$tmp/bin/nbdkit" <<END
#!/bin/sh
[ "\$1" != --dump-config ] || echo "plugindir=$tmp/plugins"
END
cat >"$tmp/tree/packaging/build" <<'END'
#!/bin/sh
id -u >out/built-by
echo "$*" >out/kind
for name in one two; do
  echo "$name" >"out/$name.$2"
  echo "out/$name.$2"
done
END
# Debian's package manager. All packages are installed but nbdkit-vram's, which
# are installed while $tmp/installed exists.
cat >"$tmp/manager/apt-get" <<END
#!/bin/sh
echo "\$*" >>"$tmp/packages"
test ! -e "$tmp/is-on" || { echo "swap cannot be switched off"; exit 1; }
END
cat >"$tmp/manager/dpkg-query" <<END
#!/bin/sh
for name; do :; done
case \$name in
  vram-swap | nbdkit-plugin-gpuram) test -e "$tmp/installed" || exit 0 ;;
esac
printf installed
END
chmod +x "$tmp/bin/"* "$tmp/manager/"* "$tmp/tree/.ci/check" \
  "$tmp/tree/autogen.sh" "$tmp/tree/packaging/build"
# All programs but package managers and sudo.
mkdir "$tmp/plain"
ln -s /usr/bin/* "$tmp/plain"
for name in apt-get dnf dpkg-query pacman sudo; do
  rm -f "$tmp/plain/$name"
done
elsewhere=$tmp/bin:$tmp/plain:/usr/sbin:/sbin
PATH=$tmp/manager:$elsewhere
built=$tmp/tree/out/build

# quickstart STATUS WORDS ARGUMENT...
quickstart ()
{
  local wanted=$1 words=$2 status=0
  shift 2
  "${as[@]}" "$tmp/tree/quickstart" "$@" >"$log" 2>&1 </dev/null || status=$?
  cat "$log"
  [ "$status" -eq "$wanted" ] ||
    fail "quickstart $*: the exit status is $status, not $wanted"
  expect_log "$words"
}
as=()

# Wrong arguments are refused before anything is installed or built.
quickstart 2 "unknown stage 'nosuch'" check nosuch
quickstart 2 "unknown stage 'nosuch'" check gcc nosuch
quickstart 2 "'--bogus' after '10G'" 10G --bogus
quickstart 2 "'now' after 'install'" install now
quickstart 2 "'--bogus'" --bogus
for size in 7GB 1.5G 10x 0x10 101% 5%%; do
  quickstart 2 "'$size' is not a size; write it like" $size
done
[ ! -e "$tmp/packages" ]
[ ! -e "$tmp/tree/out" ]

# install-guard.sh prune TOP DIR... removes empty folders below TOP.
mkdir -p "$tmp/top/lib/a/b" "$tmp/top/lib/c" "$tmp/top/share"
: >"$tmp/top/lib/c/file"
sh "$top_srcdir/install-guard.sh" prune "$tmp/top" "$tmp/top/lib/a/b" \
  "$tmp/top/lib/c" "$tmp/top/share" /usr/nowhere
[ "$(cd "$tmp/top" && find . | sort | tr '\n' ' ')" \
  = ". ./lib ./lib/c ./lib/c/file " ]

# A user without sudo.
requires_root
requires_program setpriv
user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
chmod 755 "$tmp"
chown -R 65534:65534 "$tmp/tree"
as=("${user[@]}")
quickstart 1 "installing: run this as root \(sudo is not installed\)" install
quickstart 1 "nbdkit-vram is not installed: no packages" uninstall
[ ! -e "$tmp/packages" ]

# Root installs from the user's tree, and leaves no files of root's there. That
# would reload the configuration of a systemd or udev that runs.
for program in /usr/local/{bin,sbin}/vram-swap; do
  [ ! -e "$program" ] || skip "'make install' was run here"
done
if [ -d /run/systemd/system ] || [ -S /run/udev/control ]; then
  skip "systemd or udev runs here"
fi
as=()

# Packages: the user builds them and root installs them. They are not removed
# while swap cannot be switched off.
quickstart 0 "^building packages ... done" install
[ "$(cat "$tmp/tree/out/built-by")" = 65534 ]
[ "$(cat "$tmp/tree/out/kind")" = "--nocheck deb" ]
debs="$tmp/tree/out/one.deb $tmp/tree/out/two.deb"
grep -q " install .*--reinstall .*$debs" "$tmp/packages"
expect_log "systemctl enable --now vram-swap"
[ ! -e "$built" ]
touch "$tmp/installed" "$tmp/is-on"
quickstart 1 "swap cannot be switched off" uninstall
rm "$tmp/is-on"
quickstart 0 "^Uninstalled" uninstall
grep -q " purge vram-swap nbdkit-plugin-gpuram" "$tmp/packages"
rm "$tmp/installed"

# Without a package manager: make install.
PATH=$elsewhere
quickstart 0 "^building ... done" --no-install install
[ "$(cat "$built/built")" = 65534 ]
[ "$(cat "$built/told")" = install ]
[ "$(cat "$built/configured")" = --with-plugin-name=vram ]
chown 65534:65534 "$built/told"
# shellcheck disable=SC2016 # the script's own
printf '#!/bin/sh\n[ "$1" = -v ] || exec "$@"\n' >"$tmp/bin/sudo"
chmod +x "$tmp/bin/sudo"
as=("${user[@]}")
quickstart 0 "^building ... done" --no-install install
[ "$(wc -l <"$built/told")" -eq 2 ]

# Nothing is uninstalled while swap cannot be switched off.
: >"$built/is-on"
quickstart 1 "swap cannot be switched off" uninstall
[ "$(wc -l <"$built/told")" -eq 2 ]
rm "$built/is-on"
# Nor is it said to be, when a file could not be removed.
: >"$built/read-only"
quickstart 1 "uninstalling ... failed" uninstall
if grep Uninstalled "$log"; then fail "it is not"; fi
rm "$built/read-only"
quickstart 0 "^Uninstalled" uninstall
[ "$(tail -n 2 "$built/told" | tr '\n' ' ')" = "off uninstall " ]

# If another plugin has the name, ours gets a free name. An earlier build of
# ours is no other plugin.
echo "another plugin" >"$tmp/plugins/nbdkit-vram-plugin.so"
quickstart 0 "This one is called gpuram" --no-install install
[ "$(cat "$built/configured")" = --with-plugin-name=gpuram ]
cp "$VRAM_PLUGIN" "$tmp/plugins/nbdkit-vram-plugin.so"
quickstart 0 "^building ... done" --no-install install
[ "$(cat "$built/configured")" = --with-plugin-name=vram ]
expect_no_log gpuram
