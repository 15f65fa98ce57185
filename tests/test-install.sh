#!/usr/bin/env bash
# nbdkit-vram: installing and uninstalling never touch a plugin or a man page of that name that is not ours
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/functions.sh"
set -e -u -x

[ -e "$VRAM_BUILD/Makefile" ] || skip "there is no build folder to install from"
requires_program make

plugindir=$(sed -n 's/^plugindir = //p' "$VRAM_BUILD/Makefile")

# At the top of another tree, and apart from the make that runs this test.
make_in ()
{
  local folder
  for folder in plugin man; do
    env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL timeout "$patience" \
      make -s -C "$VRAM_BUILD/$folder" "$1" "DESTDIR=$tmp/root" >"$tmp/make.log" 2>&1 || return
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

# Our own is replaced.
cp "$so" "$tmp/so"
printf 'older' >>"$so"
make_in install
cmp "$so" "$tmp/so"

# Somebody else's is not, and nothing else is installed either.
for other in "$so" ${page:+"$page" "$page.gz"}; do
  make_in uninstall
  [ "$(find "$tmp/root" -type f)" = "" ]
  case $other in
    *.gz) echo "somebody else's" | gzip >"$other" ;;
    *) echo "somebody else's" >"$other" ;;
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
