#!/usr/bin/env bash
# nbdkit-vram: make install and uninstall do not touch another project's
# plugin, man page or link to a unit
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -u -x

[ -e "$VRAM_BUILD/Makefile" ] ||
  skip "there is no build folder"
requires_program make

plugindir=$(sed -n 's/^plugindir = //p' "$VRAM_BUILD/Makefile")

# make_in TARGET: installs below $tmp/root, independent of the make that runs
# this test.
make_in ()
{
  local folder
  for folder in plugin man; do
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL timeout "$patience" \
      make -s -C "$VRAM_BUILD/$folder" "$1" \
      "DESTDIR=$tmp/root" >"$tmp/make.log" 2>&1 || return
  done
}

make_in install
so=$(find "$tmp/root" -name "nbdkit-$PLUGIN_NAME-plugin.so")
page=$(find "$tmp/root" -name "nbdkit-$PLUGIN_NAME-plugin.1")
[ -s "$so" ]
[ "$(find "$tmp/root" -name '*.la')" = "" ]
case $plugindir in
  /*) [ "$so" = "$tmp/root$plugindir/nbdkit-$PLUGIN_NAME-plugin.so" ] ;;
esac

# The plugin exports only the symbols that nbdkit looks for.
if type -P nm; then
  nm -D --defined-only "$so" | awk '{ print $NF }' | sort >"$tmp/symbols"
  printf '%s\n' plugin_init "${PLUGIN_NAME}_debug_copies" \
    "${PLUGIN_NAME}_debug_random_path" "${PLUGIN_NAME}_debug_restless" \
    "${PLUGIN_NAME}_debug_window_write_max" | sort | diff - "$tmp/symbols"
fi

# An older version of this plugin is replaced.
cp "$so" "$tmp/so"
printf 'older' >>"$so"
make_in install
cmp "$so" "$tmp/so"

# Another project's file is not replaced, and then nothing is installed.
for other in "$so" ${page:+"$page" "$page.gz"}; do
  make_in uninstall
  [ "$(find "$tmp/root" -type f)" = "" ]
  case $other in
    *.gz) echo "another project" | gzip >"$other" ;;
    *) echo "another project" >"$other" ;;
  esac
  cp "$other" "$tmp/other"
  if make_in install; then
    fail "installed in spite of $other"
  fi
  grep -F -e "$other is there already" "$tmp/make.log"
  grep -F -e "--with-plugin-name=" "$tmp/make.log"
  make_in uninstall
  cmp "$other" "$tmp/other"
  [ "$(find "$tmp/root" -type f)" = "$other" ]
  rm "$other"
done

make_swap ()
{
  env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL timeout "$patience" make \
    -s -C "$VRAM_BUILD/swap" "$@" \
    "prefix=$tmp/prefix" "sysconfdir=$tmp/etc" \
    "bindir=$tmp/prefix/bin" "sbindir=$tmp/prefix/sbin" \
    "systemdsystemunitdir=$tmp/units" \
    "sysusersdir=$tmp/sysusers" "modulesloaddir=$tmp/modules" \
    "completiondir=$tmp/completion" "systemd_enabled=$tmp/enabled"
}

# A user finds vram-swap in bin. An earlier one in sbin, which precedes it in
# root's PATH, is removed, another project's is not.
new=$tmp/prefix/bin/vram-swap
old=$tmp/prefix/sbin/vram-swap
mkdir -p "$tmp/prefix/sbin"
for action in install uninstall; do
  cp "$VRAM_BUILD/swap/vram-swap" "$old"
  printf 'older' >>"$old"
  make_swap $action
  [ ! -e "$old" ] || fail "$action: the earlier vram-swap is still there"
  echo "another project" >"$old"
  make_swap $action
  grep -x "another project" "$old"
done
[ ! -e "$new" ]
# Where sbin is bin, an upgrade leaves the new program there.
rm -r "$tmp/prefix/sbin"
ln -s bin "$tmp/prefix/sbin"
make_swap install
printf 'older' >>"$new"
make_swap install
"$new" --version
make_swap install "sbindir=$tmp/prefix/bin"
"$new" --version
make_swap uninstall
[ "$(find "$tmp/prefix" -type f)" = "" ]

# make uninstall removes the links that enable our units, but no others.
if grep -q "^systemdsystemunitdir = ." "$VRAM_BUILD/swap/Makefile"; then
  make_swap install
  for unit in vram-swap.service vram-swap-sleep@.service; do
    grep -x "ExecStart=.*/bin/vram-swap .*" "$tmp/units/$unit"
  done
  mkdir -p "$tmp/enabled/multi-user.target.wants" \
    "$tmp/enabled/systemd-suspend.service.requires" \
    "$tmp/enabled/systemd-hibernate.service.requires"
  swap_link=$tmp/enabled/multi-user.target.wants/vram-swap.service
  sleep_link=$tmp/enabled/systemd-suspend.service.requires
  sleep_link+=/vram-swap-sleep@suspend.service
  other_link=$tmp/enabled/systemd-hibernate.service.requires
  other_link+=/vram-swap-sleep@hibernate.service
  : >"$tmp/other"
  ln -s "$tmp/units/vram-swap.service" "$swap_link"
  ln -s "$tmp/units/vram-swap-sleep@.service" "$sleep_link"
  ln -s "$tmp/other" "$other_link"
  # If /etc is read-only, the links stay, which is an error. Then the units
  # stay, too: with a link to a missing unit the machine would not go to sleep.
  mkdir "$tmp/bin"
  cat >"$tmp/bin/rm" <<END
#!/bin/bash
status=0
for file; do
  case \$file in
    $tmp/e*) echo "rm: \$file: Read-only file system"; status=1 ;;
    -*) ;;
    *) PATH=$PATH rm -f "\$file" || status=1 ;;
  esac
done
exit \$status
END
  chmod +x "$tmp/bin/rm"
  rm -f "$tmp/etc/nbdkit-vram.conf"
  if PATH=$tmp/bin:$PATH make_swap uninstall; then
    fail "uninstalled, although /etc is read-only"
  fi
  [ -L "$swap_link" ]
  [ -e "$tmp/units/vram-swap.service" ]
  [ -e "$tmp/units/vram-swap-sleep@.service" ]
  make_swap uninstall
  [ ! -L "$swap_link" ] || fail "the service is still enabled"
  [ ! -L "$sleep_link" ] || fail "the service is still enabled for suspend"
  [ -L "$other_link" ] || fail "another project's link was removed"
  [ "$(find "$tmp/units" "$tmp/sysusers" "$tmp/modules" -type f)" = "" ]
fi
