#!/usr/bin/env bash
# nbdkit-vram: --help, the man page and the plugin have the same parameters,
# keys and debug flags
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

page=$top_srcdir/man/nbdkit-vram-plugin.pod
source=$top_srcdir/plugin
[ -e "$source/plugin.c" ] || skip "the sources are not here"

# Parameters: in --help, in the form that bash completion parses, and in the
# page.
vram_nbdkit "$VRAM_PLUGIN" --help >"$tmp/help"
sed -n 's/^\([-a-z]*\)=.*/\1/p' "$tmp/help" | sort >"$tmp/in-help"
[ "$(wc -l <"$tmp/in-help")" -ge 14 ]
sed -n '/^=head1 PARAMETERS/,/^=head1 [^P]/ {
  s/^=item \(\[B<size=>\]\)\{0,1\}B<\([-a-z]*\)=.*/\2/p
}' "$page" |
  sort -u >"$tmp/in-page"
diff "$tmp/in-help" "$tmp/in-page"
# The lines fit on a terminal.
! sed -n '/^Serves the video/,$p' "$tmp/help" | grep -E '.{81}' ||
  fail "a line of --help is too long"

# Keys of --dump-plugin.
sed -n 's/.*"\(.*vram_[a-z_]*=.*\)/\1/p' "$source/dump.c" \
  "$source"/gpu/*/provider.c |
  grep -oE 'vram_[a-z_]+=' | tr -d = | sort -u >"$tmp/code"
sed -n '/^=head1 INFORMATION/,/^=head1 [^I]/ {
  s/^=item C<\(vram_[a-z_]*\)=.*/\1/p
}' "$page" | sort -u >"$tmp/in-page"
[ -s "$tmp/code" ]
diff "$tmp/code" "$tmp/in-page"

# The keys that it prints.
if [ -z "$VRAM_REAL_GPU" ]; then
  {
    vram_nbdkit "$VRAM_PLUGIN" --dump-plugin size=16M window=no \
      window-read-max=4K elastic=yes spill=/dev/shm
    STANDIN_CUDA_DEVICES=0 vram_nbdkit "$VRAM_PLUGIN" --dump-plugin
  } | sed -n 's/^\(vram_[a-z_]*\)=.*/\1/p' | sort -u >"$tmp/printed"
  diff "$tmp/in-page" "$tmp/printed"
fi

# Debug flags.
sed -n 's/^int vram_debug_\([a-z_]*\);/\1/p' "$source/debug.c" |
  sort >"$tmp/code"
sed -n 's/^=item B<-D vram\.\([a-z_]*\)=.*/\1/p' "$page" |
  sort -u >"$tmp/in-page"
[ -s "$tmp/code" ]
diff "$tmp/code" "$tmp/in-page"
