#!/usr/bin/env bash
# nbdkit-vram: man renders the pages without a warning, in 80 columns
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_program podchecker

[ -d "$top_srcdir/man" ] || skip "the sources are not here"
podchecker -warnings "$top_srcdir"/man/*.pod

# The pages as they are in the source, without the paths of a build.
if type -P pod2man man groff >/dev/null; then
  for page in "$top_srcdir"/man/*.pod; do
    pod2man --utf8 "$page" >"$tmp/page.1"
    LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings --local-file "$tmp/page.1" \
      >"$tmp/page" 2>"$tmp/warnings" </dev/null
    [ ! -s "$tmp/warnings" ] || fail "$page: $(cat "$tmp/warnings")"
    ! grep -E '.{81}' "$tmp/page" || fail "$page: more than 80 columns"
  done
fi

[ -e "$VRAM_BUILD/man/Makefile" ] ||
  skip "the pages of a build: there is no build; the rest passed"
requires_program man
requires_program groff
make -s -C "$VRAM_BUILD/man" all
pages=0
# Wide enough for the paths of this build, which cannot be broken.
for page in "$VRAM_BUILD"/man/*.[158]; do
  LC_ALL=C.UTF-8 MANWIDTH=300 man --warnings \
    --local-file "$page" >"$tmp/page" 2>"$tmp/warnings" </dev/null
  [ ! -s "$tmp/warnings" ] || fail "$page: $(cat "$tmp/warnings")"
  grep -q 'SEE ALSO' "$tmp/page" || fail "$page: no SEE ALSO"
  pages=$((pages + 1))
done
[ "$pages" -eq 3 ] || fail "$pages pages instead of 3"
