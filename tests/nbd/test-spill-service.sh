#!/usr/bin/env bash
# nbdkit-vram: the service makes the folder of the spill file, data moves there
# and back, and status shows it
# SPDX-License-Identifier: BSD-3-Clause

source "$(dirname "$0")/../functions.sh"
set -e -x -u

requires_standin
requires_root
requires_nbdsh
requires_program python3
mkdir -p "$tmp/root/var/lib"
chmod 1777 "$tmp"
sock=$tmp/run/sock
uri="nbd+unix:///?socket=$sock"
spill=$tmp/root/var/lib/vram-swap
user=nobody
setpriv --reuid=nobody --clear-groups test -r "$VRAM_PLUGIN" || user=root

# begin SETTING...: starts a daemon with a disk of 8 slots of 8 MiB.
begin ()
{
  swap_launcher "$tmp/conf" "size = 64M" "min-size = 64M" "elastic = yes" \
    "window = no" "$@"
  "${launch[@]}" daemon --server-only --user "$user" >"$log" 2>&1 &
  server=$!
  cleanup_fn kill_server "$server"
  wait_until_served
}

# shows EXPRESSION: it is true. In it E is the part of status --json about
# elastic VRAM.
shows ()
{
  swap_says 4 status --json
  python3 -c '
import json, sys
E = json.loads (sys.argv[1])["server"]["elastic"]
sys.exit (not eval (sys.argv[2]))' "$said" "$1"
}

end ()
{
  end_server TERM
  [ "$status" -eq 0 ] || fail "the daemon's exit status is $status"
}

takeovers ()
{
  grep -c "info: took over a disk" "$log" || :
}

took_over_since ()
{
  [ "$(takeovers)" -gt "$1" ]
}

# The server dies, and the next one takes over its disk.
next_server ()
{
  local before
  before=$(takeovers)
  swap_says 4 status --json
  kill -KILL "$(sed -n 's/^ *"pid": \([0-9]*\).*/\1/p' <<<"$said")"
  wait_for "$patience" took_over_since "$before"
  wait_until_served
}

# Data moves to the file, is still there for the next server, and moves back.
moves_there_and_back ()
{
  wait_for "$patience" shows 'E["spill_size"] == 64 << 20'
  nbdsh -u "$uri" -c 'for i in range (3): h.pwrite (b"%d" % i * 4096, i << 23)'
  check='for i in range (3):
    assert h.pread (4096, i << 23) == b"%d" % i * 4096'
  swap_says 0 limit 0
  shows 'E["held"] == 0 and E["spilled"] == 24 << 20 and E["least"] == 0' ||
    fail "$said"
  swap_says 4 status
  [[ $said == *"VRAM:      0 B held, 0 B of it hold data, limit 0 B
           spill file: 24.0 MiB of 64.0 MiB used"* ]] || fail "$said"
  nbdsh -u "$uri" -c "$check"
  [ -z "$(ls -A "$spill")" ] || fail "the file has a name: $(ls -A "$spill")"

  next_server
  nbdsh -u "$uri" -c "$check"
  swap_says 0 limit max
  wait_for "$patience" shows 'E["spilled"] == 0 and E["slots"] == 24 << 20'
  nbdsh -u "$uri" -c "$check"
}

begin
[ "$(stat -c '%U %a' "$spill")" = "$user 700" ] ||
  fail "the folder: $(stat "$spill")"
if shows 'E["spill_reason"]'; then
  end
  skip "no spill file here: $(grep 'no spill file: ' "$log")"
fi
moves_there_and_back
end

rmdir "$spill"
begin "spill = none"
swap_says 4 status
[[ $said != *"spill file"* ]] || fail "$said"
[ ! -e "$spill" ]
# With another setting, the next server of this disk makes a file.
sed -i '/^spill = none$/d' "$tmp/conf"
swap_says 0 reload
next_server
moves_there_and_back
end
rmdir "$spill"

begin "spill = /dev/shm"
swap_says 4 status
[[ $said == *"no spill file: /dev/shm is not on ext4 or XFS"* ]] ||
  fail "$said"
nbdsh -u "$uri" -c 'h.pwrite (b"x" * 4096, 0)'
swap_says 3 limit 0
[[ $said == *"cannot be moved: /dev/shm is not on ext4 or XFS"* ]] ||
  fail "$said"
end
