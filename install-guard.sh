#!/bin/sh
# nbdkit-vram: keeps make install and make uninstall away from files of the
# same name that are not ours
# SPDX-License-Identifier: BSD-3-Clause
#
#   install-guard.sh check FILE...    fails when a FILE is there and is not
#                                     ours
#   install-guard.sh remove FILE...   removes each FILE that is ours, leaves
#                                     the others alone
#   install-guard.sh comment          prints the mark as a man page's comment
#   install-guard.sh earlier OLD NEW  removes OLD if it is a vram-swap, but not
#   the same file as NEW, as where sbin is a link to bin
#   install-guard.sh prune TOP DIR... removes each empty DIR below TOP, and the
#   folders above it that are empty then
#
# nbdkit 1.46 and newer ship an unrelated plugin (and man page) that is called
# vram too. Ours carry a mark.
set -eu

mark='@(#) nbdkit-vram plugin'

# Distributions compress man pages, so FILE.gz stands in FILE's way as well.
ours ()
{
  case $1 in
    *.gz) gzip -dc -- "$1" | grep -aqF -e "$mark" ;;
    *) grep -aqF -e "$mark" -- "$1" ;;
  esac
}

action=$1
shift
if [ "$action" = comment ]; then
  printf '.\\" %s\n' "$mark"
elif [ "$action" = earlier ]; then
  # shellcheck disable=SC3013 # every shell has -ef
  if [ -f "$1" ] && ! [ "$1" -ef "$2" ] &&
    grep -aqF -e nbdkit-vram.conf -- "$1"; then
    rm -f -- "$1"
  fi
  exit
elif [ "$action" = prune ]; then
  top=$1
  shift
  for folder; do
    while [ "$folder" != "${folder#"$top"/}" ] &&
      rmdir -- "$folder" 2>/dev/null; do
      folder=${folder%/*}
    done
  done
  exit
fi
for file; do
  for found in "$file" "$file.gz"; do
    [ -e "$found" ] || [ -L "$found" ] || continue
    if ours "$found"; then
      [ "$action" = check ] || rm -f -- "$found"
    elif [ "$action" = check ]; then
      echo >&2 "error: $found is there already and is not nbdkit-vram's" \
        "(nbdkit itself may have come with it)"
      echo >&2 "error: nothing was installed; configure with" \
        "--with-plugin-name=NAME to install under another name"
      exit 1
    else
      echo >&2 "$found is not nbdkit-vram's: left alone"
    fi
  done
done
