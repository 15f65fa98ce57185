#!/bin/bash
# nbdkit-vram: builds the guest image that vmrun.sh boots
# SPDX-License-Identifier: BSD-3-Clause
#
#   vmbuild.sh [-f] [EXTRA_PACKAGE...]
#
# Writes vmlinuz, initrd and root.img to $VM_CACHE. Does nothing if this script
# has already built them with the same packages; -f builds them again. The
# packages are those that the tests need, or VM_PACKAGES. Needs root on a
# Debian system.
set -euo pipefail

cache=${VM_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/nbdkit-vram-vm}
force=0
if [[ ${1-} == -f ]]; then force=1; shift; fi
packages=(systemd systemd-sysv udev kmod iproute2)
if [[ -n ${VM_PACKAGES-} ]]; then
    read -ra wanted <<<"$VM_PACKAGES"
else
    wanted=(procps hostname socat psmisc strace e2fsprogs nbdkit nbd-client
        libjansson4 libnbd-bin fio stress-ng python3-minimal)
fi
packages+=("${wanted[@]}" "$@")
stamp="$(sha256sum <"$0") ${packages[*]}"
mkdir -p "$cache"
# Only one process builds; others wait and find the image.
exec 8>"$cache/.lock"
flock 8
if ((!force)) && [[ "$(cat "$cache/stamp" 2>/dev/null)" == "$stamp" ]]; then
    exit 0
fi

start=$SECONDS
need=()
for package in qemu-system-x86 qemu-system-common mmdebstrap e2fsprogs; do
    dpkg -s "$package" >/dev/null 2>&1 || need+=("$package")
done
if ((${#need[@]})); then
    apt-get update -q
    DEBIAN_FRONTEND=noninteractive apt-get install \
        -y -q --no-install-recommends "${need[@]}"
fi

work=$(mktemp -d "$cache/build.XXXXXX")
# mmdebstrap mounts this machine's /proc, /sys and /dev in the folder. It runs
# in a mount namespace of its own, so that a signal leaves nothing mounted, and
# --one-file-system keeps rm from removing what is mounted.
trap 'rm -rf --one-file-system "$work"' EXIT
chmod 755 "$work"

# The kernel is unpacked: installing it would bring in initramfs-tools.
kernel=$(apt-cache depends linux-image-cloud-amd64 |
    awk '$1 == "Depends:" {print $2; exit}')
(
    cd "$work"
    apt-get download -q -o APT::Sandbox::User=root "$kernel" busybox-static
    dpkg-deb -x linux-image-*.deb kernel
    dpkg-deb -x busybox-static_*.deb busybox
)

root=$work/root
unshare --mount --propagation private mmdebstrap --verbose \
    --variant=essential --include="${packages[*]}" \
    --dpkgopt='path-exclude=/usr/share/doc/*' \
    --dpkgopt='path-exclude=/usr/share/man/*' \
    --dpkgopt='path-exclude=/usr/share/locale/*' bookworm \
    "$root" >"$cache/build.log" 2>&1 ||
    { tail -n 20 "$cache/build.log" >&2; exit 1; }
cp -a "$work"/kernel/lib/modules "$root"/usr/lib/
chroot "$root" depmod "${kernel#linux-image-}"

# The root disk is a virtio disk, whose driver is a module. An NVMe disk would
# need no initrd, but under load QEMU 7.2's may stop taking requests: the
# guest's kernel then gives the disk up and panics.
modules=usr/lib/modules/${kernel#linux-image-}
initrd=$work/initrd
mkdir -p "$initrd"/{bin,dev,proc,root,usr/lib}
ln -s usr/lib "$initrd/lib"
cp "$work/busybox/bin/busybox" "$initrd/bin"
drivers=$modules/kernel/drivers
(cd "$root" && cp --parents -r "$modules/modules.dep" "$drivers/virtio" \
    "$drivers/block/virtio_blk.ko" "$initrd")
cat >"$initrd/init" <<'EOF'
#!/bin/busybox sh
PATH=/bin
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox modprobe -a virtio_pci virtio_blk
until [ -b /dev/vda ]; do busybox sleep 0.02; done
busybox mount -t ext4 /dev/vda /root
init=$(busybox sed 's/.* init=\([^ ]*\).*/\1/' /proc/cmdline)
busybox umount /proc
busybox mount -o move /dev /root/dev
exec busybox switch_root /root "$init"
EOF
chmod +x "$initrd/init"
(cd "$initrd" && find . | ./bin/busybox cpio -o -H newc |
    gzip -1) >"$work/initrd.gz"

# The agent is PID 1 with -i plain, and a service with -i systemd. It runs the
# script that vmrun.sh passes through fw_cfg. The output goes to the first
# virtio port, the exit status to the second.
cat >"$root/usr/lib/vm-agent" <<'EOF'
#!/bin/sh
export HOME=/root PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin
if [ $$ = 1 ]; then
    hostname guest
    mount -t proc proc /proc
    mount -t sysfs sysfs /sys
    mount -t devtmpfs devtmpfs /dev
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
    mkdir -p /dev/shm /dev/pts
    mount -t devpts devpts /dev/pts
    for dir in /dev/shm /run /tmp; do mount -t tmpfs tmpfs $dir; done
    ip link set lo up
fi
modprobe -a virtio_pci virtio_console qemu_fw_cfg virtiofs virtio_net
until [ -c /dev/vport*p2 ]; do sleep 0.05; done
output=$(echo /dev/vport*p1)
# A pipe, because commands may open /dev/stderr, and a port can be opened only
# once.
mkfifo /run/vm-output
cat /run/vm-output >"$output" &
cat=$!
script=/sys/firmware/qemu_fw_cfg/by_name/opt/vm/script/raw
sh $script </dev/null >/run/vm-output 2>&1
status=$?
# A daemon that is left keeps the pipe open.
timeout 2 tail --pid=$cat -f /dev/null
echo $status >"${output%1}2"
sync
systemctl poweroff -ff
EOF
chmod +x "$root/usr/lib/vm-agent"
cat >"$root/etc/systemd/system/vm-agent.service" <<'EOF'
[Unit]
Description=Runs the command of vmrun.sh
[Service]
ExecStart=/usr/lib/vm-agent
OOMPolicy=continue
EOF
# The guest's systemctl, because the host may have none.
chroot "$root" systemctl --root=/ -q add-wants multi-user.target \
    vm-agent.service
# Units that no test needs. On emulated CPUs they take as long as the rest of
# the start. The agent loads the modules.
chroot "$root" systemctl --root=/ -q mask systemd-udev-trigger.service \
    kmod-static-nodes.service dev-hugepages.mount \
    dev-mqueue.mount sys-kernel-{config,debug,tracing}.mount \
    sys-fs-fuse-connections.mount systemd-binfmt.service \
    proc-sys-fs-binfmt_misc.automount \
    modprobe@{configfs,dm_mod,drm,efi_pstore,fuse,loop}.service \
    systemd-random-seed.service \
    systemd-update-utmp.service systemd-update-utmp-runlevel.service \
    systemd-sysusers.service
chroot "$root" systemctl --root=/ -q mask getty@.service getty-static.service \
    serial-getty@.service console-getty.service systemd-timesyncd.service \
    e2scrub_reap.service \
    e2scrub_all.timer fstrim.timer dpkg-db-backup.timer apt-daily.timer \
    apt-daily-upgrade.timer
: >"$root/etc/machine-id"
echo guest >"$root/etc/hostname"

mke2fs -q -t ext4 -O ^has_journal -d "$root" "$work/root.img" 3000M
rm -f "$cache/stamp"
# Machines that run keep the old files open.
mv "$work/root.img" "$cache/root.img"
mv "$work"/kernel/boot/vmlinuz-* "$cache/vmlinuz"
mv "$work/initrd.gz" "$cache/initrd"
echo "$stamp" >"$cache/stamp"
echo "built $cache in $((SECONDS - start)) s:" \
    "image $(du -sh "$cache/root.img" | cut -f1)," \
    "kernel package $(du -sh "$work"/linux-image-*.deb | cut -f1)," \
    "other packages: $(grep -o 'get [0-9.]* .B' "$cache/build.log" |
        paste -sd ' ')"
