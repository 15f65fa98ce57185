#!/bin/bash
# nbdkit-vram: runs a command in a throw-away virtual machine
# SPDX-License-Identifier: BSD-3-Clause
#
# vmrun.sh [OPTION...] DIR COMMAND
#
# Runs a shell command as root in a virtual machine. DIR is mounted there at
# the same path, and is the current folder. Prints COMMAND's output and exits
# with its status, with 124 when time ran out, or with 125 when the guest ended
# without a status.
#
#   -m SIZE           memory (default 1G)
#   -c N              CPUs (default 2)
#   -t SECONDS        time limit (default 600)
#   -i plain|systemd  what runs as PID 1 (default plain)
#   -r                mount DIR read-only
#   -n                with the host's network; its 127.0.0.1 is 10.0.2.2
#   -l FILE           write the kernel's console to FILE
#   -a WORDS          add to the kernel's command line
#   -b                the guest may reboot; COMMAND runs at each start
set -euo pipefail

here=$(dirname "$(realpath "$0")")
cache=${VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nbdkit-vram-vm}
work=$(mktemp -d)
memory=1G cpus=2 limit=600 init=plain mount_options=rw net=() \
    console=$work/console network=
words='' reboot=(-no-reboot)
usage() {
    sed -n '5,/^set/{/^#/s/^# \?//p}' "$0" >&2
    exit 2
}
while getopts m:c:i:t:rnl:a:b option; do
    case $option in
    m) memory=$OPTARG ;;
    c) cpus=$OPTARG ;;
    i) init=$OPTARG ;;
    t) limit=$OPTARG ;;
    r) mount_options=ro ;;
    n) network=1 ;;
    a) words=$OPTARG ;;
    b) reboot=() ;;
    l) console=$OPTARG ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[[ $# == 2 && -d $1 ]] || usage
dir=$(realpath "$1")
case $init in
plain) init=/usr/lib/vm-agent ;;
systemd) init=/lib/systemd/systemd ;;
*) usage ;;
esac

virtiofsd=
trap '[[ -z $virtiofsd ]] || kill "$virtiofsd" 2>/dev/null || :
    rm -rf "$work"' EXIT
"$here/vmbuild.sh" >&2
{
    if [[ -n $network ]]; then
        net=(-netdev "user,id=net"
            -device "virtio-net-pci,netdev=net,romfile=")
        cat <<'END'
ip address add 10.0.2.15/24 dev eth0
ip link set eth0 up
ip route add default via 10.0.2.2
rm -f /etc/resolv.conf
echo nameserver 10.0.2.3 >/etc/resolv.conf
END
    fi
    # Shortly before the time limit the machine shows what it is waiting for,
    # on its console and in the output.
    cat <<END
mkdir -p ${dir@Q} &&
    mount -t virtiofs -o $mount_options share ${dir@Q} &&
    cd ${dir@Q} || exit 125
(
    sleep $((limit * 9 / 10))
    echo 8 >/proc/sys/kernel/printk
    echo w >/proc/sysrq-trigger
    ps axo pid,ppid,stat,wchan:24,args
) &
END
    printf '%s\n' "$2"
} >"$work/script"

/usr/lib/qemu/virtiofsd --socket-path="$work/virtiofs" -o source="$dir" \
    -o sandbox=chroot >"$work/virtiofsd" 2>&1 &
virtiofsd=$!
until [[ -S $work/virtiofs ]]; do
    kill -0 "$virtiofsd" || { cat "$work/virtiofsd" >&2; exit 125; }
    sleep 0.02
done

kernel_arguments="console=ttyS0 loglevel=6 panic=-1 net.ifnames=0 init=$init"
kernel_arguments+=" systemd.log_target=journal systemd.show_status=error"
# Without fast string instructions the kernel clears and copies pages by words
# instead of bytes, which on emulated CPUs is three times as fast. Without la57
# page tables have one level less.
qemu=(qemu-system-x86_64 -nodefaults -no-user-config -display none
    "${reboot[@]}"
    -M q35 -accel "tcg,thread=multi" -cpu "max,-erms,-fsrm,-la57"
    -smp "$cpus" -m "$memory"
    -object "memory-backend-memfd,id=ram,size=$memory,share=on"
    -numa "node,memdev=ram"
    -kernel "$cache/vmlinuz" -initrd "$cache/initrd"
    -append "$kernel_arguments $words"
    -drive "file=$cache/root.img,format=raw,if=none,id=root,snapshot=on"
    -device "virtio-blk-pci,drive=root"
    -chardev "socket,id=share,path=$work/virtiofs"
    -device "vhost-user-fs-pci,chardev=share,tag=share"
    -fw_cfg "name=opt/vm/script,file=$work/script"
    -serial "file:$console" -device virtio-serial-pci
    -chardev "file,id=output,path=/dev/stdout,append=on"
    -device "virtserialport,nr=1,chardev=output"
    -chardev "file,id=status,path=$work/status"
    -device "virtserialport,nr=2,chardev=status"
    "${net[@]}")
# In the foreground, so that a signal to this script's process group ends the
# machine, too. cat, because qemu can open a pipe by its path.
status=0
timeout --foreground -k 5 "$limit" "${qemu[@]}" </dev/null | cat || status=$?
((status == 0)) || exit "$status"
if [[ ! -s $work/status ]]; then
    {
        echo "vmrun.sh: the guest ended without a status; its console:"
        tail -n 40 "$console"
    } >&2
    exit 125
fi
exit "$(<"$work/status")"
