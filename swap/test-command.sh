#!/usr/bin/env bash
# nbdkit-vram: tests vram-swap's command line, and that help, man page and completion agree about it
# SPDX-License-Identifier: BSD-3-Clause

set -e -u -o pipefail

srcdir=${srcdir:-.}
pod=$srcdir/../man/vram-swap.pod
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
swap=(./vram-swap --root "$root")

fail ()
{
  echo "$*" >&2
  exit 1
}

# status STATUS WORDS COMMAND...: its exit status, and WORDS are in what it says.
status ()
{
  local wanted=$1 words=$2 got=0 out
  shift 2
  out=$("$@" 2>&1) || got=$?
  [[ $got == "$wanted" ]] || fail "$*: status $got, wanted $wanted: $out"
  [[ $out == *"$words"* ]] || fail "$*: '$words' is not in: $out"
}

status 0 "vram-swap up" ./vram-swap --help
status 0 "vram-swap " ./vram-swap --version
status 2 "vram-swap up" ./vram-swap
status 2 "unknown command 'uo'" ./vram-swap uo
status 2 "unrecognized option" ./vram-swap up --frobnicate
status 2 "up does not take that option" ./vram-swap up --json
status 2 "up takes no further words" ./vram-swap up now
status 2 "--wait=soon: wanted a time" ./vram-swap down --wait=soon
status 2 "no-such-file" ./vram-swap --config no-such-file config

# A made-up machine, without the configuration file.
mkdir -p "$root/proc" "$root/run"
printf 'MemTotal: 8388608 kB\nMemFree: 1 kB\nMemAvailable: 4194304 kB\nSwapTotal: 0 kB\nSwapFree: 0 kB\n' \
  >"$root/proc/meminfo"
printf 'Filename\tType\tSize\tUsed\tPriority\n/dev/zram0 partition 4194304 1024 100\n' >"$root/proc/swaps"
status 4 "VRAM swap: down" "${swap[@]}" status
status 4 "then zram, 1.0 MiB of 4.0 GiB used, priority 100" "${swap[@]}" status
status 4 '"state": "down"' "${swap[@]}" status --json
status 0 "priority = 1500 " "${swap[@]}" config
echo "novramswap quiet" >"$root/proc/cmdline"
status 1 "novramswap" "${swap[@]}" up

echo "priority = 1" >"$root/conf"
status 0 "priority = 1 " "${swap[@]}" --config "$root/conf" config
status 0 "$root/conf:1" "${swap[@]}" --config "$root/conf" config
echo "prio = 1" >"$root/conf"
status 2 "$root/conf:1: unknown key 'prio'" "${swap[@]}" --config "$root/conf" status

lines=$(./vram-swap --help | wc -l)
((lines <= 24)) || fail "--help is $lines lines, more than a screen"

# Each command of --help is in the man page, in its synopsis, and completed; so is each option.
commands=$(./vram-swap --help | sed -n 's/^  vram-swap \([a-z]*\).*/\1/p')
[[ $(wc -w <<<"$commands") -ge 8 ]] || fail "too few commands: $commands"
for command in $commands; do
  grep -q "^=item B<$command>" "$pod" || fail "$command is not in $pod"
  grep -q "^ vram-swap $command" "$pod" || fail "$command is not in the synopsis of $pod"
  grep -q "^  local commands=.*\b$command\b" "$srcdir/completion" || fail "$command is not completed"
done
for option in $(./vram-swap --help | grep -o -e '--[a-z]*' | sort -u); do
  grep -q -e "$option" "$pod" || fail "$option is not in $pod"
  grep -q -e "$option" "$srcdir/completion" || fail "$option is not completed"
done

# Each key of the configuration is in its man page, with its default.
while read -r key value; do
  line=$(grep -e "^=item B<$key> = " "$srcdir/../man/nbdkit-vram.conf.pod") || fail "$key is not in nbdkit-vram.conf(5)"
  case $key in
    plugin | plugin-args) ;; # a name that configure knows; nothing
    *) [[ $line == *"(default $value)" ]] || fail "$key: $line, but the default is $value" ;;
  esac
done < <("${swap[@]}" config | sed -n 's/^\([a-z-]*\) = \([^ ]*\).*/\1 \2/p')
