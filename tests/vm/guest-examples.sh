# nbdkit-vram: the examples of nbdkit-vram-plugin(1) work as they are written
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
. ./guest.sh

install_project
use_stand_in STANDIN_CUDA_MEMORY=16G STANDIN_CUDA_GARBAGE=1M
export STANDIN_CUDA_MEMORY=16G STANDIN_CUDA_GARBAGE=1M
systemctl start systemd-udevd

# block HEADING N: prints the commands of the Nth block below HEADING, each on
# one line.
block ()
{
  awk -v heading="=head2 $1" -v wanted="$2" '
    /^=head/ { inside = $0 == heading }
    inside && /^ / { if (!within) n++; within = 1; if (n == wanted) print }
    !/^ / { within = 0 }' nbdkit-vram-plugin.pod |
    sed -e ':again' -e '/\\$/{' -e 'N;s/ *\\\n */ /;b again' -e '}'
}

# example HEADING N [LINES]: runs those commands, or the first LINES of them,
# with a passphrase on their standard input.
example ()
{
  local line
  [ -n "$(block "$1" "$2")" ] || fail "no block $2 of '$1' in the man page"
  while read -r line; do
    echo "+ $line"
    bash -c "$line" 2>&1 <<<"a passphrase" || fail "$1: $line"
  done < <(block "$1" "$2" | head -n "${3:-99}")
}

# holds FOLDER: fails unless a file written there reads back the same.
holds ()
{
  dd if=/dev/urandom of=/run/data bs=1M count=4 status=none
  cp /run/data "$1/data" && sync
  echo 3 >/proc/sys/vm/drop_caches
  cmp /run/data "$1/data" || fail "$1 does not hold what was written"
  rm "$1/data"
}

step "a scratch disk"
example "A scratch disk" 1
findmnt /mnt/vram
holds /mnt/vram
example "A scratch disk" 2
wait_for 60 ended nbdkit
all_is_off

step "a build server's /tmp"
example "A scratch disk" 1 3
example "A build server's /tmp" 1
[ "$(stat -c %a /tmp)" = 1777 ] || fail "/tmp: $(stat -c %a /tmp)"
holds /tmp
umount /tmp

step "an encrypted disk, with a random key"
example "An encrypted disk" 1
mount /dev/mapper/scratch /mnt/vram
holds /mnt/vram
umount /mnt/vram
cryptsetup close scratch

step "an encrypted disk, with LUKS"
dd if=/dev/zero of=/dev/nbd0 bs=1M count=4 conv=fsync status=none
example "An encrypted disk" 2
cryptsetup isLuks /dev/nbd0 || fail "no LUKS header"
yes "in the clear" | dd of=/dev/mapper/secret bs=1M count=4 \
  iflag=fullblock conv=fsync status=none
! head -c 64M /dev/nbd0 | grep -q "in the clear" || fail "not encrypted"
head -c 4M /dev/mapper/secret | grep -q "in the clear" || fail "not readable"
cryptsetup close secret

step "the VRAM of several machines"
STANDIN_CUDA_MEMORY=16G nbdkit --pidfile /run/second.pid \
  --unix /run/second.sock vram 4G
nbd-client -unix /run/second.sock /dev/nbd1 -block-size 4096
dd if=/dev/zero of=/dev/nbd0 bs=1M count=32 conv=fsync status=none
example "The VRAM of several machines" 1
mount /dev/md0 /mnt/vram
holds /mnt/vram
umount /mnt/vram
mdadm --stop /dev/md0
mdadm --zero-superblock /dev/nbd0 /dev/nbd1
wipefs -q -a /dev/nbd0 /dev/nbd1
example "The VRAM of several machines" 2
lvs -o stripes,lv_size vram/scratch
mount /dev/vram/scratch /mnt/vram
holds /mnt/vram
umount /mnt/vram
vgremove -q -f vram
nbd-client -d /dev/nbd1
kill "$(cat /run/second.pid)"
example "Which GPUs there are, and what a server holds" 1
nbd-client -d /dev/nbd0
kill "$(cat /run/vram.pid)"
rm /run/vram.sock
wait_for 60 ended nbdkit

step "another machine's VRAM"
echo "127.0.0.1 gpu1" >>/etc/hosts
mkdir -p /etc/pki/vram
(
  cd /etc/pki/vram || exit 1
  key=(-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes)
  openssl req -x509 "${key[@]}" -days 2 -subj /CN=ca \
    -addext keyUsage=critical,keyCertSign -keyout ca-key.pem -out ca-cert.pem
  for use in server client; do
    openssl req "${key[@]}" -subj /CN=gpu1 -keyout $use-key.pem -out $use.csr
    printf '%s\n' subjectAltName=DNS:gpu1 extendedKeyUsage=${use}Auth >ext
    openssl x509 -req -in $use.csr -CA ca-cert.pem -CAkey ca-key.pem \
      -CAcreateserial -days 2 -extfile ext -out $use-cert.pem
  done
) >/run/openssl.log 2>&1 || cat /run/openssl.log
example "Another machine's VRAM" 1
wait_for 60 nbdinfo --size 'nbds://gpu1/?tls-certificates=/etc/pki/vram'
example "Another machine's VRAM" 2
mkfs.ext4 -q /dev/nbd0
mount /dev/nbd0 /mnt/vram
holds /mnt/vram
umount /mnt/vram
! nbdinfo --size nbd://gpu1/ || fail "served without TLS"
nbd-client -d /dev/nbd0
pkill -x nbdkit
wait_for 60 ended nbdkit

step "swap without the service"
example "Swap without the service" 1
swap_is_on
example "Swap without the service" 2
wait_for 60 ended nbdkit
all_is_off

step "VRAM behind zram"
settings
example "VRAM behind zram" 1
swap_is_on
grep -P '^/dev/zram0\s.*\s2000$' /proc/swaps || fail "$(cat /proc/swaps)"
swapoff /dev/zram0
expect 0 systemctl disable --now vram-swap

step "VRAM behind zswap"
settings "size = 4G"
if [ -e /sys/module/zswap ]; then
  example "VRAM behind zswap" 1
  [ "$(cat /sys/module/zswap/parameters/enabled)" = Y ] || fail "zswap is off"
else
  echo "skipped: VRAM behind zswap: this kernel has no zswap"
  example "VRAM behind zswap" 1 1
fi
swap_is_on

step "swap is on after all examples"
swapon --show
vram-swap status
expect 0 systemctl disable --now vram-swap
all_is_off
[ "$failures" = 0 ] || journal
finish
