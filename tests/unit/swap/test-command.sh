#!/usr/bin/env bash
# nbdkit-vram: tests vram-swap's command line, and that help, man page and
# completion agree about it
# SPDX-License-Identifier: BSD-3-Clause

set -e -u -o pipefail

srcdir=${srcdir:-.}
name=$(sed -n 's/^PLUGIN_NAME = //p' Makefile)
top=$srcdir/../../..
tool=../../../swap/vram-swap
pod=$top/man/vram-swap.pod
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT
chmod 755 "$root" # another user looks at it as well
swap=("$tool" --root "$root")

fail ()
{
  echo "$*" >&2
  exit 1
}

# status STATUS WORDS COMMAND...: its exit status, and WORDS are in what it
# says.
status ()
{
  local wanted=$1 words=$2 got=0 out
  shift 2
  out=$("$@" 2>&1) || got=$?
  [[ $got == "$wanted" ]] || fail "$*: status $got, wanted $wanted: $out"
  [[ $out == *"$words"* ]] || fail "$*: '$words' is not in: $out"
}

status 0 "vram-swap up" "$tool" --help
status 0 "vram-swap " "$tool" --version
status 2 "vram-swap up" "$tool"
status 2 "unknown command 'uo'" "$tool" uo
status 2 "unrecognized option" "$tool" up --frobnicate
status 2 "up: option '--json' is not supported" "$tool" up --json
status 2 "up: unexpected argument 'now'" "$tool" up now
status 2 "invalid --free=much; expected a size" "$tool" run --free=much true
status 2 "up: option '--free' is not supported" "$tool" up --free=1G
status 2 "invalid --wait=soon; expected a time" "$tool" down --wait=soon
status 2 "no-such-file" "$tool" --config no-such-file config
status 2 "error: /: Is a directory" "$tool" --config / config

# No init system is asked anything, and none is guessed from an answer: what is
# slow or missing changes nothing.
if grep -nE '"(systemctl|service|rc-service|loginctl|busctl)"' \
  "$top"/swap/{,*/}*.c; \
  then
  fail "a program of an init system is run"
fi

# What only root may do says so.
user=()
if [[ $(id -u) == 0 ]]; then
  user=(setpriv --reuid=65534 --regid=65534 --clear-groups)
fi
cp "$tool" "$root"
for command in up down test reload sleep; do
  status 1 "only root may do that; run 'sudo vram-swap $command'" \
    "${user[@]}" "$root/vram-swap" "$command"
done
rm "$root/vram-swap"

# Where everybody looks for it, unless configure was told another place.
conf=$("$tool" --help | sed -n 's/.*instead of //p')
[[ $conf == /*/nbdkit-vram.conf ]] ||
  fail "--help does not say where the configuration is: '$conf'"
[[ $(../../../config.status --config) == *sysconfdir=* ||
  $conf != @(/usr|/usr/local)/etc/* ]] ||
  fail "the configuration is $conf"

# A made-up machine, without the configuration file.
mkdir -p "$root/proc" "$root/run"
printf '%s: %s kB\n' MemTotal 8388608 MemFree 1 MemAvailable 4194304 \
  SwapTotal 0 SwapFree 0 \
  >"$root/proc/meminfo"
printf '%s\n' "Filename Type Size Used Priority" \
  "/dev/zram0 partition 4194304 1024 100" >"$root/proc/swaps"
status 4 "VRAM swap: off" "${swap[@]}" status
status 4 "then zram, 1.0 MiB of 4.0 GiB used, priority 100" "${swap[@]}" status
status 4 '"state": "off"' "${swap[@]}" status --json
status 4 "power keep (on mains), sleep auto" "${swap[@]}" status
status 4 '"charge": null' "${swap[@]}" status --json
mkdir -p "$root/sys/class/power_supply/BAT0"
echo Battery >"$root/sys/class/power_supply/BAT0/type"
echo Discharging >"$root/sys/class/power_supply/BAT0/status"
echo 47 >"$root/sys/class/power_supply/BAT0/capacity"
status 4 "power keep (on battery, charge 47 %), sleep auto" "${swap[@]}" status
status 4 '"charge": 47' "${swap[@]}" status --json
status 0 "
outage-timeout = 10min
priority = 1500
discard = pages
" "${swap[@]}" config

echo "priority = 1" >"$root/conf"
status 0 "
# $root/conf:1
priority = 1
# default
discard = pages
" "${swap[@]}" --config "$root/conf" config
# What it prints can be read again.
"${swap[@]}" --config "$root/conf" config >"$root/printed"
status 0 "# $root/printed:" "${swap[@]}" --config "$root/printed" config
# Names come from other programs, in any encoding.
printf 'device = GPU \xff\n' >"$root/conf"
status 0 $'"value": "GPU \xef\xbf\xbd"' "${swap[@]}" --config "$root/conf" \
  config --json
echo "prio = 1" >"$root/conf"
# A typo keeps from work only what starts something.
typo=("${swap[@]}" --config "$root/conf")
for command in daemon test; do
  status 2 "$root/conf:1: unknown key 'prio'" "${typo[@]}" "$command"
done
status 4 "$root/conf:1: unknown key 'prio'" "${typo[@]}" status
status 5 "problem  configuration: $root/conf:1: unknown key 'prio'" \
  "${typo[@]}" check
status 5 "\"text\": \"$root/conf:1: unknown key 'prio'\"" "${typo[@]}" check \
  --json
status 0 "swap is not on" "${typo[@]}" down
status 0 "ignoring the errors in the configuration above" "${typo[@]}" \
  sleep pre
status 0 "unknown key" "${typo[@]}" sleep post
status 0 "unknown key" "${typo[@]}" look
status 1 "the daemon is not running" "${typo[@]}" up
status 1 "the daemon is not running" "${typo[@]}" reload
# The daemon reads the file itself, and reports its errors.
[[ $("${typo[@]}" reload 2>&1) != *"unknown key"* ]] ||
  fail "reload reports the errors of the configuration twice"
# What the file does not say is as it was when swap went on; what it says
# correctly counts.
mkdir "$root/run/vram-swap"
printf 'idle-down = 77\npower-policy = down-on-battery\n' \
  >"$root/run/vram-swap/settings"
printf 'power-policy = keep\nidle-down = never\n' >"$root/conf"
status 4 '"idle_down": 77' "${typo[@]}" status --json
status 4 '"power": "keep"' "${typo[@]}" status --json

# Without a daemon, status says what the last one has left.
printf '%s\n' state=ended cause=others \
  "reason=switched off by another program (swapoff)" \
  >"$root/run/vram-swap/state"
status 4 "VRAM swap: off: switched off by another program (swapoff)" \
  "${swap[@]}" status
status 4 '"cause": "others"' "${swap[@]}" status --json

# A user outside group vram-swap sees the state.
if [[ $(id -u) == 0 ]]; then
  cp "$tool" "$root"
  mkdir -p "$root/sys/block/nbd0"
  echo 77 >"$root/sys/block/nbd0/pid"
  cp "$root/proc/swaps" "$root/swaps"
  echo "/dev/nbd0 partition 1048576 512 1500" >>"$root/proc/swaps"
  printf '%s\n' state=on cause=none reason= device=0 attach_pid=77 \
    connections=4 timeout=60 since=1 outages=3 >"$root/run/vram-swap/state"
  python3 - "$root/run/vram-swap/control" <<'END'
import os, socket, sys
control = socket.socket (socket.AF_UNIX)
control.bind (sys.argv[1])
os.chmod (sys.argv[1], 0o600)
END
  stranger=("${user[@]}" "$root/vram-swap" --root "$root" status)
  status 0 "VRAM swap: on, 512 KiB of 1.0 GiB used, since" "${stranger[@]}"
  status 0 "server:    only root and group vram-swap may see it" \
    "${stranger[@]}"
  status 0 "outages:   3 times" "${stranger[@]}"
  status 0 '"state": "on"' "${stranger[@]}" --json
  status 0 '"daemon": null' "${stranger[@]}" --json
  sed -i 's/^state=.*/state=paused/; s/^cause=.*/cause=sleep/' \
    "$root/run/vram-swap/state"
  status 0 "VRAM swap: paused, 512 KiB of 1.0 GiB used" "${stranger[@]}"
  status 0 "by the sleep policy" "${stranger[@]}"
  sed -i 's/^reason=.*/reason=could not be switched on/' \
    "$root/run/vram-swap/state"
  status 0 " min: could not be switched on" "${stranger[@]}"
  status 0 '"io_flushers": null' "${stranger[@]}" --json
  mv "$root/swaps" "$root/proc/swaps"
  rm -r "$root/vram-swap" "$root/sys/block"
fi
rm -r "$root/run/vram-swap"

# A program runs whether or not VRAM is given back for it, with all of its
# words and its own exit status.
status 3 "warning: no VRAM is given back: swap is off" "${swap[@]}" run sh \
  -c 'exit 3'
status 0 "--json --free=1G up" "${swap[@]}" run --free=2G echo --json \
  --free=1G up
status 0 "--json" "${swap[@]}" run -- echo --json
status 137 "" "${swap[@]}" run sh -c 'kill -KILL $$'
status 127 "no-such-program: No such file" "${swap[@]}" run no-such-program
status 126 "Permission denied" "${swap[@]}" run "$root/conf"
status 2 "usage: vram-swap run" "${swap[@]}" run
status 1 "swap is off, or the daemon is not running" "${swap[@]}" limit 2G

# A command fails when its output cannot be written, and ends when its reader
# has gone.
for command in --help --version config "config --json" status "status --json" \
  check down; do
  # shellcheck disable=SC2086 # words
  got=0 said=$("${swap[@]}" $command 2>&1 >/dev/full) || got=$?
  [[ $got == 1 && $said == *"standard output: No space left on device"* ]] ||
    fail "$command >/dev/full: status $got: $said"
done
timeout 60 "${swap[@]}" status --watch 2>&1 | head -n 1 &&
  ends=("${PIPESTATUS[@]}") || ends=("${PIPESTATUS[@]}")
[[ ${ends[0]} == 1 ]] ||
  fail "status --watch goes on without a reader: status ${ends[0]}"

# check: a machine where all is well, and then one thing after the other that
# is not. Programs are made up as well.
mkdir -p "$root"/{bin,dev,run/systemd/system} \
  "$root"/proc/{1,driver/nvidia,sys/{kernel,vm}} \
  "$root"/sys/module/{nbd,nvidia,module/parameters,zswap/parameters} \
  "$root"/sys/{kernel/security,power,class/block/sda3} \
  "$root"/sys/bus/pci/devices/0000:0{1,2}:00.0/power \
  "$root"/sys/{fs/cgroup/{system.slice,init.scope},firmware/efi/efivars}
# nbdkit with a plugin that knows these parameters; asked by its help, by a
# parameter that no plugin has, and for what --dump-plugin says.
cat >"$root/bin/nbdkit" <<EOF
#!/bin/sh
case "\$*" in
  *--help)
    cat "$root/refusal"
    test -e "$root/another" || echo gpu-timeout=SECONDS
    exec test ! -e "$root/nbdkit-fails" ;;
esac
for word; do
  case \$word in
    size=* | device=*) continue ;;
    min-size=* | headroom=* | elastic=* | limit=* | spill=* | staging=* | \
      window=* | resident=* | scrub=* | boost=* | gpu-timeout=*) continue ;;
    *=*) ;;
    *) continue ;;
  esac
  echo "nbdkit: error: vram: unknown parameter '\${word%%=*}'"
  exit 1
done
echo "\$(id -u) \$*" >"$root/asked"
cat "$root/dump"
exec test ! -e "$root/dump-fails"
EOF
: >"$root/refusal"
: >"$root/asked"
chmod 666 "$root/asked"
cat >"$root/bin/modinfo" <<EOF
#!/bin/sh
for name; do :; done
cat "$root/modinfo-\$name"
EOF
for program in nbd-client mkswap modprobe nvidia-modprobe; do
  ln -s /bin/true "$root/bin/$program"
done
chmod +x "$root"/bin/{modinfo,nbdkit}

# Two GPUs, the second with more that is free. This is what nbdkit-vram-plugin
# says.
well ()
{
  printf '%s\n' "socket = $root/no.sock" "$@" >"$root/conf"
  printf '%s\n' vram_driver_version=580.159.04 vram_cuda_version=13.0 \
    vram_num_devices=2 vram_device_index=0 \
    "vram_device_name=Small GPU" vram_device_pci=0000:01:00.0 \
    vram_device_memory_total=4294967296 \
    vram_device_memory_free=1073741824 vram_device_index=1 \
    "vram_device_name=Large GPU" vram_device_pci=0000:02:00.0 \
    vram_device_memory_total=8589934592 \
    vram_device_memory_free=6442450944 >"$root/dump"
  mkdir -p "$root/usr/lib/systemd/system"
  : >"$root/usr/lib/systemd/system/vram-swap.service"
  printf 'Name:\tinit\nCapBnd:\t000001ffffffffff\n' >"$root/proc/1/status"
  printf '%s\n' "Filename Type Size Used Priority" \
  "/dev/zram0 partition 4194304 1024 100" >"$root/proc/swaps"
  echo "PreserveVideoMemoryAllocations: 0" >"$root/proc/driver/nvidia/params"
  echo 0 >"$root/proc/sys/vm/page-cluster"
  echo 100 >"$root/proc/sys/vm/swappiness"
  echo N >"$root/sys/module/zswap/parameters/enabled"
  echo 580.159.04 >"$root/sys/module/nvidia/version"
  echo "0x0000000000000000 0x00000001ffffffff 0x000000000014220c" \
    >"$root/sys/bus/pci/devices/0000:02:00.0/resource"
  echo max >"$root/sys/fs/cgroup/init.scope/memory.swap.max"
  echo max | tee \
    "$root/sys/fs/cgroup/system.slice/memory.max" \
    >"$root/sys/fs/cgroup/system.slice/memory.high"
  touch "$root"/dev/nvidia{ctl,-uvm}
  mkdir -p "$root/sys/module/nbd"
  echo 0x10de | tee \
    "$root"/sys/bus/pci/devices/0000:0{1,2}:00.0/vendor >/dev/null
  echo 0x030000 | tee \
    "$root"/sys/bus/pci/devices/0000:0{1,2}:00.0/class >/dev/null
  echo active | tee \
    "$root"/sys/bus/pci/devices/0000:0{1,2}:00.0/power/runtime_status \
    >/dev/null
  echo "freeze mem disk" >"$root/sys/power/state"
  echo 8:3 >"$root/sys/power/resume"
  echo 8:3 >"$root/sys/class/block/sda3/dev"
  echo "/dev/sda3 partition 8388604 0 -2" >>"$root/proc/swaps"
  echo "[none] integrity confidentiality" >"$root/sys/kernel/security/lockdown"
  echo 0 >"$root/proc/sys/kernel/hung_task_panic"
  echo 120 >"$root/proc/sys/kernel/hung_task_timeout_secs"
}

# expects FILE: all that check says, with @ROOT@ for where the made-up machine
# is.
expects ()
{
  { PATH=$root/bin:$PATH "${swap[@]}" --config "$root/conf" check 2>&1 ||
    :; } | sed "s,$root,@ROOT@,g" |
    diff -u <(sed -e :a -e '/\\$/N; s/\\\n *//; ta' \
    -e "s,@PLUGIN@,$name,g" "$srcdir/$1") - >&2 ||
    fail "check: not what $1 expects"
}

# finds VERDICT LINE: check, with the made-up programs, has this line, and a
# fix just after it when it is not ok.
finds ()
{
  local out lines got=0
  out=$(PATH=$root/bin:$PATH "${swap[@]}" --config "$root/conf" check 2>&1) ||
    got=$?
  lines=$(printf '%-8s %s' "$1" "$2")
  [[ $'\n'$out == *$'\n'"$lines"* ]] || fail "check: '$lines' is not in: $out"
  case $1 in
    ok) ;;
    *)
      grep -A 1 -F -e "$lines" <<<"$out" | grep -q '^         fix: ' ||
        fail "check: no fix for '$lines'" ;;
  esac
  [[ $1 != problem || $got == 5 ]] ||
    fail "check: status $got in spite of '$lines'"
}

well
expects check-well.expected
[[ $(<"$root/asked") != *device=* ]] ||
  fail "device = auto is handed on: $(<"$root/asked")"
# What the configuration names never runs as root.
[[ $(<"$root/asked") != "0 "* ]] || fail "the plugin runs as root"

rmdir "$root/sys/module/nbd"
finds problem "nbd driver: the running kernel"
well
touch "$root/nbdkit-fails"
echo "nbdkit: error: no such plugin" >"$root/refusal"
finds problem "plugin: nbdkit cannot load '$name': error: no such plugin"
rm "$root/nbdkit-fails"
: >"$root/refusal"
# Settings that the plugin does not take, and a plugin that takes others;
# 'config' says so, too.
well "plugin-args = lanes=2 foo=bar"
finds problem \
  "plugin: '$name' refuses the settings: error: vram: unknown parameter \
'lanes'"
config=(env "PATH=$root/bin:$PATH" "${swap[@]}" --config "$root/conf" config)
status 2 "plugin-args = lanes=2 foo=bar" "${config[@]}"
status 2 "error: '$name' refuses the settings: error: vram: unknown parameter \
'lanes'" "${config[@]}"
well
status 0 "plugin = $name" "${config[@]}"
touch "$root/another"
finds problem "plugin: nbdkit's '$name' is another plugin of that name"
status 2 "nbdkit's '$name' is another plugin of that name" "${config[@]}"
# The name that the plugin has by default is another plugin's in newer versions
# of nbdkit.
well "plugin = vram"
finds problem "plugin: nbdkit's 'vram' is another plugin of that name"
status 2 "nbdkit's 'vram' is another plugin of that name" "${config[@]}"
well
rm "$root/another"
echo "vram_error=size=40 GiB is more than the 8 GiB of VRAM that the GPU has; \
lower it" >>"$root/dump"
finds problem "GPU: size=40 GiB is more than the 8 GiB of VRAM that the GPU has
         fix: lower it"
well
echo "name=memory" >"$root/dump"
finds warning "libcuda: the plugin is not nbdkit-vram's"

# libcuda is not what nvidia-smi is: only trying tells.
printf '%s\n' vram_driver_version=580.159.04 vram_num_devices=0 \
  "vram_error=cannot load libcuda.so.1: no such file; install the driver's \
CUDA library" >"$root/dump"
finds problem "libcuda: cannot load libcuda.so.1: no such file
         fix: install the driver's CUDA library"
printf '%s\n' vram_driver_version=580.159.04 vram_num_devices=0 \
  "vram_error=cannot initialise the NVIDIA driver: \
(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH); different versions: reboot" \
  >"$root/dump"
finds problem \
  "libcuda: cannot initialise the NVIDIA driver: \
(CUDA_ERROR_SYSTEM_DRIVER_MISMATCH)"

# The configured GPU, neither the first nor the choice of auto.
well "device = Small GPU"
sed -i '/_index=1/,$d' "$root/dump"
finds problem "VRAM: 1.0 GiB are free on Small GPU: less than"
[[ $(<"$root/asked") == *" device=Small GPU "* ]] ||
  fail "device= is not handed on: $(<"$root/asked")"
printf '%s\n' "nbdkit: error: device=7 is no GPU" vram_cuda_version=13.0 \
  vram_num_devices=2 >"$root/dump"
finds problem "device: error: device=7 is no GPU"

# No kernel module in sight: a driver that is missing, or not Linux's.
well
rm -r "$root/sys/module/nvidia"
finds ok "NVIDIA driver: no kernel module here, but libcuda works"
: >"$root/dev/dxg"
rm "$root/dev/nvidiactl"
finds ok "NVIDIA driver: that of Windows (WSL2)"
cp "$root/dump" "$root/dump-well"
printf '%s\n' vram_driver_version= vram_num_devices=0 \
  "vram_error=no driver" >"$root/dump"
finds problem \
  "NVIDIA driver: libcuda does not work with Windows' driver (WSL2)"
rm "$root/dev/dxg"
finds problem "NVIDIA driver: its kernel module is not loaded"
# Installed, but not signed by anyone that the firmware knows.
echo "Some key" >"$root/modinfo-nvidia"
echo "none [integrity] confidentiality" >"$root/sys/kernel/security/lockdown"
finds warning \
  "module signatures: kernel lockdown (Secure Boot): nvidia is not loaded, \
and is signed by Some key"
: >"$root/modinfo-nvidia"
finds problem \
  "module signatures: kernel lockdown (Secure Boot): nvidia is not loaded, \
and not signed"
rm "$root/sys/kernel/security/lockdown"
finds ok "module signatures: not required"
secure_boot=SecureBoot-8be4df61-93ca-11d2-aa0d-00e098032b8c
printf '\6\0\0\0\1' >"$root/sys/firmware/efi/efivars/$secure_boot"
finds problem \
  "module signatures: Secure Boot: nvidia is not loaded, and not signed"
rm "$root"/sys/firmware/efi/efivars/* "$root"/modinfo-nvidia
echo Y >"$root/sys/module/module/parameters/sig_enforce"
: >"$root/modinfo-nbd"
rmdir "$root/sys/module/nbd"
finds problem \
  "module signatures: module.sig_enforce: nbd is not loaded, and not signed"
echo "Debian" >"$root/modinfo-nbd"
finds ok "module signatures: module.sig_enforce"
rm "$root/modinfo-nbd" "$root/sys/module/module/parameters/sig_enforce"
mkdir "$root/sys/module/nvidia"

# A GPU that is asleep stays asleep: nothing starts the driver. Checks that
# need no driver continue.
well
rm "$root/asked"
echo suspended >"$root/sys/bus/pci/devices/0000:02:00.0/power/runtime_status"
finds ok "GPU: 0000:02:00.0 is asleep and is not woken up"
finds ok "plugin: nbdkit loads '$name', with these settings"
[[ ! -e $root/asked ]] || fail "the driver was started: $(<"$root/asked")"
echo "plugin-args = foo=bar" >>"$root/conf"
finds problem \
  "plugin: '$name' refuses the settings: error: vram: unknown parameter 'foo'"
status 4 "GPU:       0000:02:00.0 is asleep" "${swap[@]}" \
  --config "$root/conf" status
status 4 '"power": "suspended"' "${swap[@]}" --config "$root/conf" status \
  --json
: >"$root/asked"
chmod 666 "$root/asked"

well
rm "$root/dev/nvidia-uvm" "$root/bin/nvidia-modprobe"
printf '#!/bin/sh\necho "$*" >"%s/made"\n' "$root" >"$root/bin/nvidia-modprobe"
chmod +x "$root/bin/nvidia-modprobe"
finds ok "/dev/nvidia-uvm: created by nvidia-modprobe when needed"
# The plugin runs without the right to make it.
[[ $(id -u) != 0 || $(<"$root/made") == "-c 0 -u" ]] ||
  fail "the device nodes were not made for libcuda"
touch "$root/.dockerenv"
finds problem "/dev/nvidia-uvm: missing in this container"
rm "$root/.dockerenv" "$root/bin/nvidia-modprobe"
command -v nvidia-modprobe >/dev/null ||
  finds problem \
  "/dev/nvidia-uvm: missing, and nvidia-modprobe is not installed"
ln -s /bin/true "$root/bin/nvidia-modprobe"
echo "0x0000000000000000 0x000000000fffffff 0x000000000014220c" \
  >"$root/sys/bus/pci/devices/0000:02:00.0/resource"
finds warning "Resizable BAR: only 256 MiB of 8.0 GiB"

# Without CAP_IPC_LOCK (14), without CAP_SYS_RESOURCE (24), without either.
printf 'Name:\tinit\nCapBnd:\t000001ffffffbfff\n' >"$root/proc/1/status"
finds problem "capabilities: the server cannot have CAP_IPC_LOCK here"
printf 'Name:\tinit\nCapBnd:\t000001fffeffffff\n' >"$root/proc/1/status"
finds problem "capabilities: the server cannot have CAP_SYS_RESOURCE here"
well "resident = yes"
printf 'Name:\tinit\nCapBnd:\t00000000a80425fb\n' >"$root/proc/1/status"
finds warning \
  "capabilities: the server cannot have CAP_IPC_LOCK and CAP_SYS_RESOURCE here"

well
echo 536870912 >"$root/sys/fs/cgroup/system.slice/memory.high"
finds problem \
  "memory limit: /sys/fs/cgroup/system.slice/memory.high is 512 MiB"
well
rm "$root/sys/fs/cgroup/init.scope/memory.swap.max"
finds warning \
  "process 1: cannot be kept out of swap: \
/sys/fs/cgroup/init.scope/memory.swap.max is missing"
echo max >"$root/sys/fs/cgroup/init.scope/memory.swap.max"
mkdir "$root/sys/fs/cgroup/system.slice/vram-swap.service"
finds ok "memory limit: none"
echo 104857600 >"$root/sys/fs/cgroup/system.slice/vram-swap.service/memory.max"
finds problem \
  "memory limit: /sys/fs/cgroup/system.slice/vram-swap.service/memory.max is \
100 MiB"
rm -r "$root/sys/fs/cgroup/system.slice/vram-swap.service"

# Its own swap does not count as another one; a foreign NBD device does.
well
mkdir -p "$root/sys/block/nbd3"
echo 77 >"$root/sys/block/nbd3/pid"
mkdir "$root/run/vram-swap"
printf 'device=3\nattach_pid=77\n' >"$root/run/vram-swap/state"
echo "/dev/nbd3 partition 4194304 0 1500" >>"$root/proc/swaps"
finds ok "priorities: VRAM (1500) fills before 2 other swaps"
echo "/dev/nbd4 partition 4194304 0 2000" >>"$root/proc/swaps"
finds warning "priorities: /dev/nbd4 has priority 2000"
rm -r "$root/run/vram-swap" "$root/sys/block"

well
echo Y >"$root/sys/module/zswap/parameters/enabled"
finds warning "zswap: on"
echo 3 >"$root/proc/sys/vm/page-cluster"
finds warning "vm.page-cluster: 3: each fault reads 8 pages"
echo 10 >"$root/proc/sys/vm/swappiness"
finds warning "vm.swappiness: 10"
# Where the driver saves VRAM, the machine can keep swap on.
echo "PreserveVideoMemoryAllocations: 1" >"$root/proc/driver/nvidia/params"
services="the driver's own services save VRAM, while programs run"
finds ok "suspend: swap is emptied before: $services"
printf '%s\n' "PreserveVideoMemoryAllocations: 1" \
  "UseKernelSuspendNotifiers: 1" 'TemporaryFilePath: "/var"' \
  >"$root/proc/driver/nvidia/params"
mkdir "$root/var"
case $(stat -f -c %T "$root/var") in
  tmpfs | ramfs)
    finds ok "suspend: swap is emptied before: the driver saves VRAM in a" ;;
  *) finds ok "suspend: the driver preserves VRAM" ;;
esac
well "sleep-policy = keep"
finds problem "suspend: swapped data may be kept in VRAM"
echo "PreserveVideoMemoryAllocations: 1" >"$root/proc/driver/nvidia/params"
finds warning "suspend: swapped data may be kept in VRAM, but $services"
rm "$root/usr/lib/systemd/system/vram-swap.service"
finds warning "init: systemd runs, but does not know vram-swap.service"
rmdir "$root/run/systemd/system"
finds ok "init: not systemd"

# Drivers that keep the clocks up, and a GPU that the desktop needs.
well
sed -i 's/580.159.04/580.95.05/' "$root/dump"
finds warning \
  "quiet: driver 580.95.05 keeps the clocks up while the server is idle"
sed -i 's/580.95.05/595.1/' "$root/dump"
finds ok "quiet: driver 595.1 lets the clocks fall"
card=$root/sys/bus/pci/devices/0000:02:00.0/drm/card1
mkdir -p "$card/card1-DP-1" "$card/card1-HDMI-A-1"
echo disconnected >"$card/card1-DP-1/status"
echo connected >"$card/card1-HDMI-A-1/status"
finds ok "display: Large GPU drives card1-HDMI-A-1, and headroom is 2.0 GiB"
well "headroom = 1G"
finds warning \
  "display: Large GPU drives card1-HDMI-A-1, and headroom is 1.0 GiB"
well "headroom = 2G"
finds ok "display: Large GPU drives card1-HDMI-A-1, and headroom is 2.0 GiB"

# Where data goes that gives way.
well "elastic = yes"
echo vram_spill=yes >>"$root/dump"
finds ok "spill file: can be made in /var/lib/vram-swap"
[[ $(<"$root/asked") == *" spill=$root/var/lib/vram-swap "* ]] ||
  fail "spill is not handed on: $(<"$root/asked")"
well "elastic = yes"
printf 'vram_spill=no\nvram_spill_reason=no such folder\n' >>"$root/dump"
finds ok "spill file: /var/lib/vram-swap does not exist yet"
mkdir -p "$root/var/lib/vram-swap"
finds warning "spill file: cannot be made, so data stays in VRAM: no such"
rm -r "${root:?}/var"
well "elastic = yes" "spill = none"
finds ok "device: Large GPU"
[[ $(<"$root/asked") != *spill=* ]] || fail "spill = none is handed on"

# Where hibernation would go.
well
echo 8:4 >"$root/sys/power/resume"
finds warning "hibernation: resume= names the device 8:4, where no swap is on"
echo 0:0 >"$root/sys/power/resume"
finds warning \
  "hibernation: systemd takes the swap with the highest priority: VRAM (1500) \
rather than /dev/sda3 (-2)"
sed -i 's/^\(.dev.sda3.*\) -2$/\1 2000/' "$root/proc/swaps"
finds ok "hibernation: goes to /dev/sda3, by its priority"
sed -i '/sda3/d' "$root/proc/swaps"
echo "/dev/nbd3 partition 4194304 0 1500" >>"$root/proc/swaps"
finds warning "hibernation: no swap is on a disk"
file=$root/swap\ file
: >"$file"
printf '%s\n' '/swap\040file file 4194304 0 -2' >>"$root/proc/swaps"
echo "$((0x$(stat -c %D "$file") >> 8)):$((0x$(stat -c %D "$file") & 255))" \
  >"$root/sys/power/resume"
finds ok "hibernation: goes to /swap file, which resume= names"
echo "freeze mem" >"$root/sys/power/state"
finds ok "hibernation: this kernel does not offer it"

# Others that act when memory is short, or when programs wait.
well
echo 1 >"$root/proc/sys/kernel/hung_task_panic"
finds warning \
  "hung_task_panic: on: while there is no server programs may wait for \
outage-timeout (600 s), and the kernel panics after 120 s"
echo 900 >"$root/proc/sys/kernel/hung_task_timeout_secs"
finds ok "hung_task_panic: on, but later than outage-timeout"
mkdir -p "$root"/proc/{70,71}
echo systemd-oomd >"$root/proc/70/comm"
echo earlyoom >"$root/proc/71/comm"
printf 'earlyoom\0-r\0003600\0' >"$root/proc/71/cmdline"
finds ok "systemd-oomd: runs: VRAM counts as swap"
finds ok "earlyoom: runs, and reads the amount of swap each time"
printf 'earlyoom\0-S\0400000\0' >"$root/proc/71/cmdline"
finds warning \
  "earlyoom: runs with -S, which it compares with the swap that was on when \
it started"

# All of it at once.
well "sleep-policy = keep"
rm "$root"/dev/nvidia*
touch "$root/.dockerenv"
mkdir -p "$root/run/systemd/system"
mkdir "$root/sys/fs/cgroup/system.slice/vram-swap.service"
echo 104857600 >"$root/sys/fs/cgroup/system.slice/vram-swap.service/memory.max"
printf 'Name:\tinit\nCapBnd:\t00000000a80425fb\n' >"$root/proc/1/status"
echo "/dev/zram1 partition 4194304 0 2000" >>"$root/proc/swaps"
echo "PreserveVideoMemoryAllocations: 0" >"$root/proc/driver/nvidia/params"
echo 3 >"$root/proc/sys/vm/page-cluster"
echo 10 >"$root/proc/sys/vm/swappiness"
echo Y >"$root/sys/module/zswap/parameters/enabled"
echo 0:0 >"$root/sys/power/resume"
echo 1 >"$root/proc/sys/kernel/hung_task_panic"
expects check-ill.expected

lines=$("$tool" --help | wc -l)
((lines <= 24)) || fail "--help is $lines lines, more than a screen"

# completes COMP_WORD... sets COMPREPLY to what bash offers for the last word.
# shellcheck source=swap/completion
source "$top/swap/completion"
completes ()
{
  # shellcheck disable=SC2034 # for the completion
  COMP_WORDS=(vram-swap "$@") COMP_CWORD=$#
  _vram_swap
}
completes limit ""
[ "${COMPREPLY[*]}" = "max config" ] || fail "limit: ${COMPREPLY[*]}"
completes limit config ""
[ "${COMPREPLY[*]}" = "" ] || fail "limit config: ${COMPREPLY[*]}"
completes --config /etc/up d
[ "${COMPREPLY[*]}" = "down daemon" ] || fail "d: ${COMPREPLY[*]}"
completes daemon --user ro
[[ " ${COMPREPLY[*]} " == *" root "* ]] || fail "--user: ${COMPREPLY[*]}"

# Each command of --help is in the man page, in its synopsis, and completed; so
# is each option, also those that are only in the man page.
completes ""
offered=" ${COMPREPLY[*]} "
commands=$("$tool" --help | sed -n 's/^  vram-swap \([a-z]*\).*/\1/p')
[[ $(wc -w <<<"$commands") -ge 8 ]] || fail "too few commands: $commands"
for command in $commands; do
  grep -q "^=item B<$command>" "$pod" || fail "$command is not in $pod"
  grep -q "^ vram-swap $command" "$pod" ||
    fail "$command is not in the synopsis of $pod"
  [[ $offered == *" $command "* ]] || fail "$command is not completed"
  completes "$command" -
  while read -r option; do
    [[ " ${COMPREPLY[*]} " == *" $option"[\ =]* ]] ||
      fail "$command $option is not completed"
  done < <(sed -n "/^=item B<$command>/p" "$pod" | grep -o -e '--[a-z][a-z-]*')
  completes "$command" ""
  [[ " ${COMPREPLY[*]} " != *" reload "* ]] ||
    [ "$command" = run ] || fail "$command: commands are offered again"
done
for option in $("$tool" --help | grep -o -e '--[a-z]*' | sort -u); do
  grep -q -e "$option" "$pod" || fail "$option is not in $pod"
  grep -q -e "$option" "$top/swap/completion" ||
    fail "$option is not completed"
done

# Each key of the configuration is in its man page, with its default.
while read -r key value; do
  line=$(grep -e "^=item B<$key> = " "$top/man/nbdkit-vram.conf.pod") ||
    fail "$key is not in nbdkit-vram.conf(5)"
  case $key in
    plugin | plugin-args) ;; # a name that configure knows; nothing
    *)
      [[ $line == *"(default $value"[,\)]* ]] ||
        fail "$key: $line, but the default is $value" ;;
  esac
done < <("${swap[@]}" config | sed -n 's/^\([a-z-]*\) = \([^ ]*\).*/\1 \2/p')
