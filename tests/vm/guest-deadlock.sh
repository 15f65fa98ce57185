# nbdkit-vram: a machine survives memory pressure with the server's protections
# that GUARD names
# SPDX-License-Identifier: BSD-3-Clause
# shellcheck shell=bash
# shellcheck source=tests/vm/guest.sh
#
# GUARD is none (resident=no), locked (locked in RAM, but no I/O flusher, and
# the OOM killer may choose it), or all.
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
# vram-swap would itself give the server some of the protections.
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
# An I/O flusher has the flag PF_MEMALLOC_NOIO.
flushers=$(cat /proc/$server/task/*/stat | awk '
  { sub (/.*\) /, ""); n += int ($7 / 524288) % 2 } END { print n + 0 }')
echo "$GUARD: I/O flushers: $flushers," \
  "locked $(field VmLck /proc/$server/status) kB," \
  "OOM score $(cat /proc/$server/oom_score_adj)"
# When no program can print anything any more, the kernel still writes on the
# console which tasks hang.
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
echo "$GUARD: survived," \
  "$(awk '{ print int ($7 / 2048) }' /sys/block/nbd0/stat) MiB swapped out"
swapoff /dev/nbd0 || fail "swapoff"
finish
