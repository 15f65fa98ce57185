#!/usr/bin/env bash
# nbdkit-vram: the scripts for OpenRC and elogind run vram-swap with the right
# arguments
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -u -x

units=$top_srcdir/swap/units
[ -e "$units/openrc.in" ] || skip "the sources are not here"

# A vram-swap that records its arguments. Its daemon runs until SIGTERM, and
# reload exits with the status in a file.
mkdir "$tmp/bin"
cat >"$tmp/bin/vram-swap" <<'END'
#!/bin/sh
echo "$*" >>"$0.calls"
[ "$1" != reload ] || exit "$(cat "$0.status" 2>/dev/null || echo 0)"
[ "$1" != daemon ] || exec sleep 1000
END
chmod +x "$tmp/bin/vram-swap"
for script in openrc elogind; do
  sed "s,@bindir@,$tmp/bin,g" "$units/$script.in" >"$tmp/$script"
  # The script uses nothing beyond POSIX.
  chmod +x "$tmp/$script"
  sh -n "$tmp/$script"
  ! type -P shellcheck || shellcheck "$tmp/$script"
done

# In the place of openrc-run: reads the script and calls its functions.
cat >"$tmp/openrc-run" <<'END'
need () { echo "need $*"; }
after () { echo "after $*"; }
keyword () { echo "keyword $*"; }
ebegin () { echo "begin $*"; }
eend () { echo "end $1"; return "$1"; }
. "$1"
case $2 in
  # supervise-daemon starts this in the foreground and ends it by the first
  # signal of $retry.
  start) exec "$command" $command_args ;;
  show) echo "$supervisor, $respawn_max, $retry, $extra_started_commands" ;;
  *) "$2" ;;
esac
END
openrc ()
{
  sh -e -u "$tmp/openrc-run" "$tmp/openrc" "$1"
}

openrc depend | grep -x "need localmount"
[ "$(openrc show)" = "supervise-daemon, 0, SIGTERM/1800, reload" ]

kill_daemon ()
{
  kill $daemon 2>/dev/null || :
}

openrc start &
daemon=$!
cleanup_fn kill_daemon
for ((i = 0; i < patience * 10; i++)); do
  ! grep -qsx daemon "$tmp/bin/vram-swap.calls" || break
  sleep 0.1
done
grep -x daemon "$tmp/bin/vram-swap.calls"
kill -TERM $daemon
! wait $daemon || fail "the daemon has ended before the signal"

openrc reload | grep -x "end 0"
echo 1 >"$tmp/bin/vram-swap.status"
! openrc reload || fail "reload hides the failure of vram-swap"
grep -x reload "$tmp/bin/vram-swap.calls"

"$tmp/elogind" pre hibernate
"$tmp/elogind" post hibernate
tail -n 2 "$tmp/bin/vram-swap.calls" |
  diff - <(printf '%s\n' "sleep pre hibernate" "sleep post hibernate")
