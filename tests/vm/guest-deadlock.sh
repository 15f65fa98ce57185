# nbdkit-vram: what becomes of a machine under memory pressure whose server has
# only some of the protections
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
#
# GUARD is none (resident = no), locked (in RAM, but no I/O flusher, and the
# OOM killer may choose it), or all.
. ./guest.sh
install_project
without=()
case ${GUARD:-all} in
  none) resident=no ;;
  locked)
    resident=yes without=(setpriv --bounding-set=-sys_resource
      --inh-caps=-sys_resource) ;;
  all) resident=required ;;
esac
export STANDIN_CUDA_MEMORY=300M
# Not by vram-swap, which does some of it for its child.
"${without[@]}" nbdkit --foreground --unix /run/vram.sock --threads 16 \
  "$plugin" size=256M resident="$resident" \
  >/run/serve.log 2>&1 &
server=$!
until nbdinfo --size 'nbd+unix:///?socket=/run/vram.sock' >/dev/null 2>&1; do
  kill -0 $server || { cat /run/serve.log; exit 1; }
  sleep 0.1
done
lock_vram $server
modprobe nbd
nbd-client -unix /run/vram.sock /dev/nbd0 -block-size 4096 -connections 4 \
  -timeout 60 >/dev/null || fail "nbd-client"
mkswap /dev/nbd0 >/dev/null
swapon --priority 1500 --discard=pages /dev/nbd0 || fail "swapon"
# PF_MEMALLOC_NOIO is what an I/O flusher has, among others.
echo "$GUARD: I/O flushers: $(awk '{ sub (/.*\) /, ""); n += int ($7 / 524288) % 2 } END { print n + 0 }' \
  /proc/$server/task/*/stat), locked $(awk '$1 == "VmLck:" { print $2 }' "/proc/$server/status") kB," \
  "OOM score $(cat "/proc/$server/oom_score_adj")"
# The kernel itself says on the console who waits for what, when nobody else
# can say anything any more.
echo 40 >/proc/sys/kernel/hung_task_timeout_secs
echo 500 >/proc/sys/vm/min_free_kbytes
part=$((($(available) + 180) / 4))
fillers=()
for order in random random onward onward; do
  ./memfill $part $order >/run/memfill.${#fillers[@]} 2>&1 &
  fillers+=($!)
done
for i in 0 1 2 3; do
  until grep -q filled /run/memfill.$i; do sleep 0.5; done
done
sleep 20
kill "${fillers[@]}"
for pid in "${fillers[@]}"; do
  wait "$pid" || fail "memfill: $(cat /run/memfill.*)"
done
kill -0 $server || fail "the server is gone: $(cat /run/serve.log)"
echo "$GUARD: survived, $(awk '{ print int ($7 / 2048) }' /sys/block/nbd0/stat) MiB swapped out"
swapoff /dev/nbd0 || fail "swapoff"
finish
